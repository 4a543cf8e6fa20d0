//! What came of a lookup that is over: its outcome, its end, its name.

use smallvec::SmallVec;

use super::model::{Lookup, LookupOutcome, Step};
use super::open::Open;
use super::resolver::{self, Resolver, Signs};
use super::round::{Failure, Round, Standing};
use super::search::Suffixes;
use crate::base::Timestamp;
use crate::capture::{FileId, FrameRef, Seen};
use crate::dns::{AnswerKind, Name, Question, Rcode, RecordType};
use crate::transaction::{ConnectOutcome, Outcome, Response, TcpAttempt, Transaction};

/// The verdict on a lookup.
struct Verdict {
    outcome: LookupOutcome,
    end: Option<Timestamp>,
    /// The last code that the resolver was refused with.
    rcode: Option<Rcode>,
    /// An answer is missing in the capture, so that the end is a guess.
    approximate: bool,
}

impl Open {
    /// Nothing more can belong to it; `in_vain` says of a question whether it was surely not answered. Returns
    /// what its steps show of its resolver as well.
    pub(super) fn close(
        mut self,
        usual: Option<Resolver>,
        in_vain: impl Fn(&Transaction) -> bool,
        known: &mut Suffixes,
    ) -> (Lookup, Signs) {
        weigh_silence(&mut self.steps, in_vain);
        let manner = self.manner();
        let signs = resolver::signs(&self.steps, manner);
        let resolver = resolver::recognise(&self.steps, &signs, manner, usual);
        let mut verdict = judge(&self.steps, &self.current(), manner.is_musl());
        if verdict.outcome == LookupOutcome::Negative
            && let Some(rcode) = untold(&self.steps)
        {
            (verdict.outcome, verdict.rcode) = (LookupOutcome::Error, Some(rcode));
        }
        let asked = self
            .steps
            .iter()
            .find_map(|step| step.transaction().map(|asked| asked.question.name.clone()))
            .unwrap_or_else(Name::root);
        let name = self.base.and_then(|base| asked.leading(base)).unwrap_or(asked);
        let own = name.label_count();
        let mut types: SmallVec<[RecordType; 2]> = SmallVec::new();
        let mut suffixes: SmallVec<[Option<Name>; 4]> = SmallVec::new();
        let (mut smooth, mut slowest) = (true, None);
        for step in &self.steps {
            let Some(transaction) = step.transaction() else {
                smooth = false;
                continue;
            };
            let Question { name: asked, rtype, .. } = &transaction.question;
            if !types.contains(rtype) {
                types.push(*rtype);
            }
            if usize::from(step.round) == suffixes.len() {
                suffixes.push((*asked != name).then(|| known.name(asked.ending(own))));
            }
            smooth &= transaction.attempts.len() == 1
                && matches!(transaction.outcome(), Outcome::Ok | Outcome::Negative);
            slowest = slowest.max(transaction.latency());
        }
        types.sort_unstable();
        let lookup = Lookup {
            client: self.client,
            name,
            types,
            start: self.steps.first().map_or_else(no_frame, Step::first),
            end: verdict.end,
            outcome: verdict.outcome,
            rcode: verdict.rcode,
            resolver,
            suffixes_tried: suffixes.iter().flatten().count(),
            suffixes,
            smooth,
            slowest,
            approximate: self.approximate || verdict.approximate,
            steps: self.steps,
        };
        (lookup, signs)
    }
}

/// Marks silence that no retry confirms, nor that of others.
fn weigh_silence(steps: &mut [Step], in_vain: impl Fn(&Transaction) -> bool) {
    let silent =
        |step: &Step| step.transaction().is_some_and(|asked| asked.outcome() == Outcome::Timeout);
    if !steps.iter().any(silent) {
        return;
    }
    let tries = |step: &Step, asked: &Transaction| -> usize {
        steps
            .iter()
            .filter(|other| other.round == step.round)
            .filter_map(Step::transaction)
            .filter(|other| other.question == asked.question)
            .map(|other| other.attempts.len())
            .sum()
    };
    let unproven: SmallVec<[bool; 8]> = steps
        .iter()
        .map(|step| {
            step.transaction().is_some_and(|asked| {
                asked.outcome() == Outcome::Timeout
                    && asked.responses.iter().all(Response::vanished)
                    && tries(step, asked) == 1
                    && !is_last_resort(steps, step)
                    && !in_vain(asked)
            })
        })
        .collect();
    for (step, unproven) in steps.iter_mut().zip(unproven) {
        step.unproven = unproven;
    }
}

