//! What clients were told by servers whose own questions the capture does not show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::failing::{
    CACHED, ENOUGH, ENOUGH_OF_TWO_NAMES, Failing, Kind, episodes, is_enough, only_aaaa,
};
use super::limit::at_limit;
use crate::base::{Span, Timestamp, Transport};
use crate::detect::{Scene, Second, Trouble, TroubleKind};
use crate::dns::{Name, Rcode};

/// CoreDNS gives a silent upstream up after this long at the least: two tries of 2 s, less what
/// the first may have been in flight (rulebook 2.E).
const PLATEAU_FROM: Duration = Duration::from_millis(3_900);
/// And after this long at the most: three tries of 2 s, begun before its deadline of 5 s.
const PLATEAU_TO: Duration = Duration::from_millis(6_200);

/// How long CoreDNS waits for an upstream before it tries again (`plugin/forward`, read timeout).
const TRY: Duration = Duration::from_secs(2);
/// How much later than that the answer to the next try is there.
const LATE: Duration = Duration::from_millis(100);

/// Every way in which the upstream behind these failures failed.
pub(super) fn read<'a>(scene: &'a Scene<'a>, troubles: &[&'a Trouble]) -> Vec<Failing<'a>> {
    let mut found = Vec::new();
    let of = |kind: TroubleKind| -> Vec<&'a Trouble> {
        troubles.iter().copied().filter(|trouble| trouble.kind == kind).collect()
    };
    // What a server refuses at its own limit says nothing of what stands behind it.
    let full: BTreeSet<IpAddr> = at_limit(scene).iter().map(|limit| limit.server).collect();
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED] {
        let mut told = of(TroubleKind::Error(rcode));
        told.retain(|trouble| rcode != Rcode::REFUSED || !full.contains(&trouble.responder));
        for episode in episodes(&told, |trouble| trouble.sent.ts) {
            let by_tcp = episode.iter().all(|trouble| trouble.transport == Transport::Tcp);
            let kind = match rcode {
                Rcode::REFUSED => Kind::Refused,
                _ if is_plateau(episode) => Kind::Silent,
                _ if by_tcp => Kind::NoTcp,
                _ => Kind::ServFail,
            };
            let Some(mut failing) = contrasted(scene, kind, episode) else { continue };
            if kind == Kind::NoTcp && failing.meanwhile.outside_ok == 0 {
                failing.kind = Kind::ServFail;
            }
            if kind == Kind::Silent {
                let (span, servers) = (failing.span, failing.forwarders());
                let within = |trouble: &&Trouble| {
                    span.contains(trouble.sent.ts) && servers.contains(&trouble.responder)
                };
                failing.troubles.extend(of(TroubleKind::Silent).into_iter().filter(within));
                failing.settle();
            }
            found.push(failing);
        }
    }
    if found.iter().all(|failing| failing.kind != Kind::Silent) {
        let silent = of(TroubleKind::Silent);
        found.extend(
            episodes(&silent, |trouble| trouble.sent.ts)
                .filter_map(|episode| swallowed(scene, episode)),
        );
    }
    let slow = of(TroubleKind::Slow);
    for episode in episodes(&slow, |trouble| trouble.sent.ts) {
        let (retried, rest): (Vec<_>, Vec<_>) =
            episode.iter().copied().partition(|trouble| came_by_timer(trouble));
        if retried.len() < 2 * rest.len() {
            // Single long recursions are normal (rulebook 8).
            found.extend(late(scene, Kind::Slow, episode, 1));
            continue;
        }
        // The same silence, of which the last tries saw the end.
        let near = |failing: &&mut Failing<'_>| {
            let own = retried.iter().map(|trouble| trouble.span()).reduce(Span::join);
            let long = Span::between(failing.span.start, failing.span.end.after(CACHED));
            failing.kind == Kind::Silent && own.is_some_and(|own| own.overlaps(long))
        };
        if let Some(silent) = found.iter_mut().find(near) {
            silent.troubles.extend(retried);
            silent.settle();
        } else {
            // One upstream of several, chosen at random: more than five are rare.
            found.extend(late(scene, Kind::Silent, &retried, 5));
        }
    }
    found
}

