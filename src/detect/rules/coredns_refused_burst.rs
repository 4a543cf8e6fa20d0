//! CoreDNS itself refuses queries: it has too many in flight.
//!
//! **Signature.** A DNS pod whose own questions are visible answers REFUSED to clients without
//! asking anybody, five times or for two names, and nearly each time at least twenty of its questions
//! are on their way upstream, never less than half of the most that there ever were: a plateau. Two
//! on their way are enough if it forwards most of the refused questions at other times.
//!
//! **Needs.** A capture that shows what the DNS pods ask: on their nodes, with `-i any`.
//!
//! **Not this.** REFUSED that an upstream said is passed on (`upstream-refused`). REFUSED while
//! nothing is in flight is a zone that no `forward` covers.
//!
//! **Cannot tell.** The configured limit; the plateau is its measure.
//!
//! Source: rulebook 2.E; CoreDNS `plugin/forward` (`max_concurrent`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, list, plain, text};
use crate::base::{Map, Span, Timestamp};
use crate::detect::upstream::read_the_corefile;
use crate::detect::{
    Action, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Fate, Finding, Layer,
    Leg, Proof, RuledOut, Scene, Symptom, Trouble, TroubleKind, Where,
};
use crate::dns::{Name, Question, Rcode};

/// Refused questions, and names (rulebook 7.6).
const ENOUGH: usize = 5;
/// See [`ENOUGH`]: with two names, three will do.
const ENOUGH_OF_TWO_NAMES: usize = 3;
/// Questions in flight below which nobody sets a limit.
const BUSY: usize = 20;
/// See [`BUSY`]: where most of the refused questions were forwarded and answered at other times, no zone
/// without a forward explains the refusals, and a low limit does.
const BUSY_FOR_KNOWN: usize = 2;
/// CoreDNS gives a leg up after this long.
const LEG: Duration = Duration::from_secs(2);

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "coredns-refused-burst",
    title: "CoreDNS refuses queries beyond its limit",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E", "CoreDNS plugin/forward max_concurrent"],
    source: include_str!("coredns_refused_burst.rs"),
    new: || Box::new(CorednsRefusedBurst),
};

/// Judges legs and clients' failures; keeps nothing of its own.
struct CorednsRefusedBurst;

impl Detector for CorednsRefusedBurst {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut servers: BTreeMap<IpAddr, Vec<&Trouble>> = BTreeMap::new();
        for trouble in scene.forward.outside.troubles() {
            let refused = trouble.kind == TroubleKind::Error(Rcode::REFUSED);
            if refused && scene.forward.shows(trouble.responder) {
                servers.entry(trouble.responder).or_default().push(trouble);
            }
        }
        servers.into_iter().filter_map(|(server, refused)| judge(server, &refused, scene)).collect()
    }
}

fn judge(server: IpAddr, refused: &[&Trouble], scene: &Scene<'_>) -> Option<Finding> {
    let legs: Vec<&Leg> =
        scene.forward.legs().iter().filter(|leg| leg.way.forwarder == server).collect();
    let mut asked: Map<&Question, Vec<&Leg>> =
        refused.iter().map(|trouble| (&trouble.question, Vec::new())).collect();
    for leg in &legs {
        if let Some(legs) = asked.get_mut(&*leg.question) {
            legs.push(leg);
        }
    }
    let own: Vec<&Trouble> = refused
        .iter()
        .copied()
        .filter(|trouble| {
            let own_leg = |leg: &&Leg| leg.serves(trouble);
            !asked.get(&trouble.question).is_some_and(|legs| legs.iter().any(own_leg))
        })
        .collect();
    let names: BTreeSet<&Name> = own.iter().map(|trouble| &trouble.question.name).collect();
    if own.len() < ENOUGH && (own.len() < ENOUGH_OF_TWO_NAMES || names.len() < 2) {
        return None;
    }
    // What it has asked for at other times, it has a forward for.
    let answered = |legs: &Vec<&Leg>| {
        legs.iter().any(|leg| matches!(leg.fate, Fate::Data | Fate::Negative(_)))
    };
    let known = own.iter().filter(|trouble| asked.get(&trouble.question).is_some_and(answered));
    let busy = if known.count() * 2 > own.len() { BUSY_FOR_KNOWN } else { BUSY };
    let most = legs.iter().map(|leg| in_flight(&legs, leg.sent.ts)).max()?;
    // An answer is on the wire before the server counts it as done: of so many, some meet that moment.
    let mut flying: Vec<usize> =
        own.iter().map(|trouble| in_flight(&legs, trouble.sent.ts)).collect();
    flying.sort_unstable();
    let least = *flying.get(flying.len() / 10)?;
    (least >= busy && least * 2 >= most)
        .then(|| finding(server, &own, least, most, scene))
        .flatten()
}

/// How many legs were on their way at this instant. Legs stand in the order of sending, and
/// none is waited for longer than [`LEG`].
fn in_flight(legs: &[&Leg], at: Timestamp) -> usize {
    let from = legs.partition_point(|leg| leg.sent.ts < at.before(LEG));
    let to = legs.partition_point(|leg| leg.sent.ts <= at);
    let open = |leg: &&&Leg| leg.replied.is_none_or(|replied| replied.ts > at);
    legs.get(from..to).unwrap_or_default().iter().filter(open).count()
}

