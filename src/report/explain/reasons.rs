//! Why a lookup is or is not abnormal.

use std::time::Duration;

use crate::analysis::Analysis;
use crate::base::Coverage;
use crate::base::words::{Text, count, duration, percent, text};
use crate::detect::{Answers, Ledger};
use crate::dns::AnswerKind;
use crate::incident::{Incident, Severity};
use crate::lookup::{Lookup, LookupOutcome, Resolver, Role, Step};
use crate::transaction::{Outcome, Transaction};

/// A delay below this is nobody's harm (rulebook 7.1).
const NOTICEABLE: Duration = Duration::from_millis(100);

/// The judgement on a lookup.
pub(super) struct Judgement {
    pub(super) verdict: &'static str,
    pub(super) reasons: Vec<Text>,
    /// Rank and incident that it is charged to.
    pub(super) incident: Option<usize>,
    /// The part of its duration beyond what is usual.
    pub(super) added: Option<Duration>,
    pub(super) usual: Option<Duration>,
}

/// Judges `lookup` by itself and against the rest of the capture.
pub(super) fn judge(lookup: &Lookup, analysis: &Analysis) -> Judgement {
    let usual = analysis.traffic.healthy_times.quantile(500);
    let added = lookup.duration().map(|took| took.saturating_sub(usual.unwrap_or_default()));
    let slow = added.is_some_and(|added| added >= NOTICEABLE);
    let incident = charged(lookup, &analysis.incidents);
    let loud = |rank: usize| {
        analysis.incidents.get(rank).is_some_and(|incident| incident.severity > Severity::Info)
    };
    let verdict = match lookup.outcome {
        LookupOutcome::Unknown => "unknown",
        outcome if outcome.is_failure() || slow || incident.is_some_and(loud) => "abnormal",
        _ => "normal",
    };
    let mut reasons = vec![headline(lookup, usual, slow)];
    reasons.extend(steps(lookup));
    if lookup.approximate {
        reasons.push(text!(
            "its end or its steps are not beyond doubt: an answer is missing in the capture, or \
             the same client asked for the same name twice at the same time"
        ));
    }
    if incident.is_none() && verdict == "abnormal" {
        reasons.push(text!("no incident of the report explains it"));
    }
    Judgement { verdict, reasons, incident, added, usual }
}

/// The incident that takes it, by the order in which incidents claim (rulebook 7.2).
fn charged(lookup: &Lookup, incidents: &[Incident]) -> Option<usize> {
    let wrong = |incident: &Incident| {
        incident.cause.claim.wrong.contains_key(&(lookup.start, lookup.client))
    };
    if let Some(rank) = incidents.iter().position(wrong) {
        return Some(rank);
    }
    let mut ledger = Ledger::default();
    ledger.note(lookup, &Answers::default(), &mut Coverage::default());
    let harmed = ledger.harmed().first()?;
    incidents
        .iter()
        .enumerate()
        .filter(|(_, incident)| incident.cause.claim.holds(harmed, ledger.steps()))
        .min_by_key(|(rank, incident)| {
            let cause = &incident.cause;
            (cause.rule.layer, std::cmp::Reverse(cause.confidence), cause.rule.class, *rank)
        })
        .map(|(rank, _)| rank)
}

fn headline(lookup: &Lookup, usual: Option<Duration>, slow: bool) -> Text {
    let took = lookup.duration().map(duration);
    let told = match lookup.outcome {
        LookupOutcome::Ok => text!("the application got its answer"),
        LookupOutcome::Negative => {
            text!("the application was told that there is no such name or address")
        }
        LookupOutcome::Error => text!("the application was told that resolving failed"),
        LookupOutcome::Timeout => text!("nobody answered until the resolver gave up"),
        LookupOutcome::Unknown => {
            return text!(
                "the capture cannot tell how it ended: it ends too early, missed an answer, or \
                 shows one direction alone"
            );
        }
    };
    let after = took.map_or_else(Text::default, |took| text!(" after {took}", took));
    let compared = match usual {
        Some(usual) if slow => {
            text!(
                "; half of the undisturbed lookups here take at most {usual}",
                usual = duration(usual)
            )
        }
        Some(usual) if !lookup.outcome.is_failure() => {
            let half = text!(
                "half of the undisturbed lookups here take at most {usual}",
                usual = duration(usual)
            );
            let short = lookup.duration().is_some_and(|took| took < NOTICEABLE);
            let felt =
                if short { text!("which nobody feels") } else { text!("no more than is usual") };
            text!(", {felt} ({half})", felt, half)
        }
        _ => Text::EMPTY,
    };
    text!("{told}{after}{compared}", told, after, compared)
}

