//! Resolver fingerprints (rulebook section 3): what one lookup shows of the program that asked.

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use super::manner::{self, Manner};
use super::model::{Role, Step};
use super::wait::{TIMER, follows_error};
use crate::base::Transport;
use crate::base::words::{Text, ToText, plain, text};
use crate::dns::RecordType;
use crate::transaction::{Transaction, timing};

/// A family of resolvers that behave alike on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Resolver {
    /// glibc's `getaddrinfo`, and what stands on it (Java, Python, Node's `dns.lookup`).
    Glibc,
    /// musl's `getaddrinfo`.
    Musl,
    /// busybox' `nslookup`: musl's timing with ids drawn at random.
    Busybox,
    /// The resolver of Go's `net` package.
    Go,
    /// dig, host or nslookup of BIND.
    BindTools,
    /// c-ares (Node's `dns.resolve`, curl, Envoy).
    CAres,
    /// Java's JNDI DNS provider.
    Jndi,
    /// netty's resolver: one port for everything.
    Netty,
    /// CoreDNS forwarding for others, NodeLocal DNSCache among them.
    CoreDns,
    /// Another DNS server that asks on behalf of its clients.
    Forwarder,
    /// glibc or musl: nothing happened that tells them apart.
    Libc,
    /// Nothing in the lookup tells.
    #[default]
    Unknown,
}

