//! Faults that no single capture shows: localisation again, over the tallies of all sets.
//!
//! The capture of one node cannot tell a dead server from a broken way to it (rulebook 6.4); that
//! others reached the server, or that this node reached nobody, stands in their captures. Around
//! every run of failures the tallies of all sets are put back side by side, and the rules about
//! silent servers judge them as they judge one capture that saw it all.
//!
//! A flow that two captures saw is counted once: of each cell the capture that shows most of the
//! group's flows is taken, which is the one on its own node. Where another one shows answers that
//! this one never got, they were lost on their way back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::join::Joined;
use super::record::{SetIncident, SetRecord, severity};
use crate::base::{Addresses, Coverage, Span, Timestamp, Transport};
use crate::detect::{
    ALL, CellTally, CutOffs, Finding, Forward, Inquiries, Ledger, Load, MIN_FLOWS, PutBack, Scene,
    Trips, Where, localise,
};
use crate::report::json::Culprit;

/// The rules that judge what localisation finds.
const LOCALISED: [&str; 10] = [
    "backend-restart",
    "client-node-broken",
    "dead-backend",
    "icmp-port-unreachable",
    "nameserver-dead-first",
    "path-broken-pair",
    "service-wide-outage",
    "stale-backend",
    "udp53-blocked",
    "wrong-source-reply",
];
/// What lies so long before and after a run of failures is looked at with it: a server is taken
/// out of service within two minutes.
const AROUND: Duration = Duration::from_mins(3);
/// The severity of a fault that no lookup is charged to.
const HARMLESS: &str = "low";

/// A fault that shows only where several sets are looked at together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Across {
    /// 1 is the worst.
    pub rank: usize,
    /// The part of the archive that it belongs to.
    pub scope: String,
    /// Rule id.
    pub rule: String,
    /// One sentence.
    pub title: String,
    /// The worst severity of the incidents that it explains.
    pub severity: String,
    /// The highest score of the incidents that it explains.
    pub score: u8,
    /// `confirmed`, `likely` or `possible`.
    pub confidence: String,
    /// Who is to blame, the foremost first.
    pub culprits: Vec<Culprit>,
    /// Where datagrams died.
    #[serde(rename = "where")]
    pub place: String,
    /// Mechanism and root cause in words.
    pub cause: String,
    /// First bad packet.
    pub start: String,
    /// Last bad packet.
    pub end: String,
    /// Flows that failed.
    pub flows: u64,
    /// The sets that show the failures.
    pub sets: Vec<String>,
    /// The sets that show who was not hurt.
    pub judged_with: Vec<String>,
    /// The sets that show answers which never arrived.
    pub answers_seen_by: Vec<String>,
    /// The lines of the index that it explains, by their ranks.
    pub explains: Vec<usize>,
    /// Lookups that failed or waited, of these lines.
    pub lookups: u64,
    /// Lookups that failed, of these lines.
    pub failed_lookups: u64,
    /// Clients hurt, of these lines.
    pub clients: u64,
    /// Waiting time beyond the usual, of these lines.
    pub added_seconds: f64,
    /// What to do next: what for, and what to type.
    pub actions: Vec<(String, String)>,
}

/// A cell as one set saw it.
struct Sight<'a> {
    set: &'a SetRecord,
    cell: CellTally,
}

/// What makes cells of several sets the same.
type Key = (String, std::net::IpAddr, Transport);

impl Sight<'_> {
    fn key(&self) -> Key {
        (self.cell.group.clone(), self.cell.server, self.cell.transport)
    }

    fn extent(&self) -> Option<Span> {
        self.cell.spells.iter().map(crate::detect::Spell::span).reduce(Span::join)
    }
}

/// Localises over all `sets`, marks the lines of `joined` that are explained by what was found,
/// and raises those that other nodes confirm.
pub(super) fn across(sets: &[SetRecord], joined: &mut [Joined]) -> Vec<Across> {
    let mut scopes: BTreeMap<&str, Vec<&SetRecord>> = BTreeMap::new();
    for set in sets {
        scopes.entry(&set.scope).or_default().push(set);
    }
    let mut found = Vec::new();
    for (scope, sets) in scopes.into_iter().filter(|(_, sets)| sets.len() > 1) {
        for episode in episodes(&sets) {
            found.extend(judge(scope, &sets, episode, joined));
        }
    }
    found.sort_by(|one, other| {
        let worse = |one: &Across| (severity(&one.severity), one.score, one.lookups);
        worse(other).cmp(&worse(one)).then_with(|| {
            (&one.start, &one.rule, &one.scope).cmp(&(&other.start, &other.rule, &other.scope))
        })
    });
    for (index, one) in found.iter_mut().enumerate() {
        one.rank = index + 1;
        for line in joined.iter_mut().filter(|line| one.explains.contains(&line.rank)) {
            line.explained_by.get_or_insert(one.rank);
        }
    }
    found
}

