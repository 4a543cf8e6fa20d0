//! Which finding explains which: every harmed lookup is charged to exactly one incident
//! (rulebook 7.2).
//!
//! Findings claim in the order of their layers (the whole service before a path, a path before
//! a client's habits, the residual last), within a layer the surer and then the broader one
//! first. A lookup that nothing but the residual explains, and that waited for another lookup on its behalf,
//! goes where that one goes. A finding of a failure class whose every lookup went to others is a symptom of the
//! one that took most of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::contribute::contribute;
use super::model::{Affected, Incident, Population, Symptom};
use super::names::NameKind;
use super::nested::Nested;
use super::pattern::pattern;
use super::rank::{Everybody, score, severity};
use crate::base::Timestamp;
use crate::capture::Seen;
use crate::detect::{self, Class, Finding, HarmKind, Harmed, Layer, Ledger, Steps};
use crate::dns::Name;

/// A wait shorter than this beyond the usual is nobody's harm (rulebook 7.1).
const NOTICEABLE: Duration = Duration::from_millis(100);

/// Harm that no finding explains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Residual {
    /// Lookups that failed.
    pub failed: u64,
    /// Lookups that waited.
    pub slow: u64,
}

/// Charges every harmed lookup, folds symptoms, scores, and ranks.
pub fn correlate(
    mut findings: Vec<Finding>,
    ledger: &Ledger,
    population: &Population,
) -> (Vec<Incident>, Residual) {
    let harmed = ledger.harmed();
    findings.sort_by(|a, b| {
        (a.rule.layer, std::cmp::Reverse(a.confidence), a.rule.class)
            .cmp(&(b.rule.layer, std::cmp::Reverse(b.confidence), b.rule.class))
            .then_with(|| b.transactions.cmp(&a.transactions))
            .then_with(|| (a.span, a.rule.id).cmp(&(b.span, b.rule.id)))
            .then_with(|| a.culprits.cmp(&b.culprits))
    });
    let headless = headless(harmed);
    let mut charged: Vec<Affected> = findings
        .iter()
        .map(|finding| Affected { transactions: finding.transactions, ..Affected::default() })
        .collect();
    let mut times: Vec<Vec<Timestamp>> = vec![Vec::new(); findings.len()];
    let mut lost_to: Vec<BTreeMap<usize, u64>> = vec![BTreeMap::new(); findings.len()];
    let mut residual = Residual::default();
    let wronged = wronged(&findings, harmed);
    let nested = Nested::of(ledger);
    let every = Claims::of(&findings, ledger);
    let explains = |index: usize| findings[index].rule.layer != Layer::Residual;
    let told_right =
        harmed.iter().filter(|lookup| !wronged.contains_key(&(lookup.start, lookup.client)));
    for lookup in told_right.chain(wronged.values()) {
        let claims = every.on(lookup);
        let own = claims.first().copied();
        // Who waits for a cache waits for whom the cache waits.
        let behind = || {
            let behind = nested.behind(lookup)?;
            let owner = every.on(behind).first().copied();
            owner.filter(|owner| explains(*owner))
        };
        let owner = own.filter(|own| explains(*own)).or_else(behind).or(own);
        let Some(owner) = owner else {
            residual.note(lookup, population.usual);
            continue;
        };
        for other in claims.into_iter().filter(|other| *other != owner) {
            *lost_to[other].entry(owner).or_default() += 1;
        }
        if charge(&mut charged[owner], lookup, population.usual, &headless) {
            charged[owner].symptoms.extend(seen_by(&findings[owner], lookup, ledger.steps()));
            times[owner].push(lookup.start.ts);
        }
    }
    // Those that were told wrong came behind all others.
    for times in &mut times {
        times.sort_unstable();
    }
    let folded: BTreeMap<usize, usize> = (0..findings.len())
        .filter(|index| {
            charged[*index].lookups == 0 && findings[*index].rule.class != Class::Efficiency
        })
        .filter_map(|index| {
            let most = lost_to[index].iter().max_by_key(|(owner, lost)| (**lost, **owner))?;
            Some((index, *most.0))
        })
        .collect();
    let symptoms: Vec<Vec<Symptom>> = (0..findings.len())
        .map(|owner| {
            folded
                .iter()
                .filter(|(_, into)| **into == owner)
                .map(|(index, _)| Symptom {
                    rule: findings[*index].rule.id,
                    title: findings[*index].title.clone(),
                })
                .collect()
        })
        .collect();
    let everybody = Everybody::of(population);
    let mut incidents: Vec<Incident> = findings
        .into_iter()
        .zip(charged)
        .zip(times)
        .zip(symptoms)
        .enumerate()
        .filter(|(index, _)| !folded.contains_key(index))
        .map(|(_, (((cause, affected), times), symptoms))| {
            let score = score(&cause, &affected, &everybody);
            let severity = severity(score, cause.rule.class);
            let pattern = pattern(&cause, &times, population);
            Incident { cause, symptoms, affected, score, severity, pattern }
        })
        .collect();
    incidents.retain(worth_telling);
    contribute(&mut incidents);
    incidents.sort_by(|a, b| {
        (b.severity, b.score)
            .cmp(&(a.severity, a.score))
            .then_with(|| a.cause.span.cmp(&b.cause.span))
            .then_with(|| a.cause.rule.id.cmp(b.cause.rule.id))
            .then_with(|| a.cause.culprits.cmp(&b.cause.culprits))
    });
    (incidents, residual)
}

