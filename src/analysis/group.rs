//! What closed, by groups.
//!
//! Some dozens of tallies and rules look at everything that closes. They take turns by groups: each
//! sees all of a group in its order before the next one does, so that its instructions and tables
//! stay in the caches meanwhile, and a group can be handed to another thread.

use std::sync::Arc;

use crate::detect::{Detector, Glance, Interest};
use crate::lookup::Lookup;
use crate::transaction::{TcpAttempt, Transaction};

/// How much that closed makes a group: it stays in a core's second-level cache.
pub(super) const GROUP: usize = 128;

/// What may be seen of what closed, in the order in which it did.
pub(super) type Group = Vec<Event>;

/// Something that closed.
pub(super) struct Event {
    pub(super) what: What,
    /// Whether a DNS server asked on its clients' behalf.
    pub(super) forwarded: bool,
}

/// What closed.
pub(super) enum What {
    /// A transaction; with a glance if its client and server are such as rules tell apart.
    Transaction(Arc<Transaction>, Option<Glance>),
    /// A connection attempt of a client and a server that rules tell apart.
    Connect(Arc<TcpAttempt>),
    /// A lookup, behind its last transaction. One that was forwarded is nobody's own.
    Lookup {
        lookup: Box<Lookup>,
        /// Whether its client is one that rules tell apart.
        admitted: bool,
    },
}

impl What {
    /// Whether a rule with this interest sees it.
    fn is_for(&self, interest: Interest) -> bool {
        match self {
            Self::Transaction(_, Some(glance)) => interest.transactions.takes(glance.plain),
            Self::Connect(_) => interest.connects,
            Self::Lookup { lookup, admitted: true } => interest.lookups.takes(lookup.smooth),
            Self::Transaction(_, None) | Self::Lookup { .. } => false,
        }
    }
}

/// Shows all rules what they want to see of a group, one after the other.
pub(super) fn show_all(group: &[Event], rules: &mut [Box<dyn Detector>]) {
    // Many rules want the same, and most want little: who does not look costs nothing.
    let mut rows: Vec<(Interest, Vec<&What>)> = Vec::new();
    for rule in rules {
        let interest = rule.interest();
        if interest == Interest::default() {
            continue;
        }
        let place = rows.iter().position(|(wanted, _)| *wanted == interest);
        let place = place.unwrap_or_else(|| {
            let seen = group.iter().map(|event| &event.what);
            rows.push((interest, seen.filter(|what| what.is_for(interest)).collect()));
            rows.len() - 1
        });
        let Some((_, row)) = rows.get(place) else { continue };
        show(row, rule.as_mut());
    }
}

fn show(row: &[&What], rule: &mut dyn Detector) {
    for what in row {
        match what {
            What::Transaction(transaction, Some(glance)) => rule.observe(transaction, glance),
            What::Connect(connect) => rule.observe_connect(connect),
            What::Lookup { lookup, .. } => rule.observe_lookup(lookup),
            What::Transaction(_, None) => {}
        }
    }
}