/// Where something failed in a row, with what lies around it; never overlapping.
fn episodes(sets: &[&SetRecord]) -> Vec<Span> {
    let mut windows: Vec<Span> = Vec::new();
    for set in sets {
        let runs = set.reachability.cells.iter().filter(|cell| cell.transport == "udp");
        for run in runs.flat_map(|cell| &cell.runs).filter(|run| run.flows >= MIN_FLOWS) {
            let (start, end) = (Timestamp::parse(&run.start), Timestamp::parse(&run.end));
            let span = start.zip(end).map(|(start, end)| Span::between(start, end));
            windows.extend(span.map(|span| span.widened(AROUND)));
        }
    }
    windows.sort_unstable();
    let mut episodes: Vec<Span> = Vec::new();
    for window in windows {
        match episodes.last_mut().filter(|last| last.overlaps(window)) {
            Some(last) => *last = last.join(window),
            None => episodes.push(window),
        }
    }
    episodes
}

fn judge(scope: &str, sets: &[&SetRecord], episode: Span, joined: &mut [Joined]) -> Vec<Across> {
    let mut sights: Vec<Sight<'_>> = Vec::new();
    for set in sets.iter().filter(|set| set.span().is_some_and(|span| span.overlaps(episode))) {
        for mut cell in set.reachability.cells() {
            cell.spells.retain(|spell| spell.span().overlaps(episode));
            if !cell.spells.is_empty() {
                sights.push(Sight { set, cell });
            }
        }
    }
    let there: BTreeSet<&str> = sights.iter().map(|sight| sight.set.name.as_str()).collect();
    if there.len() < 2 {
        // What one set shows, its own report says.
        return Vec::new();
    }
    let (taken, doubled) = once(sights);
    let back = PutBack::of(taken.iter().map(|sight| &sight.cell));
    let ends = taken.iter().filter_map(|sight| Some(sight.set.span()?.end)).max();
    let (coverage, forward, ledger) = (Coverage::default(), Forward::default(), Ledger::default());
    let (answers, load, servers) = (Inquiries::default(), Load::default(), BTreeSet::new());
    let outages = localise(&back.reach, &back.nat, &forward, &Trips::default());
    let scene = Scene {
        span: ends.map_or(episode, |end| Span::between(episode.start.min(end), end)),
        coverage: &coverage,
        nat: &back.nat,
        reach: &back.reach,
        forward: &forward,
        load: &load,
        ledger: &ledger,
        answers: &answers,
        outages: &outages,
        cut_off: &CutOffs::default(),
        addresses: &Addresses::default(),
        servers: &servers,
    };
    let rules = ALL.iter().filter(|rule| LOCALISED.contains(&rule.id));
    let findings = rules.flat_map(|rule| (rule.new)().finish(&scene));
    findings
        .filter_map(|finding| {
            tell(scope, &finding, Sights { taken: &taken, doubled: &doubled }, joined)
        })
        .collect()
}

/// Takes every flow once. Returns the cells that are looked at, and those that saw the same flows
/// from elsewhere.
fn once(sights: Vec<Sight<'_>>) -> (Vec<Sight<'_>>, Vec<Sight<'_>>) {
    let mut shown: BTreeMap<(String, String), u64> = BTreeMap::new();
    let place = |sight: &Sight<'_>| (sight.set.name.clone(), sight.cell.group.clone());
    for sight in &sights {
        *shown.entry(place(sight)).or_default() += sight.cell.flows();
    }
    let mut ordered: Vec<(u64, Sight<'_>)> = sights
        .into_iter()
        .map(|sight| (shown.get(&place(&sight)).copied().unwrap_or(0), sight))
        .collect();
    ordered.sort_by(|(shown, sight), (other_shown, other)| {
        other_shown
            .cmp(shown)
            .then_with(|| sight.set.name.cmp(&other.set.name))
            .then_with(|| sight.cell.cmp(&other.cell))
    });
    let mut extents: BTreeMap<Key, Vec<Span>> = BTreeMap::new();
    let (mut taken, mut doubled) = (Vec::new(), Vec::new());
    for (_, sight) in ordered {
        let Some(extent) = sight.extent() else { continue };
        let known = extents.entry(sight.key()).or_default();
        if known.iter().any(|other| other.overlaps(extent)) {
            doubled.push(sight);
        } else {
            known.push(extent);
            taken.push(sight);
        }
    }
    (taken, doubled)
}

#[derive(Clone, Copy)]
struct Sights<'s, 'a> {
    taken: &'s [Sight<'a>],
    doubled: &'s [Sight<'a>],
}

