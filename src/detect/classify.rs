//! Which rule an outage belongs to: the smallest explanation first (rulebook 6.3).
//!
//! Exactly one kind for each outage, so that the rules about silent servers never quarrel over
//! one. What one capture point cannot tell is left to the wording of the rule.

use std::net::IpAddr;
use std::time::Duration;

use super::finding::Where;
use super::localise::{End, MIN_FLOWS, Outage};
use super::posterior::{Flows, State};
use crate::base::{Span, is_link_local};
use crate::packet::IcmpKind;
use crate::transaction::Nat;

/// A removal sooner than this is a rollout: no grace period for nodes is that short.
pub(super) const SHORTEST_REMOVAL: Duration = Duration::from_secs(10);
/// After this long nobody was going to remove it (rulebook `dead-backend`).
pub(super) const LONGEST_REMOVAL: Duration = Duration::from_mins(2);
/// A process that is started anew answers again within this (rulebook `backend-restart`).
pub(super) const LONGEST_RESTART: Duration = Duration::from_secs(30);
/// Flows below which a healthy cell exonerates nobody (rulebook 6.2).
pub(super) const ENOUGH_TO_EXONERATE: u64 = 4;
/// Where more than one flow in so many is answered, not all servers fail (rulebook `service-wide-outage`).
const ENOUGH_ANSWERED: u64 = 5;
/// So often servers come back that are started anew each time (rulebook 7.6: recurring).
const CRASH_LOOP: usize = 3;
/// Failed flows of a blocked port (rulebook 7.6).
const ENOUGH_BLOCKED: u64 = 10;

/// The rule that an outage belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Answers come from another address than the one asked: `wrong-source-reply`.
    WrongSource,
    /// One network cannot reach one server, or its answers do not come back:
    /// `path-broken-pair`.
    Pair,
    /// UDP 53 does not pass, and TCP does, or ICMP says that it may not: `udp53-blocked`.
    Blocked,
    /// One network reaches no server: `client-node-broken`.
    Node,
    /// Nobody reaches any server: `service-wide-outage`.
    Service,
    /// The server's own host says that nobody listens: `icmp-port-unreachable`.
    NobodyListens,
    /// A configured name server that never answers: `nameserver-dead-first`.
    Nameserver,
    /// Silent, and taken out of the service: `stale-backend`.
    Stale,
    /// Silent for a moment: `backend-restart`.
    Restart,
    /// Silent, and still asked: `dead-backend`.
    Dead,
}

impl Kind {
    /// Whether it is the same for whoever asks the server, from wherever.
    pub(super) fn is_for_all(self) -> bool {
        !matches!(self, Self::WrongSource | Self::Pair | Self::Blocked | Self::Node)
    }
}

/// The kind of `outage` among `all`.
pub(super) fn classify(outage: &Outage, all: &[Outage], nat: &Nat) -> Kind {
    let context = &outage.context;
    if outage.wrong_source >= MIN_FLOWS && outage.wrong_source * 2 > outage.failed {
        return Kind::WrongSource;
    }
    if outage.other_host >= MIN_FLOWS && outage.other_host * 2 > outage.failed {
        return Kind::Pair;
    }
    // What another capture point saw says whether it is the server or the way to it.
    let place = outage.place().map(|(place, _)| place);
    if outage.clients_are_fine() {
        return match place {
            Some(Where::PathToServer | Where::PathToClient) => Kind::Pair,
            Some(Where::Server) => server_kind(outage, nat),
            _ if outage.server_is_fine() => Kind::Pair,
            _ => server_kind(outage, nat),
        };
    }
    // No server answers these clients. The cache on their own node says itself that it does not run: what
    // speaks for a service's address is the node, about a service without endpoints.
    if is_link_local(outage.server) && nobody_listens(outage) {
        return Kind::NobodyListens;
    }
    if (context.tcp_ok > 0 || outage.is_prohibited()) && enough_failed(outage, all) {
        return Kind::Blocked;
    }
    if fails_whoever_asks(outage) {
        return server_kind(outage, nat);
    }
    if context.abroad_ok >= ENOUGH_TO_EXONERATE && context.abroad_ok > context.abroad_failed {
        return Kind::Node;
    }
    // What ends where it enters the node says nothing of what others would meet.
    if outage.stuck {
        return if comes_and_goes(outage, all) { Kind::Service } else { Kind::Node };
    }
    let abroad_dead = context.abroad_failed >= MIN_FLOWS;
    let alone = context.elsewhere_failed + context.neighbours_failed == 0;
    if abroad_dead || (alone && outage.clients.len() >= 3) || comes_and_goes(outage, all) {
        Kind::Service
    } else if alone && !outage.untranslated {
        match place {
            Some(Where::PathToServer | Where::PathToClient) => Kind::Pair,
            _ => server_kind(outage, nat),
        }
    } else {
        Kind::Node
    }
}

