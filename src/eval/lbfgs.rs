//! L-BFGS for smooth convex functions, with a backtracking line search.
//!
//! Nocedal and Wright, Numerical Optimization, 2nd edition, algorithms 7.4 and 3.1. One call gives value and gradient
//! together, because for a probe both come from the same two products.

use std::collections::VecDeque;

use crate::error::Result;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// The largest absolute component of the gradient at which a point counts as the minimum.
    pub tolerance: f64,
    /// Steps at most.
    pub max_iter: usize,
}

/// Where the search ended.
#[derive(Debug)]
pub(super) struct Minimum {
    pub point: Vec<f64>,
    pub value: f64,
    pub iterations: usize,
    /// Whether the gradient fell to the tolerance.
    pub converged: bool,
}

/// A value and its gradient.
pub(super) type Sample = (f64, Vec<f64>);

/// Pairs of steps and gradient differences that are remembered; 10 is what SciPy, and so scikit-learn, remembers.
const MEMORY: usize = 10;
/// A step must lower the value by this share of what the gradient promises (Armijo).
const SUFFICIENT: f64 = 1e-4;
/// Halvings after which a direction is given up: the value no longer changes at working precision.
const MAX_HALVINGS: usize = 30;

/// Minimises `function` from `start`.
///
/// # Errors
/// Those of `function`.
pub(super) fn minimise(
    start: Vec<f64>,
    stop: Stop,
    mut function: impl FnMut(&[f64]) -> Result<Sample>,
) -> Result<Minimum> {
    let mut point = start;
    let (mut value, mut gradient) = function(&point)?;
    let mut memory = Memory::default();
    for iterations in 0..stop.max_iter {
        if largest(&gradient) <= stop.tolerance {
            return Ok(Minimum { point, value, iterations, converged: true });
        }
        let direction = memory.direction(&gradient);
        // Without memory the gradient's length says nothing about the right step.
        let first_step = if memory.pairs.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt() } else { 1.0 };
        let Some((next, (next_value, next_gradient))) =
            backtrack(&point, value, dot(&direction, &gradient), &direction, first_step, &mut function)?
        else {
            return Ok(Minimum { point, value, iterations, converged: false });
        };
        memory.remember(difference(&next, &point), difference(&next_gradient, &gradient));
        (point, value, gradient) = (next, next_value, next_gradient);
    }
    let converged = largest(&gradient) <= stop.tolerance;
    Ok(Minimum { point, value, iterations: stop.max_iter, converged })
}

/// The first point along `direction` that lowers the value enough, or none.
fn backtrack(
    point: &[f64],
    value: f64,
    slope: f64,
    direction: &[f64],
    first_step: f64,
    function: &mut impl FnMut(&[f64]) -> Result<Sample>,
) -> Result<Option<(Vec<f64>, Sample)>> {
    let mut step = first_step;
    for _ in 0..MAX_HALVINGS {
        let next: Vec<f64> = point.iter().zip(direction).map(|(x, d)| x + step * d).collect();
        let sample = function(&next)?;
        if sample.0 <= value + SUFFICIENT * step * slope {
            return Ok(Some((next, sample)));
        }
        step *= 0.5;
    }
    Ok(None)
}

/// The latest steps and what they did to the gradient: an approximation of the inverse Hessian.
#[derive(Default)]
struct Memory {
    pairs: VecDeque<Pair>,
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// `1 / (step . change)`.
    rho: f64,
}

impl Memory {
    fn remember(&mut self, step: Vec<f64>, change: Vec<f64>) {
        let curvature = dot(&step, &change);
        // Rounding can hide the curvature of a convex function near its minimum; such a pair would spoil the rest.
        if curvature <= f64::EPSILON * dot(&change, &change) {
            return;
        }
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { step, change, rho: 1.0 / curvature });
    }

    /// The direction of descent: minus the approximate inverse Hessian times the gradient, by the two-loop recursion.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.rho * dot(&pair.step, &direction);
            add_scaled(&mut direction, -alpha, &pair.change);
            alphas.push(alpha);
        }
        if let Some(latest) = self.pairs.back() {
            let scale = 1.0 / (latest.rho * dot(&latest.change, &latest.change));
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for (pair, alpha) in self.pairs.iter().zip(alphas.iter().rev()) {
            let beta = pair.rho * dot(&pair.change, &direction);
            add_scaled(&mut direction, alpha - beta, &pair.step);
        }
        direction
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Stop = Stop { tolerance: 1e-8, max_iter: 200 };

    #[test]
    fn an_ill_conditioned_quadratic_is_minimised() {
        let scales = [1.0, 10.0, 100.0, 1000.0];
        let minimum = minimise(vec![3.0; 4], STOP, |x| {
            let gradient: Vec<f64> = x.iter().zip(scales).map(|(x, scale)| scale * (x - 1.0)).collect();
            Ok((x.iter().zip(&gradient).map(|(x, g)| 0.5 * g * (x - 1.0)).sum(), gradient))
        })
        .unwrap();
        assert!(minimum.converged);
        assert!(minimum.point.iter().all(|x| (x - 1.0).abs() < 1e-7), "{:?}", minimum.point);
        assert!(minimum.value < 1e-12);
    }

    #[test]
    fn a_search_that_runs_out_of_steps_says_so() {
        let minimum =
            minimise(vec![1e3], Stop { max_iter: 1, ..STOP }, |x| Ok((x[0].powi(2), vec![2.0 * x[0]]))).unwrap();
        assert!(!minimum.converged);
        assert_eq!(minimum.iterations, 1);
    }

    #[test]
    fn a_function_without_descent_ends_the_search() {
        let minimum = minimise(vec![0.0], STOP, |_| Ok((0.0, vec![1.0]))).unwrap();
        assert!(!minimum.converged);
    }
}
