//! What nothing will change any more.

use std::sync::Arc;

use super::connect::TcpAttempt;
use super::model::Transaction;

/// What leaves the matcher, shared by the lookup that it becomes part of.
#[derive(Debug, Clone)]
pub enum Closed {
    /// A question, and what came of it.
    Transaction(Arc<Transaction>),
    /// A TCP connection attempt, and what came of it.
    Connect(Arc<TcpAttempt>),
}

impl Closed {
    /// The transaction, if it is one.
    pub fn transaction(&self) -> Option<&Transaction> {
        match self {
            Self::Transaction(transaction) => Some(transaction),
            Self::Connect(_) => None,
        }
    }
}
