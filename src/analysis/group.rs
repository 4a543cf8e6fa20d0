//! What closed, by groups.
//!
//! Some dozens of tallies and rules look at everything that closes. They take turns by groups: each
//! sees all of a group in its order before the next one does, so that its instructions and tables
//! stay in the caches meanwhile, and a group can be handed to another thread.

use std::sync::Arc;

use super::peers::Ends;
use super::routes::RouteId;
use crate::base::AddressId;
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
    /// A transaction.
    Transaction {
        transaction: Arc<Transaction>,
        /// Who asked whom.
        route: Option<RouteId>,
        ends: Ends,
        /// If its client and server are such as rules tell apart.
        glance: Option<Glance>,
    },
    /// A connection attempt of a client and a server that rules tell apart.
    Connect(Arc<TcpAttempt>),
    /// A lookup, behind its last transaction. One that was forwarded is nobody's own.
    Lookup {
        lookup: Box<Lookup>,
        /// The number of its client, if there is room for it.
        client: Option<AddressId>,
        /// Whether its client is one that rules tell apart.
        admitted: bool,
    },
}

/// Shows all rules what they want to see of a group, one after the other.
pub(super) fn show_all(group: &[Event], rules: &mut [Box<dyn Detector>]) {
    let kinds = Kinds::of(group);
    for rule in rules {
        kinds.show(rule.as_mut());
    }
}

/// A group by kinds: most rules want one of them, and who does not look costs nothing.
#[derive(Default)]
struct Kinds<'a> {
    transactions: Vec<(&'a Transaction, &'a Glance)>,
    /// Those that are not plain.
    unusual: Vec<(&'a Transaction, &'a Glance)>,
    connects: Vec<&'a TcpAttempt>,
    lookups: Vec<&'a Lookup>,
    /// Those that were not smooth.
    rough: Vec<&'a Lookup>,
}

impl<'a> Kinds<'a> {
    fn of(group: &'a [Event]) -> Self {
        let mut kinds = Self { transactions: Vec::with_capacity(group.len()), ..Self::default() };
        for event in group {
            match &event.what {
                What::Transaction { transaction, glance: Some(glance), .. } => {
                    kinds.transactions.push((transaction, glance));
                    if !glance.plain {
                        kinds.unusual.push((transaction, glance));
                    }
                }
                What::Connect(connect) => kinds.connects.push(connect),
                What::Lookup { lookup, admitted: true, .. } => {
                    kinds.lookups.push(lookup);
                    if !lookup.smooth {
                        kinds.rough.push(lookup);
                    }
                }
                What::Transaction { .. } | What::Lookup { .. } => {}
            }
        }
        kinds
    }

    /// Shows a rule what it wants to see; lookups behind their steps.
    fn show(&self, rule: &mut dyn Detector) {
        let Interest { transactions, lookups, connects } = rule.interest();
        rule.observe_all(transactions.of(&self.transactions, &self.unusual));
        if connects {
            self.connects.iter().for_each(|connect| rule.observe_connect(connect));
        }
        rule.observe_lookups(lookups.of(&self.lookups, &self.rough));
    }
}