/// glibc sends AAAA from a socket of its own once a server has failed to answer a pair, and waits
/// for it only once (`single-request-reopen`, which it sets by itself: rulebook vector V4).
fn is_last_resort(steps: &[Step], step: &Step) -> bool {
    let Some(asked) = step.transaction() else { return false };
    let before = steps.iter().filter(|other| other.round == step.round).filter_map(|other| {
        other.transaction().filter(|other| other.question.rtype == RecordType::A)
    });
    asked.question.rtype == RecordType::AAAA
        && asked.traits.udp_size.is_none()
        && before.clone().count() == 1
        && before.into_iter().all(|a| {
            let answered = a.answer().map(|answer| answer.delivered().ts);
            a.client != asked.client && answered.is_some_and(|at| at <= asked.first().ts)
        })
}

/// The code that a candidate was refused with, where the search found no such name behind it: whether there
/// is one nobody could say, and glibc calls it a failure to be tried again (`EAI_AGAIN`). A candidate
/// without data comes before it (glibc's `__res_context_search`).
fn untold(steps: &[Step]) -> Option<Rcode> {
    let mut untold = None;
    for step in steps {
        let Some(asked) = step.transaction() else { continue };
        match asked.outcome() {
            Outcome::Error(Rcode::SERVFAIL) => {
                let answered = |other: &&Step| {
                    other.round == step.round
                        && other.transaction().is_some_and(|other| {
                            other.question == asked.question && other.outcome() == Outcome::Negative
                        })
                };
                if !steps.iter().any(|other| answered(&other)) {
                    untold = Some(Rcode::SERVFAIL);
                }
            }
            Outcome::Negative => {
                let no_data = asked.answer().is_some_and(|told| told.kind == AnswerKind::NoData);
                if no_data {
                    return None;
                }
            }
            _ => {}
        }
    }
    untold
}

/// How it ended and when, by the last candidate asked.
fn judge(steps: &[Step], round: &Round<'_>, musl: bool) -> Verdict {
    let unknown =
        Verdict { outcome: LookupOutcome::Unknown, end: None, rcode: None, approximate: false };
    let mut standings = round.standings(Timestamp::MAX);
    for (rtype, standing) in &mut standings {
        // A client that never asked again had the answer that was seen on its own host, wherever
        // on that host it was seen last.
        if matches!(standing, Standing::Silent { sure: true, tries: 1, .. })
            && let Some((at, kind)) = seen_at_home(steps, round, *rtype)
        {
            *standing = Standing::Answered { at, kind };
        }
    }
    // All that was asked for must have been turned away: a try ends for both families at once.
    let turned_away = |(rtype, standing): &(RecordType, Standing)| match *standing {
        Standing::Silent { until, sure: true, .. } => {
            Some(Standing::Failed { at: round.turned_away(*rtype)?, why: Failure::Unseen, until })
        }
        _ => None,
    };
    let refused: Option<SmallVec<[Standing; 2]>> = standings.iter().map(turned_away).collect();
    if let Some(refused) = refused {
        for ((_, standing), refused) in standings.iter_mut().zip(refused) {
            *standing = refused;
        }
    }
    let unsure = |standing: &Standing| matches!(standing, Standing::Silent { sure: false, .. });
    if standings.iter().any(|(_, standing)| unsure(standing)) {
        return unknown;
    }
    // A family that nobody asked for again was answered, and the capture missed it.
    let asked = standings.len();
    let missed = |rtype: RecordType| {
        steps.iter().any(|step| {
            let mine = |asked: &Transaction| asked.question.rtype == rtype;
            step.unproven && step.transaction().is_some_and(|t| mine(t) && is_in(round, t))
        })
    };
    standings.retain(|(rtype, _)| !missed(*rtype));
    if standings.is_empty() {
        return unknown;
    }
    let approximate = standings.len() < asked;
    // Nobody waits for what comes to a socket that is closed already.
    standings.retain(|(rtype, _)| !round.is_left(*rtype));
    if standings.is_empty() {
        return unknown;
    }
    let end = round.ends(&standings);
    let rcode = standings.iter().rev().find_map(|(_, standing)| match standing {
        Standing::Failed { why: Failure::Error(rcode), .. } => Some(*rcode),
        _ => None,
    });
    let outcome = outcome(&standings, round, musl);
    let open = outcome == LookupOutcome::Unknown
        && round.connects().any(|connect| connect.outcome() == ConnectOutcome::Unknown);
    Verdict { outcome, end: end.filter(|_| !open), rcode, approximate }
}

