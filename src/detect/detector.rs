//! What a rule is: its descriptor, and the state that watches the stream for it.

use super::finding::Finding;
use super::glance::Glance;
use super::scene::Scene;
use crate::base::words::{Text, module_docs};
use crate::lookup::Lookup;
use crate::transaction::{TcpAttempt, Transaction};

/// The weight Q of rulebook section 7.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Infrastructure fails: weight 1.
    Failure,
    /// A correct negative answer hurts: weight 0.7.
    Negative,
    /// Nothing fails, it only costs: weight 0.3, never above info by itself.
    Efficiency,
    /// The capture, not the network: weight 0.
    Capture,
}

impl Class {
    /// The weight Q.
    pub const fn weight(self) -> f64 {
        match self {
            Self::Failure => 1.0,
            Self::Negative => 0.7,
            Self::Efficiency => 0.3,
            Self::Capture => 0.0,
        }
    }
}

/// Where a cause lies: the order in which incidents may claim a harmed lookup (rulebook 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The capture itself.
    Capture,
    /// The whole DNS service.
    Service,
    /// A backend, a path, a node.
    Path,
    /// One host's kernel or load.
    Kernel,
    /// A resolver behind the backends.
    Upstream,
    /// Message sizes, truncation, TCP, EDNS.
    Protocol,
    /// How clients ask.
    Resolver,
    /// What names hold.
    Data,
    /// What nothing else explains.
    Residual,
}

/// A rule, as the registry and `dnswhy rules` know it.
#[derive(Debug)]
pub struct Descriptor {
    /// The rulebook's id: stable, in reports and tests.
    pub id: &'static str,
    /// A few words for lists.
    pub title: &'static str,
    /// Its weight.
    pub class: Class,
    /// Its place in the order of claims.
    pub layer: Layer,
    /// The documents that it follows.
    pub references: &'static [&'static str],
    /// The source of the rule's own file, whose module docs are its explanation.
    pub source: &'static str,
    /// Makes the state that watches for it.
    pub new: fn() -> Box<dyn Detector>,
}

impl Descriptor {
    /// A few words for lists, in any language.
    pub fn title(&self) -> Text {
        Text::constant(self.title)
    }

    /// What the rule means, needs and cannot tell: its module docs, as Markdown.
    pub fn explanation(&self) -> String {
        module_docs(self.source)
    }
}

/// What a rule wants to see of all that closes; nothing unless it says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interest {
    /// Transactions; those are usual that are [plain](Glance::plain).
    pub transactions: Which,
    /// Lookups; those are usual that are [smooth](Lookup::smooth).
    pub lookups: Which,
    /// Whether connection attempts.
    pub connects: bool,
}

/// How many of one kind a rule wants to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// None of them.
    #[default]
    None,
    /// Those that are not like most of a healthy capture.
    Unusual,
    /// All.
    All,
}

impl Which {
    /// What it takes in of all there are, and of those that are unusual.
    pub const fn of<'a, T>(self, all: &'a [T], unusual: &'a [T]) -> &'a [T] {
        match self {
            Self::None => &[],
            Self::Unusual => unusual,
            Self::All => all,
        }
    }
}

impl Interest {
    /// So many transactions and so many lookups.
    pub const fn new(transactions: Which, lookups: Which) -> Self {
        Self { transactions, lookups, connects: false }
    }

    /// The same, and connection attempts.
    #[must_use]
    pub const fn and_connects(self) -> Self {
        Self { connects: true, ..self }
    }
}

/// The state of one rule during one analysis. Implements only what it reads.
pub trait Detector: Send {
    /// What it observes.
    fn interest(&self) -> Interest {
        Interest::default()
    }
    /// A transaction of its [interest](Detector::interest) closed. They come in the order of their
    /// first frames.
    fn observe(&mut self, _transaction: &Transaction, _glance: &Glance) {}
    /// A connection attempt closed, if it is interested in those. They come in the order of their
    /// first frames.
    fn observe_connect(&mut self, _connect: &TcpAttempt) {}
    /// A lookup of its interest closed. They come in the order of their first frames, each after its
    /// steps.
    fn observe_lookup(&mut self, _lookup: &Lookup) {}
    /// Observes several transactions, one after the other: a rule that stands behind a pointer is
    /// called once for all of them.
    fn observe_all(&mut self, seen: &[(&Transaction, &Glance)]) {
        for (transaction, glance) in seen {
            self.observe(transaction, glance);
        }
    }
    /// The same with lookups.
    fn observe_lookups(&mut self, seen: &[&Lookup]) {
        for lookup in seen {
            self.observe_lookup(lookup);
        }
    }
    /// The capture is over: what was wrong, if anything.
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding>;
}
