//! What a count of answered and failed flows says of a cell, a pair of client node and server
//! (rulebook 6.2).
//!
//! The failure rate of a cell with k failures among n flows has the posterior Beta(k + 1/2,
//! n - k + 1/2) under Jeffreys' prior. A cell is dead if the rate lies above one half with 95 %
//! certainty (three of three do: 0.556), and answers if it lies below one half with the same
//! certainty (none of three: 0.444). What lies between decides nothing.

use statrs::distribution::{Beta, ContinuousCDF};

/// How sure a state is.
const CERTAINTY: f64 = 0.95;
/// More often than this it fails more often than not.
const EVEN: f64 = 0.5;

/// Flows of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flows {
    /// Flows that were answered.
    pub ok: u64,
    /// Flows that failed.
    pub failed: u64,
}

/// What a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It fails.
    Dead,
    /// It answers.
    Answers,
    /// Too few flows, or too mixed.
    Undecided,
}

impl Flows {
    /// Adds flows.
    pub fn add(&mut self, ok: u64, failed: u64) {
        self.ok += ok;
        self.failed += failed;
    }

    /// All its flows.
    pub fn total(self) -> u64 {
        self.ok + self.failed
    }

    /// What it is.
    pub fn state(self) -> State {
        let Ok(rate) = Beta::new(self.failed as f64 + 0.5, self.ok as f64 + 0.5) else {
            return State::Undecided;
        };
        let even = rate.cdf(EVEN);
        if even <= 1.0 - CERTAINTY {
            State::Dead
        } else if even >= CERTAINTY {
            State::Answers
        } else {
            State::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_three_decide_and_two_of_two_do_not() {
        let state = |ok, failed| Flows { ok, failed }.state();
        assert_eq!(state(0, 3), State::Dead);
        assert_eq!(state(0, 2), State::Undecided);
        assert_eq!(state(3, 0), State::Answers);
        assert_eq!(state(2, 0), State::Undecided);
        assert_eq!(state(0, 0), State::Undecided);
        // One stray answer or failure needs more on the other side.
        assert_eq!(state(1, 4), State::Undecided);
        assert_eq!(state(1, 5), State::Dead);
        assert_eq!(state(5, 1), State::Answers);
        assert_eq!(state(5, 4), State::Undecided);
    }
}