/// When the answer to a question that was sent but once was seen on the client's host, though not
/// at all the places that healthy ones pass.
fn seen_at_home(
    steps: &[Step],
    round: &Round<'_>,
    rtype: RecordType,
) -> Option<(Timestamp, AnswerKind)> {
    let step = steps.iter().rev().find(|step| {
        step.transaction().is_some_and(|t| t.question.rtype == rtype && is_in(round, t))
    })?;
    if is_last_resort(steps, step) {
        return None;
    }
    let answer = step.transaction()?.answer().filter(|answer| answer.stopped)?;
    Some((answer.delivered().ts, answer.kind))
}

fn is_in(round: &Round<'_>, transaction: &Transaction) -> bool {
    round.transactions().any(|known| std::ptr::eq(known, transaction))
}

fn outcome(standings: &[(RecordType, Standing)], round: &Round<'_>, musl: bool) -> LookupOutcome {
    let any = |test: fn(&Standing) -> bool| standings.iter().any(|(_, standing)| test(standing));
    let is_answer = |wanted: AnswerKind| {
        standings
            .iter()
            .any(|(_, s)| matches!(s, Standing::Answered { kind, .. } if *kind == wanted))
    };
    let silent = any(|standing| matches!(standing, Standing::Silent { .. }));
    let failed = any(|standing| matches!(standing, Standing::Failed { .. }));
    let failure = if silent { LookupOutcome::Timeout } else { LookupOutcome::Error };
    // musl fails as a whole when one family is lost (rulebook 2.D), unless NXDOMAIN came first.
    let first = standings.first().map(|(_, standing)| *standing);
    let missing = matches!(first, Some(Standing::Answered { kind: AnswerKind::NxDomain, .. }));
    if musl && (silent || failed) && !missing {
        return failure;
    }
    if is_answer(AnswerKind::Positive) {
        return LookupOutcome::Ok;
    }
    if is_answer(AnswerKind::Unknown) {
        return LookupOutcome::Unknown;
    }
    if is_answer(AnswerKind::Truncated) {
        return match round.connects().last().map(TcpAttempt::outcome) {
            Some(ConnectOutcome::Silent) => LookupOutcome::Timeout,
            Some(ConnectOutcome::Refused | ConnectOutcome::Rejected(_)) => LookupOutcome::Error,
            Some(ConnectOutcome::Unknown) => LookupOutcome::Unknown,
            // Without TCP the client made do with what the truncated answer held.
            Some(ConnectOutcome::Accepted) | None => LookupOutcome::Ok,
        };
    }
    if is_answer(AnswerKind::NxDomain) || is_answer(AnswerKind::NoData) {
        // The family that answered decides: "no such name".
        return if failed && !silent { LookupOutcome::Error } else { LookupOutcome::Negative };
    }
    failure
}

fn no_frame() -> Seen {
    Seen { ts: Timestamp::MIN, at: FrameRef::new(FileId(0), 0) }
}