/// What an episode of failures says, if it is enough and cluster names, which need no upstream,
/// fared better.
fn contrasted<'a>(
    scene: &'a Scene<'a>,
    kind: Kind,
    episode: &[&'a Trouble],
) -> Option<Failing<'a>> {
    let span = episode.iter().map(|trouble| trouble.span()).reduce(Span::join)?;
    let mut failing = Failing::new(scene, kind, None, span);
    failing.troubles = episode.to_vec();
    failing.settle();
    let told = episode.iter().all(|trouble| matches!(trouble.kind, TroubleKind::Error(_)));
    let is_fine = |meanwhile| is_fine(meanwhile, told);
    if !is_fine(failing.meanwhile) {
        // A server that fails cluster names as well has a trouble of its own, which says nothing of
        // what stands behind the others.
        let outside = &scene.forward.outside;
        let fine = |trouble: &&Trouble| is_fine(outside.during(span, [trouble.responder]));
        failing.troubles.retain(fine);
        failing.span = failing.troubles.iter().map(|t| t.span()).reduce(Span::join)?;
        failing.settle();
    }
    let asked = || failing.troubles.iter().map(|trouble| &trouble.question);
    let one_family = only_aaaa(asked()) && failing.meanwhile.outside_ok > 0;
    let enough = is_enough(failing.troubles.len(), asked().map(|question| &question.name));
    (is_fine(failing.meanwhile) && !one_family && enough).then_some(failing)
}

/// Whether names of the cluster fare well: one in five that fails is more than an upstream's trouble
/// does to names that do not need it. An error that clients are `told` is no work of loss, which only
/// makes them wait.
fn is_fine(meanwhile: Second, told: bool) -> bool {
    let bad = if told { meanwhile.cluster_errors } else { meanwhile.cluster_bad };
    bad * 5 <= meanwhile.cluster_ok
}

/// Servers that say nothing at all where CoreDNS says SERVFAIL: names, not addresses, separate
/// good from bad (rulebook 6.3).
fn swallowed<'a>(scene: &'a Scene<'a>, episode: &[&'a Trouble]) -> Option<Failing<'a>> {
    let failing = contrasted(scene, Kind::Silent, episode)?;
    let Second { cluster_ok, cluster_bad, outside_ok, .. } = failing.meanwhile;
    let n = failing.troubles.len() as u64;
    let names: BTreeSet<&Name> = failing.troubles.iter().map(|t| &t.question.name).collect();
    // A tenth is what heavy loss may do to either side.
    let apart = outside_ok * 10 <= n && cluster_bad * 10 <= cluster_ok && cluster_ok >= 2 * n;
    (apart && n >= ENOUGH as u64 && names.len() >= 2).then_some(failing)
}

/// Late answers, where enough of those that no cache gave were late: one of so many as `of`.
fn late<'a>(
    scene: &'a Scene<'a>,
    kind: Kind,
    answers: &[&'a Trouble],
    of: u64,
) -> Option<Failing<'a>> {
    let failing = contrasted(scene, kind, answers)?;
    let n = failing.troubles.len();
    let is_aaaa = |trouble: &&&Trouble| only_aaaa(std::iter::once(&trouble.question));
    let aaaa = failing.troubles.iter().filter(is_aaaa).count();
    // Where AAAA makes up nearly all of it, AAAA alone is late.
    let both = (n - aaaa) * 5 >= n;
    let often = n as u64 * of >= failing.meanwhile.outside_missed;
    (both && often && n >= 2 * ENOUGH).then_some(failing)
}

/// Whether an answer came just when a second or third try of CoreDNS was answered, before which it had
/// waited in vain.
fn came_by_timer(trouble: &Trouble) -> bool {
    let wait = trouble.wait().unwrap_or_default();
    [TRY, TRY * 2].into_iter().any(|tries| (tries..=tries + LATE).contains(&wait))
}

/// Whether SERVFAIL came after CoreDNS had waited for somebody: most of those that it cannot
/// have kept from before lie on the plateau.
fn is_plateau(told: &[&Trouble]) -> bool {
    let mut kept: BTreeMap<(IpAddr, &Name, u16), Timestamp> = BTreeMap::new();
    let (mut fresh, mut waited) = (0_u64, 0_u64);
    for trouble in told {
        let Some(replied) = trouble.replied else { continue };
        let key = (trouble.responder, &trouble.question.name, trouble.question.rtype.0);
        let known = kept.get(&key).is_some_and(|at| replied.ts.since(*at) <= CACHED);
        let wait = trouble.wait().unwrap_or_default();
        let on_plateau = (PLATEAU_FROM..=PLATEAU_TO).contains(&wait);
        if !known || on_plateau {
            fresh += 1;
            waited += u64::from(on_plateau);
            kept.insert(key, replied.ts);
        }
    }
    waited >= ENOUGH_OF_TWO_NAMES as u64 && waited * 2 >= fresh
}
