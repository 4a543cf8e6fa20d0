//! What the application will have printed (rulebook section 3, "what the application reports").

use super::model::{Lookup, LookupOutcome};
use super::resolver::Resolver;
use crate::dns::{AnswerKind, Rcode};
use crate::packet::IcmpKind;
use crate::transaction::Outcome;

impl Lookup {
    /// The message that the application will have printed; `None` for a lookup that succeeded,
    /// and where the resolver or what it heard is not known well enough.
    pub fn printed(&self) -> Option<&'static str> {
        let kind = match self.outcome {
            LookupOutcome::Ok | LookupOutcome::Unknown => return None,
            LookupOutcome::Timeout => Kind::Timeout,
            LookupOutcome::Negative if self.has_no_data() => Kind::NoData,
            LookupOutcome::Negative => Kind::NxDomain,
            LookupOutcome::Error => self.refusal(),
        };
        Some(match (self.resolver, kind) {
            (Resolver::Glibc, Kind::NoData) => "No address associated with hostname",
            (Resolver::Glibc, Kind::NxDomain | Kind::Error(Rcode::FORMERR)) => {
                "Name or service not known"
            }
            (Resolver::Glibc, _) => "Temporary failure in name resolution",
            (Resolver::Musl, Kind::NxDomain | Kind::NoData) => "Name does not resolve",
            (Resolver::Musl, _) => "Try again",
            (Resolver::Go, Kind::NxDomain | Kind::NoData) => "no such host",
            (Resolver::Go, Kind::Error(_)) => "server misbehaving",
            (Resolver::Go, Kind::Refused) => "connection refused",
            (Resolver::Go, Kind::Timeout) => "i/o timeout",
            (Resolver::CAres, Kind::Timeout) => "ETIMEOUT",
            (Resolver::CAres, Kind::NxDomain) => "ENOTFOUND",
            (Resolver::CAres, Kind::NoData) => "ENODATA",
            (Resolver::CAres, Kind::Error(Rcode::SERVFAIL)) => "ESERVFAIL",
            (Resolver::CAres, Kind::Error(Rcode::REFUSED)) => "EREFUSED",
            (Resolver::CAres, Kind::Refused) => "ECONNREFUSED",
            (Resolver::BindTools | Resolver::Busybox, Kind::Timeout) => {
                "no servers could be reached"
            }
            (Resolver::BindTools, Kind::NxDomain) => "NXDOMAIN",
            (Resolver::BindTools, Kind::Error(Rcode::SERVFAIL)) => "SERVFAIL",
            (Resolver::BindTools, Kind::Error(Rcode::REFUSED)) => "REFUSED",
            (Resolver::BindTools, Kind::Refused) => "connection refused",
            _ => return None,
        })
    }

    /// Whether the last candidate exists, and has no address.
    fn has_no_data(&self) -> bool {
        let round = self.steps.last().map_or(0, |step| step.round);
        let asked = self.steps.iter().filter(|step| step.round == round);
        let mut answers = asked.filter_map(|step| step.transaction()?.answer());
        answers.any(|answer| answer.kind == AnswerKind::NoData)
    }

    /// What refused it: a response code, or the network.
    fn refusal(&self) -> Kind {
        if let Some(rcode) = self.rcode {
            return Kind::Error(rcode);
        }
        let refused = self
            .transactions()
            .any(|asked| asked.outcome() == Outcome::Rejected(IcmpKind::PortUnreachable));
        if refused { Kind::Refused } else { Kind::Unreachable }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Timeout,
    NxDomain,
    NoData,
    Error(Rcode),
    /// ICMP port unreachable.
    Refused,
    /// Another ICMP error, or a TCP connection that failed.
    Unreachable,
}