fn finding(
    server: IpAddr,
    own: &[&Trouble],
    least: usize,
    most: usize,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let span = own.iter().map(|trouble| trouble.span()).reduce(Span::join)?;
    let names: BTreeSet<&Name> = own.iter().map(|trouble| &trouble.question.name).collect();
    let clients: BTreeSet<IpAddr> = own.iter().map(|trouble| trouble.client).collect();
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "{server} refuses {queries} by itself since {start}, with {least} or more in flight \
             upstream",
            server,
            queries = count(own.len() as u64, "query"),
            start = clock(span.start),
            least
        ),
        confidence: Confidence::Likely,
        culprits: vec![Culprit::Backend(server)],
        place: Where::Server,
        span,
        ongoing: scene.lasts(span),
        transactions: own.len() as u64,
        claim: Claim {
            span: Some(span),
            servers: Some(BTreeSet::from([server])),
            outside: scene.forward.outside.cluster_zones(),
            symptoms: BTreeSet::from([Symptom::Error(Rcode::REFUSED)]),
            ..Claim::default()
        },
        cause: text!(
            "{server} said REFUSED without asking its upstream, while {least} to {most} of its \
             questions were on their way. CoreDNS does so at max_concurrent. Slow or silent \
             upstreams fill that limit; so do search lists that multiply queries.",
            server,
            least,
            most
        ),
        facts: vec![
            Fact { label: text!("refused without a question upstream"), value: plain(own.len()) },
            Fact {
                label: text!("in flight upstream at those moments"),
                value: text!("{least} at least, {most} at most in the capture", least, most),
            },
            Fact { label: text!("clients"), value: list(&clients, 4) },
            Fact { label: text!("names"), value: list(&names, 5) },
        ],
        evidence: own
            .iter()
            .take(6)
            .filter_map(|trouble| {
                let summary = text!("{client} is told REFUSED", client = trouble.client);
                Some(Proof { seen: trouble.replied?, summary })
            })
            .collect(),
        actions: vec![
            read_the_corefile(),
            Action {
                why: text!("see how often CoreDNS counted this itself"),
                command: format!(
                    "curl -s http://{server}:9153/metrics | grep max_concurrent_rejects"
                ),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "upstream-refused",
            because: text!("no query to an upstream stands behind these answers"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::CLUSTER;
    use crate::testkit::findings;

    /// `flying` questions on their way upstream, and meanwhile `refused` without one.
    fn burst(flying: u32, refused: u32) -> String {
        let mut text = format!(
            "{CLUSTER}0.1 core:9 > up id 5 rd A first.example.
             0.2 core:9 < up id 5 first.example. 5 A 203.0.113.7\n"
        );
        for n in 0..flying {
            let at = 5.0 + f64::from(n) / 1_000.0;
            let (reply, port) = (at + 0.9, 20_000 + n);
            let name = format!("n{n}.example.com.");
            text += &format!("{at:.3} core:{port} > up rd A {name}\n");
            text += &format!("{reply:.3} core:{port} < up {name} 5 A 203.0.113.7\n");
        }
        for n in 0..refused {
            let at = 5.5 + f64::from(n) / 100.0;
            let (reply, port) = (at + 0.000_5, 30_000 + n);
            text += &format!("{at:.4} pod:{port} > core rd A x{n}.example.com.\n");
            text += &format!("{reply:.4} pod:{port} < core REFUSED\n");
        }
        text
    }

    #[test]
    fn a_full_dns_pod_refuses_without_asking() {
        insta::assert_snapshot!(findings(&burst(40, 6)), @"low coredns-refused-burst [backend 10.244.1.10] likely 10:00:05.500-10:00:05.550 6/6");
    }

    #[test]
    fn refusing_while_nothing_is_in_flight_is_a_zone_without_a_forward() {
        assert!(!findings(&burst(3, 6)).contains("refused-burst"));
    }

    #[test]
    fn twenty_in_flight_are_busy_and_nineteen_are_not() {
        assert!(findings(&burst(20, 6)).contains("refused-burst"));
        assert!(!findings(&burst(19, 6)).contains("refused-burst"));
    }

    #[test]
    fn two_refusals_are_not_enough_wherever_the_capture_ends() {
        assert!(findings(&burst(40, 3)).contains("refused-burst"));
        assert!(!findings(&burst(40, 2)).contains("refused-burst"));
    }

    #[test]
    fn names_that_it_forwards_at_other_times_have_a_forward() {
        let refused = burst(3, 6);
        let mut known = String::new();
        for n in 0..6 {
            let (at, port) = (1 + n, 15_000 + n);
            known += &format!("{at}.0 core:{port} > up rd A x{n}.example.com.\n");
            known += &format!("{at}.1 core:{port} < up x{n}.example.com. 5 A 203.0.113.7\n");
        }
        let said = findings(&format!("{refused}{known}"));
        assert!(said.contains(" coredns-refused-burst [backend 10.244.1.10]"), "{said}");
    }
}