/// Which findings explain which lookups. Those that name their clients are listed by them: of thousands,
/// each about clients of its own, few are worth a look.
struct Claims<'a> {
    findings: &'a [Finding],
    ledger: &'a Ledger,
    by_client: BTreeMap<IpAddr, Vec<usize>>,
    others: Vec<usize>,
}

impl<'a> Claims<'a> {
    fn of(findings: &'a [Finding], ledger: &'a Ledger) -> Self {
        let (mut by_client, mut others) = (BTreeMap::<IpAddr, Vec<usize>>::new(), Vec::new());
        for (index, Finding { claim, .. }) in findings.iter().enumerate() {
            match &claim.clients {
                Some(clients) if claim.wrong.is_empty() => {
                    for client in clients {
                        by_client.entry(*client).or_default().push(index);
                    }
                }
                _ => others.push(index),
            }
        }
        Self { findings, ledger, by_client, others }
    }

    /// The findings that explain a lookup, the first one first.
    fn on(&self, lookup: &Harmed) -> SmallVec<[usize; 4]> {
        let steps = self.ledger.steps();
        let holds =
            |index: &usize| self.findings.get(*index).is_some_and(|f| f.claim.holds(lookup, steps));
        let own = self.by_client.get(&lookup.client).map_or(&[][..], Vec::as_slice);
        let mut claims: SmallVec<[usize; 4]> =
            own.iter().chain(&self.others).copied().filter(holds).collect();
        claims.sort_unstable();
        claims
    }
}

/// Lookups that some rule shows to have got a wrong answer. One that failed in the end, or for
/// which it is not beyond doubt what it was told, stays what it was.
fn wronged(findings: &[Finding], harmed: &[Harmed]) -> BTreeMap<(Seen, IpAddr), Harmed> {
    let mut wronged: BTreeMap<(Seen, IpAddr), Harmed> = BTreeMap::new();
    for finding in findings {
        wronged.extend(finding.claim.wrong.iter().map(|(key, lookup)| (*key, lookup.clone())));
    }
    for lookup in harmed.iter().filter(|lookup| lookup.kind == HarmKind::Failed) {
        wronged.remove(&(lookup.start, lookup.client));
    }
    wronged
}

/// What was bad about the steps that a finding explains; of a lookup that only waited for another one,
/// about all of them.
fn seen_by(finding: &Finding, lookup: &Harmed, steps: &Steps) -> SmallVec<[detect::Symptom; 4]> {
    let claimed = steps.of(lookup).filter(|step| finding.claim.fits(step));
    let claimed: SmallVec<_> = claimed.map(|step| step.symptom).collect();
    if claimed.is_empty() {
        return steps.of(lookup).map(|step| step.symptom).collect();
    }
    claimed
}

/// The residual rule without a harmed lookup has nothing to explain.
fn worth_telling(incident: &Incident) -> bool {
    incident.cause.rule.layer != Layer::Residual || incident.affected.lookups > 0
}

impl Residual {
    fn note(&mut self, lookup: &Harmed, usual: Duration) {
        match lookup.kind {
            HarmKind::Failed => self.failed += 1,
            HarmKind::Slow if added(lookup, usual) >= NOTICEABLE => self.slow += 1,
            HarmKind::Slow | HarmKind::Negative | HarmKind::Wrong => {}
        }
    }
}

fn added(lookup: &Harmed, usual: Duration) -> Duration {
    lookup.duration().saturating_sub(usual)
}

/// Charges one lookup; false if nobody felt it.
fn charge(
    affected: &mut Affected,
    lookup: &Harmed,
    usual: Duration,
    headless: &BTreeSet<Name>,
) -> bool {
    let added = added(lookup, usual);
    let harm = match lookup.kind {
        HarmKind::Failed | HarmKind::Negative | HarmKind::Wrong => 1.0,
        HarmKind::Slow if added >= NOTICEABLE => f64::min(0.8, 0.16 * added.as_secs_f64()),
        HarmKind::Slow => return false,
    };
    affected.harm += harm;
    affected.lookups += 1;
    affected.failed += u64::from(lookup.kind != HarmKind::Slow);
    affected.denied += u64::from(lookup.kind == HarmKind::Negative);
    affected.misled += u64::from(lookup.kind == HarmKind::Wrong);
    *affected.clients.entry(lookup.client).or_default() += harm;
    // Of a connection that did not open nobody knows what it was for.
    if !lookup.name.is_root() {
        *affected.names.entry(lookup.name.to_string()).or_default() += 1;
        affected.kinds.insert(NameKind::of(&lookup.name, headless));
    }
    affected.added += if added >= NOTICEABLE { added } else { Duration::ZERO };
    affected.worst = affected.worst.max(Some(lookup.duration()));
    true
}

/// Services below which other harmed names lie.
fn headless(harmed: &[Harmed]) -> BTreeSet<Name> {
    let names: BTreeSet<&Name> = harmed.iter().map(|lookup| &lookup.name).collect();
    names.iter().filter_map(|name| name.parent()).filter(|above| names.contains(above)).collect()
}
