//! What an imperfect capture does to findings (rulebook sections 1 and 2.A): some are dropped, some
//! lose a level of confidence, and each says why.
//!
//! - Silence where one direction was not captured proves nothing: such findings go.
//! - A finding about silence has to fail significantly more often than three times the share of
//!   frames that the capture lost; and where it lost more than 2 %, ten times as often, or it loses
//!   a level.
//! - A finding whose window holds a change of the clock loses a level.
//! - A claim about reachability with fewer than [`MIN_FLOWS`] failures loses a level.
//! - The edges of a finding that lie at a hole of the capture are uncertain by its length.

use std::net::IpAddr;
use std::time::Duration;

use statrs::distribution::{Binomial, DiscreteCDF};

use super::health::{Loss, Sided, Watch};
use crate::base::Span;
use crate::base::words::{Text, clock, percent, text};
use crate::detect::{
    BadStep, Class, Culprit, Fact, Finding, Flow, Layer, Ledger, MIN_FLOWS, Reach, Reached, Symptom,
};
use crate::transaction::Undelivered;

/// A finding about silence fails more often than this many times what the capture lost.
const TIMES_TO_STAND: f64 = 3.0;
/// And this many times, to keep its confidence.
const TIMES_TO_CONVINCE: f64 = 10.0;
/// Below this share of lost frames, confidence stands as it is.
const LITTLE: f64 = 0.02;
/// Failures that a capture's own loss explains with more than this probability prove nothing.
const CHANCE: f64 = 0.01;
/// A hole this near to the first or the last bad packet may hide the true edge.
const NEAR: Duration = Duration::from_secs(10);

/// What is known of the capture's own faults.
pub(super) struct Doubts<'a> {
    pub(super) sided: &'a Sided,
    pub(super) loss: Option<Loss>,
    pub(super) watch: &'a Watch,
    /// What came of the lookups that findings explain.
    pub(super) ledger: &'a Ledger,
}

/// Drops and demotes `findings` as the capture's own faults demand.
pub(super) fn weigh(findings: Vec<Finding>, reach: &Reach, doubts: &Doubts<'_>) -> Vec<Finding> {
    let stands = |finding: &Finding| {
        if finding.rule.class == Class::Efficiency {
            return true;
        }
        if doubts.sided.lacks_responses()
            || (doubts.sided.explains(finding) && is_silence(finding, doubts.ledger))
        {
            return false;
        }
        let Some(loss) = doubts.loss.filter(|_| is_silence(finding, doubts.ledger)) else {
            return true;
        };
        exceeds(&effect(finding, reach), loss)
    };
    let mut kept: Vec<Finding> = findings.into_iter().filter(stands).collect();
    for finding in &mut kept {
        demote(finding, reach, doubts);
    }
    kept
}

fn demote(finding: &mut Finding, reach: &Reach, doubts: &Doubts<'_>) {
    if finding.rule.class == Class::Efficiency {
        return;
    }
    if let Some(loss) =
        doubts.loss.filter(|loss| loss.share() > LITTLE && is_silence(finding, doubts.ledger))
    {
        let effect = effect(finding, reach);
        if effect.total > 0 && effect.share() < TIMES_TO_CONVINCE * loss.share() {
            let lost = percent_of(loss.share());
            lower(finding, text!("the capture itself lost {lost} of the frames", lost));
        }
    }
    if let Some(change) = doubts.watch.clock_changes().find(|at| at.overlaps(finding.span)) {
        lower(finding, text!("the clock was set at {start}", start = clock(change.start)));
    }
    let about_reach = matches!(finding.rule.layer, Layer::Service | Layer::Path | Layer::Kernel);
    if about_reach && (1..MIN_FLOWS).contains(&finding.transactions) {
        lower(finding, text!("fewer than {least} failures", least = MIN_FLOWS));
    }
    for hole in doubts.watch.holes() {
        if let Some(edge) = edge_at(hole, finding.span) {
            finding.facts.push(Fact {
                label: edge,
                value: text!(
                    "the capture has a hole from {start} to {end}",
                    start = clock(hole.start),
                    end = clock(hole.end)
                ),
            });
        }
    }
}