/// What a finding says beyond the reports of the sets; nothing if those say it already.
fn tell(
    scope: &str,
    finding: &Finding,
    sights: Sights<'_, '_>,
    joined: &mut [Joined],
) -> Option<Across> {
    let servers = finding.claim.servers.clone().unwrap_or_default();
    let is_failure = |sight: &&Sight<'_>| {
        servers.contains(&sight.cell.server)
            && sight.cell.spells.iter().any(|spell| {
                spell.is_run()
                    && spell.span().overlaps(finding.span)
                    && spell.clients.iter().any(|client| finding.claim.concerns(*client))
            })
    };
    let failing: Vec<&Sight<'_>> = sights.taken.iter().filter(is_failure).collect();
    let groups: BTreeSet<&str> = failing.iter().map(|sight| sight.cell.group.as_str()).collect();
    let sets: BTreeSet<&str> = failing.iter().map(|sight| sight.set.name.as_str()).collect();
    let culprits: Vec<Culprit> = finding
        .culprits
        .iter()
        .map(|who| Culprit { kind: who.kind().to_owned(), value: who.to_string() })
        .collect();
    let foremost = culprits.first()?;
    let blames = |incident: &SetIncident| {
        let same = incident.culprits.first() == Some(foremost);
        same && incident.span().is_some_and(|span| span.overlaps(finding.span))
    };
    if failing.iter().all(|sight| sight.set.incidents.iter().any(blames)) {
        confirm(finding, foremost, &sets, joined);
        return None;
    }
    let other = |sight: &&Sight<'_>| {
        let meanwhile = |one: &crate::detect::Spell| one.span().overlaps(finding.span);
        !sets.contains(sight.set.name.as_str()) && sight.cell.spells.iter().any(meanwhile)
    };
    let judged_with: BTreeSet<&str> =
        sights.taken.iter().filter(other).map(|sight| sight.set.name.as_str()).collect();
    if sets.is_empty() || sets.len() + judged_with.len() < 2 {
        return None;
    }
    let answers_seen_by: BTreeSet<&str> = sights
        .doubled
        .iter()
        .filter(|sight| servers.contains(&sight.cell.server))
        .filter(|sight| groups.contains(sight.cell.group.as_str()))
        .filter(|sight| {
            sight.cell.spells.iter().any(|one| {
                let within = finding.span.contains(one.start) && finding.span.contains(one.last);
                within && one.answered > 0
            })
        })
        .map(|sight| sight.set.name.as_str())
        .collect();
    let explained: Vec<&Joined> = joined
        .iter()
        .filter(|line| line.scope == scope && LOCALISED.contains(&line.rule.as_str()))
        .filter(|line| line.span().is_some_and(|span| span.overlaps(finding.span)))
        .filter(|line| line.parts.iter().all(|part| sets.contains(part.set.as_str())))
        .collect();
    let worst = explained.iter().max_by_key(|line| (line.severity(), line.score));
    let sum = |count: fn(&Joined) -> u64| explained.iter().map(|line| count(line)).sum();
    let place = match finding.place {
        Where::Unknown if !answers_seen_by.is_empty() => Where::PathToClient,
        place => place,
    };
    Some(Across {
        rank: 0,
        scope: scope.to_owned(),
        rule: finding.rule.id.to_owned(),
        title: finding.title.to_string(),
        severity: worst.map_or_else(|| HARMLESS.to_owned(), |line| line.severity.clone()),
        score: worst.map_or(0, |line| line.score),
        confidence: finding.confidence.to_string(),
        culprits,
        place: place.to_string(),
        cause: finding.cause.to_string(),
        start: finding.span.start.to_string(),
        end: finding.span.end.to_string(),
        flows: finding.transactions,
        sets: owned(&sets),
        judged_with: owned(&judged_with),
        answers_seen_by: owned(&answers_seen_by),
        explains: explained.iter().map(|line| line.rank).collect(),
        lookups: sum(|line| line.lookups),
        failed_lookups: sum(|line| line.failed_lookups),
        clients: sum(|line| line.clients),
        added_seconds: explained.iter().map(|line| line.added_seconds).sum(),
        actions: finding
            .actions
            .iter()
            .map(|action| (action.why.to_string(), action.command.clone()))
            .collect(),
    })
}

fn owned(names: &BTreeSet<&str>) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What one node could only call likely, others may confirm.
fn confirm(finding: &Finding, foremost: &Culprit, sets: &BTreeSet<&str>, joined: &mut [Joined]) {
    let sure = finding.confidence.to_string();
    let order = ["possible", "likely", "confirmed"];
    let place = |word: &str| order.iter().position(|known| *known == word);
    let same = |line: &&mut Joined| {
        line.rule == finding.rule.id
            && line.culprits.first() == Some(foremost)
            && line.span().is_some_and(|span| span.overlaps(finding.span))
            && line.parts.iter().any(|part| sets.contains(part.set.as_str()))
    };
    for line in joined.iter_mut().filter(same) {
        if place(&line.confidence) < place(&sure) {
            line.confidence.clone_from(&sure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that judges outages judges those of many captures as well.
    #[test]
    fn every_rule_about_outages_is_asked() {
        let judges = ALL.iter().filter(|rule| rule.source.contains("Blackhole::"));
        let judges: BTreeSet<&str> = judges.map(|rule| rule.id).collect();
        assert_eq!(judges, BTreeSet::from(LOCALISED));
    }
}