/// Whether all servers were away for this network, and back, so often that they crash and are started again:
/// the capture holds no other network, and what breaks one node does not mend itself each time.
fn comes_and_goes(outage: &Outage, all: &[Outage]) -> bool {
    let context = &outage.context;
    let kept = outage.untranslated && !outage.stuck;
    if kept || context.abroad_ok + context.abroad_failed > 0 {
        return false;
    }
    let over = |other: &&Outage| {
        let same = other.network == outage.network && !other.untranslated;
        same && matches!(other.end, End::Recovered(_)) && !other.clients_are_fine()
    };
    let mut times: Vec<Span> = Vec::new();
    let mut often = |span: Span| {
        match times.iter_mut().find(|time| time.overlaps(span)) {
            Some(time) => *time = time.join(span),
            None => times.push(span),
        }
        times.len() >= CRASH_LOOP
    };
    matches!(outage.end, End::Recovered(_))
        && all.iter().filter(over).any(|other| often(other.span))
}

/// Whether these clients asked this server alone, and it failed others who asked it as well, while other
/// servers answered: then it is neither these clients' node nor all there is. Queries that kept a service's
/// own address fail whoever asks: those that were answered show another.
fn fails_whoever_asks(outage: &Outage) -> bool {
    let context = &outage.context;
    let others = Flows { ok: context.others_ok, failed: context.others_failed };
    let answered = context.apart_ok();
    let all = context.abroad_ok + context.abroad_failed + outage.failed;
    !outage.untranslated
        && context.row.is_empty()
        && others.state() == State::Dead
        && answered >= ENOUGH_TO_EXONERATE
        && answered * ENOUGH_ANSWERED > all
}

/// Whether so many flows failed in outages of the same time as a blocked port takes.
fn enough_failed(outage: &Outage, all: &[Outage]) -> bool {
    let mut failed = 0;
    all.iter().filter(|other| other.span.overlaps(outage.span)).any(|other| {
        failed += other.failed;
        failed >= ENOUGH_BLOCKED
    })
}

/// Whether the server itself says that nobody listens there.
fn nobody_listens(outage: &Outage) -> bool {
    let own_voice = |(said, count): (&(IcmpKind, IpAddr), &u64)| {
        let (kind, from) = said;
        let itself = *from == outage.server || *from == outage.service;
        (*kind == IcmpKind::PortUnreachable && itself).then_some(*count)
    };
    outage.icmp.iter().filter_map(own_voice).sum::<u64>() >= 2
}

/// What is wrong with a server that fails alone.
fn server_kind(outage: &Outage, nat: &Nat) -> Kind {
    if nobody_listens(outage) {
        return Kind::NobodyListens;
    }
    let asked_directly = outage.server == outage.service && !nat.is_backend(outage.server);
    if !outage.ever_answered && asked_directly {
        return Kind::Nameserver;
    }
    match outage.end {
        End::Removed(_) if (SHORTEST_REMOVAL..=LONGEST_REMOVAL).contains(&outage.length()) => {
            Kind::Stale
        }
        End::Removed(_) if outage.length() < SHORTEST_REMOVAL => Kind::Restart,
        End::Recovered(_) if outage.length() <= LONGEST_RESTART => Kind::Restart,
        _ => Kind::Dead,
    }
}