/// What its steps show, each kind of thing once.
fn steps(lookup: &Lookup) -> Vec<Text> {
    let mut reasons = Vec::new();
    let asked = || lookup.transactions().map(AsRef::as_ref);
    reasons.extend(waited(lookup));
    let last_round = lookup.steps.last().map_or(0, |step| step.round);
    let skipped = lookup.steps.iter().filter(|step| step.round < last_round);
    let missing = skipped
        .filter_map(Step::transaction)
        .filter(|asked| asked.answer().is_some_and(|a| a.kind == AnswerKind::NxDomain))
        .count();
    if missing > 0 {
        let names = match last_round {
            1 => text!("1 name of the search list does"),
            more => text!("{more} names of the search list do", more),
        };
        reasons
            .push(text!("{names} not exist: that is the search at work (ndots), no fault", names));
    }
    let empty = asked().any(|t| answered(t, AnswerKind::NoData));
    if empty && lookup.outcome == LookupOutcome::Ok {
        reasons.push(text!(
            "one family has no record: usual for a name with addresses of the other alone"
        ));
    }
    if let Some(rejected) = asked().find_map(|asked| asked.rejections.first()) {
        reasons.push(text!(
            "{from} rejected a query: ICMP {kind}",
            from = rejected.from,
            kind = rejected.kind
        ));
    }
    if let Some(rcode) = lookup.rcode {
        reasons.push(text!("a server said {rcode}", rcode));
    }
    if asked().any(Transaction::requeried_after_answer) {
        reasons.push(text!(
            "a question was asked again although its answer had come: the other family was missing \
             (glibc asks for both again), or the answer did not suit the client"
        ));
    }
    if lookup.steps.iter().any(|step| step.role == Role::Parallel) {
        reasons.push(text!("all servers were asked at once, as musl does: no retransmission"));
    }
    if asked().any(|t| answered(t, AnswerKind::Truncated)) {
        reasons.push(text!("the answer was too large for UDP and was truncated"));
    }
    if matches!(lookup.resolver, Resolver::CoreDns | Resolver::Forwarder) {
        reasons.push(text!(
            "a DNS server asks here on behalf of others: no application of its own waits"
        ));
    }
    reasons
}

fn answered(asked: &Transaction, kind: AnswerKind) -> bool {
    asked.answer().is_some_and(|answer| answer.kind == kind)
}

/// How many datagrams were lost, and how much of the waiting that was.
fn waited(lookup: &Lookup) -> Option<Text> {
    let lost = lookup.transactions().filter(|asked| {
        matches!(asked.outcome(), Outcome::Timeout | Outcome::Late) || asked.attempts.len() > 1
    });
    let (mut unanswered, mut slowest) = (0_u64, Duration::ZERO);
    for asked in lost {
        for (index, attempt) in asked.attempts.iter().enumerate() {
            let sent = attempt.sent().ts;
            let next = asked.attempts.get(index + 1).map(|next| next.sent().ts);
            let came = asked.responses.iter().filter(|response| response.reached()).any(|r| {
                let at = r.arrived().ts;
                at >= sent && next.is_none_or(|next| at < next)
            });
            if !came {
                unanswered += 1;
                slowest = slowest.max(next.map_or(Duration::ZERO, |next| next.since(sent)));
            }
        }
    }
    if unanswered == 0 {
        let slow = lookup.transactions().filter_map(|asked| asked.latency()).max()?;
        let took = lookup.duration()?;
        return (slow >= NOTICEABLE).then(|| {
            let share = percent(
                u64::try_from(slow.as_millis()).unwrap_or(0),
                u64::try_from(took.as_millis()).unwrap_or(0),
            );
            text!(
                "the slowest answer took {slow} ({share} of the whole)",
                slow = duration(slow),
                share
            )
        });
    }
    let all = lookup.attempts() as u64;
    let timer = if slowest > Duration::ZERO {
        text!(
            "; the client's timer let it wait {slowest} for the next try",
            slowest = duration(slowest)
        )
    } else {
        Text::EMPTY
    };
    Some(text!(
        "{unanswered} of {queries} brought no answer to the client{timer}",
        unanswered,
        queries = count(all, "query"),
        timer
    ))
}
