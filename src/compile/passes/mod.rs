//! Rewrites of a graph, each a small function, in a fixed order.
