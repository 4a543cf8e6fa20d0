//! Resolver fingerprints (rulebook section 3): what one lookup shows of the program that asked.

use std::fmt;
use std::time::Duration;

use super::model::{Role, Step};
use crate::base::Transport;
use crate::dns::RecordType;
use crate::transaction::{Transaction, timing};

/// A family of resolvers that behave alike on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Resolver {
    /// glibc's `getaddrinfo`, and what stands on it (Java, Python, Node's `dns.lookup`).
    Glibc,
    /// musl's `getaddrinfo`, and busybox `nslookup`, which looks the same.
    Musl,
    /// The resolver of Go's `net` package.
    Go,
    /// dig, host or nslookup of BIND.
    BindTools,
    /// c-ares (Node's `dns.resolve`, curl, Envoy).
    CAres,
    /// Java's JNDI DNS provider.
    Jndi,
    /// glibc or musl: nothing happened that tells them apart.
    Libc,
    /// Nothing in the lookup tells.
    #[default]
    Unknown,
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Go => "go",
            Self::BindTools => "bind-tools",
            Self::CAres => "c-ares",
            Self::Jndi => "jndi",
            Self::Libc => "libc",
            Self::Unknown => "unknown",
        })
    }
}

/// The largest distance between musl's ids of A and AAAA: they come from the clock, and 171 to
/// 266 was seen (rulebook section 3); a random pair of glibc's is as near once in 64 lookups.
const MUSL_ID_DISTANCE: u16 = 512;
/// The EDNS payload size of Go's resolver and of BIND's tools.
const EDNS_1232: u16 = 1232;
/// musl's and busybox' interval: five seconds over two attempts.
const MUSL_INTERVAL: Duration = Duration::from_millis(2_500);

/// What the steps of one lookup show of the resolver.
pub(super) fn recognise(steps: &[Step]) -> Resolver {
    let asked: Vec<&Transaction> =
        steps.iter().filter_map(|step| step.transaction().map(AsRef::as_ref)).collect();
    let Some(first) = asked.first() else {
        return Resolver::Unknown;
    };
    if first.traits.udp_size == Some(EDNS_1232) {
        // dig sets AD and sends a cookie; Go does neither.
        return if first.traits.authentic_data || first.traits.cookie {
            Resolver::BindTools
        } else {
            Resolver::Go
        };
    }
    if first.traits.authentic_data {
        return Resolver::BindTools;
    }
    let intervals = || {
        asked.iter().flat_map(|transaction| {
            transaction.attempts.windows(2).filter_map(|pair| match pair {
                [a, b] => Some(b.sent().ts.since(a.sent().ts)),
                _ => None,
            })
        })
    };
    if intervals().any(|gap| timing::on_time(gap, MUSL_INTERVAL)) {
        return Resolver::Musl;
    }
    if let Some(again) = new_port_same_id(steps) {
        return again;
    }
    if intervals().any(|gap| timing::on_time(gap, timing::DEFAULT_TIMEOUT)) {
        return Resolver::Glibc;
    }
    match pair_of(&asked) {
        Some((a, aaaa)) if a.client == aaaa.client && a.transport == Transport::Udp => {
            let distance = aaaa.id.wrapping_sub(a.id);
            if (1..=MUSL_ID_DISTANCE).contains(&distance) {
                Resolver::Musl
            } else {
                Resolver::Glibc
            }
        }
        Some(_) => Resolver::Unknown,
        None => Resolver::Unknown,
    }
}

/// The first question of each family of the first candidate name.
fn pair_of<'a>(asked: &[&'a Transaction]) -> Option<(&'a Transaction, &'a Transaction)> {
    let of = |rtype| asked.iter().find(|transaction| transaction.question.rtype == rtype).copied();
    let (a, aaaa) = (of(RecordType::A)?, of(RecordType::AAAA)?);
    (a.question.name == aaaa.question.name).then_some((a, aaaa))
}

/// Retries that take a new port and keep the id: c-ares, JNDI, BIND 9.18.
fn new_port_same_id(steps: &[Step]) -> Option<Resolver> {
    let retry = steps.iter().enumerate().find_map(|(index, step)| {
        let again = step.transaction()?;
        let before = steps[..index].iter().rev().find_map(|earlier| {
            let earlier = earlier.transaction()?;
            (earlier.question == again.question
                && earlier.id == again.id
                && earlier.client != again.client
                && earlier.server == again.server)
                .then_some(earlier)
        })?;
        (step.role == Role::Retry)
            .then(|| again.first().ts.since(before.last_sent().map_or(before.first().ts, |s| s.ts)))
    })?;
    let is = |seconds| timing::on_time(retry, Duration::from_secs(seconds));
    Some(if is(5) {
        Resolver::BindTools
    } else if is(1) {
        Resolver::Jndi
    } else {
        Resolver::CAres
    })
}