impl ToText for Resolver {
    fn to_text(&self) -> Text {
        match self {
            Self::Glibc => plain("glibc"),
            Self::Musl => plain("musl"),
            Self::Busybox => plain("busybox"),
            Self::Go => plain("go"),
            Self::BindTools => plain("bind-tools"),
            Self::CAres => plain("c-ares"),
            Self::Jndi => plain("jndi"),
            Self::Netty => plain("netty"),
            Self::CoreDns => plain("coredns"),
            Self::Forwarder => text!("forwarder"),
            Self::Libc => plain("libc"),
            Self::Unknown => text!("unknown"),
        }
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// The EDNS payload size of Go's resolver and of BIND's tools.
const EDNS_1232: u16 = 1232;
/// How soon after an error the next try follows.
const QUICK: Duration = Duration::from_millis(150);

/// Something that the steps of a lookup show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// A and AAAA from one port.
    SharedPort,
    /// A and AAAA from two ports.
    OwnPorts,
    /// Ids of A and AAAA close to each other.
    NearIds,
    /// Ids of A and AAAA far from each other.
    FarIds,
    /// An OPT record with this payload size.
    Opt(u16),
    /// AD in queries.
    AuthenticData,
    /// A DNS cookie.
    Cookie,
    /// The same datagram again from the same port, after so many tenths of a second.
    Repeats(u16),
    /// The same id again from a new port, after so many tenths of a second.
    NewPort(u16),
    /// A new id from a new port, after so many tenths of a second.
    NewId(u16),
    /// All servers at once.
    AllServers,
    /// The same datagram again at once, after SERVFAIL.
    AgainAtOnce,
    /// A new port at once, after an error.
    NewPortAtOnce,
    /// Every question from one port.
    OnePort,
    /// It answers DNS queries itself.
    ServesDns,
}

impl Sign {
    /// Whether it is something that the resolver did, not merely how its queries look.
    pub fn is_behaviour(self) -> bool {
        matches!(
            self,
            Self::Repeats(_)
                | Self::NewPort(_)
                | Self::NewId(_)
                | Self::AllServers
                | Self::AgainAtOnce
                | Self::NewPortAtOnce
                | Self::OnePort
                | Self::ServesDns
        )
    }
}

impl ToText for Sign {
    fn to_text(&self) -> Text {
        let seconds = |tenths: &u16| plain(format_args!("{:.1}", f64::from(*tenths) / 10.0));
        match self {
            Self::SharedPort => text!("A and AAAA from one port"),
            Self::OwnPorts => text!("A and AAAA from two ports"),
            Self::NearIds => text!("ids of A and AAAA close to each other"),
            Self::FarIds => text!("ids of A and AAAA drawn at random"),
            Self::Opt(size) => text!("OPT with {size} bytes", size),
            Self::AuthenticData => text!("AD set"),
            Self::Cookie => text!("a DNS cookie"),
            Self::Repeats(tenths) => {
                text!("the same datagram again after {seconds} s", seconds = seconds(tenths))
            }
            Self::NewPort(tenths) => {
                text!("a new port with the same id after {seconds} s", seconds = seconds(tenths))
            }
            Self::NewId(tenths) => {
                text!("a new port with a new id after {seconds} s", seconds = seconds(tenths))
            }
            Self::AllServers => text!("all servers asked at once"),
            Self::AgainAtOnce => text!("the same datagram again at once, after SERVFAIL"),
            Self::NewPortAtOnce => text!("a new port at once, after an error"),
            Self::OnePort => text!("one port for every question"),
            Self::ServesDns => text!("answers DNS queries itself"),
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().fmt(f)
    }
}

/// What one lookup shows; hardly ever more.
pub(super) type Signs = SmallVec<[Sign; 8]>;

/// What the steps show, each sign once.
pub(super) fn signs(steps: &[Step], manner: Manner) -> Signs {
    let asked = || steps.iter().filter_map(|step| step.transaction().map(AsRef::as_ref));
    let mut signs = Signs::new();
    if let Some(first) = asked().next() {
        signs.extend(first.traits.udp_size.map(Sign::Opt));
        signs.extend(first.traits.authentic_data.then_some(Sign::AuthenticData));
        signs.extend(first.traits.cookie.then_some(Sign::Cookie));
    }
    if let Some((a, aaaa)) = pair_of(asked) {
        let near = manner::is_near(a, aaaa);
        signs.push(if near.is_some() { Sign::SharedPort } else { Sign::OwnPorts });
        signs.extend(near.map(|near| if near { Sign::NearIds } else { Sign::FarIds }));
    }
    let repeated = |asked: &&Transaction| asked.attempts.len() > 1;
    for asked in asked().filter(repeated).filter(|asked| asked.transport == Transport::Udp) {
        for pair in asked.attempts.windows(2) {
            let [a, b] = pair else { continue };
            let gap = b.sent().ts.since(a.sent().ts);
            let by_timer = gap >= TIMER && !follows_error(asked, b.sent().ts);
            signs.extend(by_timer.then(|| Sign::Repeats(tenths(gap))));
        }
        signs.extend((manner::again_at_once(asked) > 0).then_some(Sign::AgainAtOnce));
    }
    signs.extend(retries(steps));
    if steps.iter().any(|step| step.role == Role::Parallel) {
        signs.push(Sign::AllServers);
    }
    signs.extend(manner.one_port.then_some(Sign::OnePort));
    signs.extend(manner.forwarder.then_some(Sign::ServesDns));
    signs.sort_unstable();
    signs.dedup();
    signs
}

/// What asked, by the signs of one lookup; `usual` is what its client mostly is.
pub(super) fn recognise(
    steps: &[Step],
    signs: &[Sign],
    manner: Manner,
    usual: Option<Resolver>,
) -> Resolver {
    let has = |sign: Sign| signs.contains(&sign);
    let after = |kind: fn(u16) -> Sign, ms: u64| {
        let near = |sign: &Sign| match *sign {
            Sign::Repeats(t) | Sign::NewPort(t) | Sign::NewId(t) => {
                kind(t) == *sign && on_time(t, ms)
            }
            _ => false,
        };
        signs.iter().any(near)
    };
    let any = |kind: fn(&Sign) -> bool| signs.iter().any(kind);
    if manner.forwarder {
        let two_seconds = after(Sign::NewId, 2_000) || usual == Some(Resolver::CoreDns);
        return if two_seconds { Resolver::CoreDns } else { Resolver::Forwarder };
    }
    let opt = steps.iter().find_map(Step::transaction).and_then(|first| first.traits.udp_size);
    if has(Sign::AuthenticData) || has(Sign::Cookie) {
        return Resolver::BindTools;
    }
    if manner.one_port && opt.is_some() {
        return Resolver::Netty;
    }
    if opt == Some(EDNS_1232) {
        return Resolver::Go;
    }
    if manner.is_surely_musl() {
        let random = has(Sign::FarIds) && !has(Sign::AllServers);
        return if random { Resolver::Busybox } else { Resolver::Musl };
    }
    if has(Sign::SharedPort) && !manner.is_musl() {
        // c-ares shares a port too, but never repeats a datagram from it.
        let new_port = any(|sign| matches!(sign, Sign::NewPort(_)));
        let repeats = any(|sign| matches!(sign, Sign::Repeats(_)));
        let asked_again = after(Sign::NewPort, 5_000);
        return if new_port && !repeats && !asked_again {
            Resolver::CAres
        } else if has(Sign::FarIds) || repeats || usual == Some(Resolver::Glibc) {
            Resolver::Glibc
        } else {
            Resolver::Libc
        };
    }
    if has(Sign::SharedPort) {
        return if usual == Some(Resolver::Glibc) { Resolver::Glibc } else { Resolver::Musl };
    }
    if has(Sign::NewPortAtOnce) {
        return Resolver::Glibc;
    }
    if any(|sign| matches!(sign, Sign::NewPort(_))) {
        return if after(Sign::NewPort, 5_000) {
            if usual == Some(Resolver::Glibc) { Resolver::Glibc } else { Resolver::BindTools }
        } else if after(Sign::NewPort, 1_000) {
            Resolver::Jndi
        } else {
            Resolver::CAres
        };
    }
    if after(Sign::Repeats, 5_000) {
        // BIND's tools ask three times and for one type; glibc twice unless told otherwise.
        let three =
            steps.iter().filter_map(Step::transaction).any(|asked| asked.attempts.len() >= 3);
        return if three { Resolver::BindTools } else { Resolver::Glibc };
    }
    if after(Sign::NewId, 5_000) {
        return Resolver::Go;
    }
    usual.unwrap_or_default()
}

fn tenths(gap: Duration) -> u16 {
    u16::try_from((gap.as_millis() + 50) / 100).unwrap_or(u16::MAX)
}

fn on_time(tenths: u16, ms: u64) -> bool {
    let gap = Duration::from_millis(u64::from(tenths) * 100);
    timing::on_time(gap + Duration::from_millis(50), Duration::from_millis(ms))
}

/// The first question of each family of the first candidate name.
fn pair_of<'a, I: Iterator<Item = &'a Transaction>>(
    asked: impl Fn() -> I,
) -> Option<(&'a Transaction, &'a Transaction)> {
    let of = |rtype| asked().find(|transaction| transaction.question.rtype == rtype);
    let (a, aaaa) = (of(RecordType::A)?, of(RecordType::AAAA)?);
    (a.question.name == aaaa.question.name).then_some((a, aaaa))
}

/// How it went on to another socket for the same question and server.
fn retries(steps: &[Step]) -> Signs {
    let mut signs = Signs::new();
    for (index, step) in steps.iter().enumerate() {
        let Some(again) = step.transaction().filter(|_| step.role == Role::Retry) else {
            continue;
        };
        let before = steps[..index].iter().rev().find_map(|earlier| {
            earlier.transaction().filter(|earlier| {
                earlier.question == again.question && earlier.client != again.client
            })
        });
        let Some(before) = before else { continue };
        let gap = again.first().ts.since(before.last_sent_before(again.first().ts));
        if gap < QUICK {
            signs.extend((before.id == again.id).then_some(Sign::NewPortAtOnce));
        } else if gap >= TIMER && before.server == again.server {
            signs.push(if before.id == again.id {
                Sign::NewPort(tenths(gap))
            } else {
                Sign::NewId(tenths(gap))
            });
        }
    }
    signs
}
