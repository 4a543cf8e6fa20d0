//! What closed, by groups.
//!
//! Some dozens of tallies and rules look at everything that closes. They take turns by groups: each
//! sees all of a group in its order before the next one does, so that its instructions and tables
//! stay in the caches meanwhile, and a group can be handed to another thread.

use crate::detect::{Detector, Glance, Interest};
use crate::lookup::Lookup;
use crate::transaction::{Closed, TcpAttempt, Transaction};

/// How much that closed makes a group: it stays in a core's second-level cache.
pub(super) const GROUP: usize = 128;

/// What closed one after the other, and what may be seen of it.
#[derive(Default)]
pub(super) struct Group {
    pub(super) closed: Vec<Closed>,
    /// Each with the place in `closed` of the last thing that closed before it.
    pub(super) lookups: Vec<(usize, Lookup)>,
    pub(super) passes: Vec<Pass>,
}

/// What may be seen, by its place in the group.
pub(super) struct Pass {
    pub(super) place: usize,
    pub(super) kind: PassKind,
    /// Whether a DNS server asked on its clients' behalf.
    pub(super) forwarded: bool,
}

/// What kind of thing may be seen.
pub(super) enum PassKind {
    /// A transaction; with a glance if its client and server are such as rules tell apart.
    Transaction(Option<Glance>),
    /// A connection attempt of a client and a server that rules tell apart.
    Connect,
    /// A lookup.
    Lookup {
        /// Whether its client is one that rules tell apart.
        admitted: bool,
    },
}

/// Something that closed.
pub(super) enum Event<'a> {
    /// A transaction; see [`PassKind::Transaction`].
    Transaction { transaction: &'a Transaction, forwarded: bool, glance: Option<Glance> },
    /// A connection attempt; see [`PassKind::Connect`].
    Connect { connect: &'a TcpAttempt, forwarded: bool },
    /// A lookup, behind its last transaction. One that was forwarded is nobody's own.
    Lookup { lookup: &'a Lookup, forwarded: bool, admitted: bool },
}

impl Group {
    /// What may be seen, in the order in which it closed.
    pub(super) fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.passes.iter().filter_map(|pass| {
            let forwarded = pass.forwarded;
            Some(match (&pass.kind, self.closed.get(pass.place)) {
                (PassKind::Lookup { admitted }, _) => {
                    let (_, lookup) = self.lookups.get(pass.place)?;
                    Event::Lookup { lookup, forwarded, admitted: *admitted }
                }
                (PassKind::Transaction(glance), Some(Closed::Transaction(transaction))) => {
                    Event::Transaction { transaction, forwarded, glance: *glance }
                }
                (PassKind::Connect, Some(Closed::Connect(connect))) => {
                    Event::Connect { connect, forwarded }
                }
                (PassKind::Transaction(_) | PassKind::Connect, _) => return None,
            })
        })
    }

    /// Shows all rules what they want to see, one after the other.
    pub(super) fn show_all(&self, rules: &mut [Box<dyn Detector>]) {
        for rule in rules {
            self.show(rule.as_mut());
        }
    }

    fn show(&self, detector: &mut dyn Detector) {
        let interest = detector.interest();
        for event in self.events() {
            match event {
                Event::Transaction { transaction, glance: Some(glance), .. } => {
                    let needed = if glance.plain { Interest::All } else { Interest::Unusual };
                    if interest >= needed {
                        detector.observe(transaction, &glance);
                    }
                }
                Event::Connect { connect, .. } => detector.observe_connect(connect),
                Event::Lookup { lookup, admitted: true, .. } => detector.observe_lookup(lookup),
                Event::Transaction { .. } | Event::Lookup { .. } => {}
            }
        }
    }
}
