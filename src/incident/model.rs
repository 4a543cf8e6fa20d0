//! What an incident is: a cause, whom it hurt, and how much that matters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::names::NameKind;
use crate::base::Span;
use crate::base::words::{Text, ToText, text};
use crate::detect::{self, Finding};

/// Findings with one root cause, ranked by the harm that people felt.
#[derive(Debug, Clone)]
pub struct Incident {
    /// The cause.
    pub cause: Finding,
    /// Findings that the cause explains, or that made it worse.
    pub symptoms: Vec<Symptom>,
    /// Whom it hurt.
    pub affected: Affected,
    /// 0 to 100 (rulebook 7.3).
    pub score: u8,
    /// The label of that score.
    pub severity: Severity,
    /// When it happens.
    pub pattern: Pattern,
}

/// A finding that stands behind another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// Its rule id.
    pub rule: &'static str,
    /// What it says.
    pub title: Text,
}

/// Whom an incident hurt: the harmed lookups that are charged to it and to no other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Affected {
    /// Transactions that failed by it.
    pub transactions: u64,
    /// Lookups that failed or waited.
    pub lookups: u64,
    /// Of them, lookups that failed, or were told at once what their application cannot work with.
    pub failed: u64,
    /// Of those, lookups that were told at once that there is no such name or record.
    pub denied: u64,
    /// Of those, lookups that got a wrong answer.
    pub misled: u64,
    /// Clients, with the harm each took.
    pub clients: BTreeMap<IpAddr, f64>,
    /// Names, with how many lookups of each were harmed.
    pub names: BTreeMap<String, u64>,
    /// What kinds of names they are.
    pub kinds: BTreeSet<NameKind>,
    /// What was bad about their steps.
    pub symptoms: BTreeSet<detect::Symptom>,
    /// Sum of the waiting time beyond what is usual.
    pub added: Duration,
    /// The longest lookup.
    pub worst: Option<Duration>,
    /// Σh of rulebook 7.1.
    pub harm: f64,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Below 5, or of a class that harms nobody.
    Info,
    /// 5 to 19.
    Low,
    /// 20 to 39.
    Medium,
    /// 40 to 59.
    High,
    /// 60 and above.
    Critical,
}

impl ToText for Severity {
    fn to_text(&self) -> Text {
        match self {
            Self::Info => text!("info"),
            Self::Low => text!("low"),
            Self::Medium => text!("medium"),
            Self::High => text!("high"),
            Self::Critical => text!("critical"),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// When it happens (rulebook 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// From the first frame to the last.
    Always,
    /// From one instant to the end.
    Step,
    /// Once, with a beginning and an end.
    Burst,
    /// Several times.
    Recurring,
    /// With the load.
    Load,
    /// Here and there.
    Rare,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Step => "step",
            Self::Burst => "burst",
            Self::Recurring => "recurring",
            Self::Load => "load",
            Self::Rare => "rare",
        })
    }
}

/// Who there was to be hurt: the denominators of rulebook 7.3.
#[derive(Debug, Clone, Default)]
pub struct Population {
    /// Lookups of each client.
    pub lookups: BTreeMap<IpAddr, u64>,
    /// The usual duration of a lookup that nothing delays.
    pub usual: Duration,
    /// First and last frame of the capture.
    pub span: Option<Span>,
}
