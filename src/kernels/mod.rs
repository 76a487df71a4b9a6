//! The arithmetic of an encoder on plain slices, by all threads of the processor; it knows no tensor library.
//!
//! Each file holds the plain loop of one operation, which the compiler turns into vector code for every instruction set
//! that the processor may have. Sums run in an order that does not depend on the number of threads, so that a run can
//! be repeated bit for bit.

pub mod aligned;
pub mod attention;
#[cfg(target_arch = "x86_64")]
mod dots;
pub mod elementary;
pub mod gather;
pub mod gelu;
pub mod matmul;
pub mod norm;
pub mod panels;
pub mod patchify;
pub mod pool;
pub mod product;
pub mod rotation;
mod terms;
pub mod workspace;

#[cfg(test)]
mod tests;