fn lower(finding: &mut Finding, because: Text) {
    finding.confidence = finding.confidence.demoted();
    finding.facts.push(Fact { label: text!("confidence lowered"), value: because });
}

/// The edge of `span` that `hole` may hide.
fn edge_at(hole: Span, span: Span) -> Option<Text> {
    let near = |distance: Duration| distance <= NEAR;
    if hole.end <= span.start && near(span.start.since(hole.end)) {
        Some(text!("beginning uncertain"))
    } else if hole.start >= span.end && near(hole.start.since(span.end)) {
        Some(text!("end uncertain"))
    } else {
        None
    }
}

/// Whether a finding rests on answers that did not come.
fn is_silence(finding: &Finding, ledger: &Ledger) -> bool {
    finding.rule.class == Class::Failure
        && (finding.claim.symptoms.contains(&Symptom::Unanswered)
            || finding.claim.symptoms.contains(&Symptom::Connect))
        && !is_told(finding, ledger)
}

/// Whether most of the lookups that a finding explains were told an error: no capture makes one up.
fn is_told(finding: &Finding, ledger: &Ledger) -> bool {
    let steps = ledger.steps();
    let is_error =
        |step: BadStep<'_>| matches!(step.symptom, Symptom::Error(_)) && finding.claim.fits(&step);
    let (mut told, mut all) = (0_u64, 0_u64);
    for harmed in ledger.harmed().iter().filter(|harmed| finding.claim.holds(harmed, steps)) {
        all += 1;
        told += u64::from(steps.of(harmed).any(is_error));
    }
    told * 2 > all
}

/// How often those whom a finding blames failed during its window.
struct Effect {
    failed: u64,
    total: u64,
}

impl Effect {
    fn share(&self) -> f64 {
        self.failed as f64 / self.total.max(1) as f64
    }
}

fn effect(finding: &Finding, reach: &Reach) -> Effect {
    let window = finding.span.widened(Duration::from_millis(1));
    let mut effect = Effect { failed: 0, total: 0 };
    let flows = reach.flows();
    let from = flows.partition_point(|flow| flow.first.ts < window.start);
    for flow in flows.iter().skip(from).take_while(|flow| flow.first.ts <= window.end) {
        if flow.reached() == Reached::Unknown || !concerns(finding, flow) {
            continue;
        }
        effect.total += u64::from(flow.weight());
        // A retransmission that was answered stands for one datagram that was lost.
        let incomplete = flow.lost() == Some(Undelivered::Incomplete);
        let lost = flow.failed() || flow.reached() == Reached::Late || flow.unanswered() > 0;
        effect.failed += u64::from(flow.weight()) * u64::from(lost || incomplete);
    }
    effect
}

/// Whether a flow is one of those that the finding blames somebody for. Culprits without an address
/// stand for all.
fn concerns(finding: &Finding, flow: &Flow) -> bool {
    let mut addressed = false;
    for culprit in &finding.culprits {
        let server =
            |address: &IpAddr| flow.cell().server == *address || flow.cell().responder == *address;
        let met = match culprit {
            Culprit::Service(address) | Culprit::Backend(address) | Culprit::Upstream(address) => {
                server(address)
            }
            Culprit::Client(address) => flow.cell().client == *address,
            Culprit::ClientSubnet(network) => network.contains(flow.cell().client),
            Culprit::Path(..) | Culprit::Name(_) | Culprit::Zone(_) | Culprit::Node(_) => continue,
        };
        if met {
            return true;
        }
        addressed = true;
    }
    !addressed
}

/// Whether the failures are more than the capture's own loss explains.
fn exceeds(effect: &Effect, loss: Loss) -> bool {
    if effect.total == 0 {
        return true;
    }
    let explained = loss.share();
    if effect.share() <= TIMES_TO_STAND * explained {
        return false;
    }
    let Some(fewer) = effect.failed.checked_sub(1) else { return false };
    Binomial::new(explained.min(1.0), effect.total).map_or(true, |lost| lost.sf(fewer) < CHANCE)
}

fn percent_of(share: f64) -> Text {
    // Shares are of thousands of frames at most; one decimal is shown.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1")]
    let thousandths = (share.clamp(0.0, 1.0) * 1_000.0).round() as u64;
    percent(thousandths, 1_000)
}
