//! What a resolver knows of one candidate name at an instant: which family is answered, which
//! failed, which is still waited for and until when.
//!
//! Everything but musl goes by its last try: what an earlier socket hears after that no longer
//! counts, and an answered question that is asked again is open again (rulebook vectors V4 and V5).
//! An error about one family ends nothing for the other: glibc, which asks for both through one
//! socket, waits on for the second reply (`send_dg` in glibc's `resolv/res_send.c`).
//! musl keeps one socket per candidate, takes the first usable answer of any server, and lets
//! nothing else end its five seconds (vectors V13 to V19).

use std::time::Duration;

use smallvec::SmallVec;

use super::manner::Manner;
use super::model::{Sent, Step};
use super::wait;
use crate::base::{Timestamp, Transport};
use crate::dns::{AnswerKind, Rcode, RecordType};
use crate::packet::IcmpKind;
use crate::transaction::timing::{EARLY, LATE};
use crate::transaction::{Response, TcpAttempt, Transaction, Undelivered};

/// A resolver goes on to its next question this soon after an answer.
pub(super) const AT_ONCE: Duration = Duration::from_millis(150);
/// Less than any resolver waits for an answer.
const PLAIN: Duration = Duration::from_secs(1);
/// An answer that came this shortly before the question was repeated was read after that.
pub(super) const CROSSING: Duration = Duration::from_millis(2);

/// The steps of one candidate name, seen with the eyes of the resolver that took them.
#[derive(Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) steps: &'a [Step],
    pub(super) manner: Manner,
    pub(super) plain: Option<&'a Plain>,
}

/// The questions of one candidate name while all goes well, as it nearly always does: each family
/// was asked for once and answered at once, all of them within a second. No resolver has anything
/// to wait for then, so that all make the same of it.
pub(super) type Plain = SmallVec<[Prompt; 2]>;

/// A question that was sent once and answered at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prompt {
    rtype: RecordType,
    sent: Timestamp,
    arrived: Timestamp,
    pub(super) delivered: Timestamp,
    kind: AnswerKind,
}

impl Prompt {
    /// The last of the steps of one candidate, of which `plain` holds the others; `None` if it is
    /// anything else.
    pub(super) fn of(sent: &Sent, plain: &Plain) -> Option<Self> {
        let Sent::Question(asked) = sent else { return None };
        let ([_], [answer]) = (asked.attempts.as_slice(), asked.responses.as_slice()) else {
            return None;
        };
        let rtype = asked.question.rtype;
        if !asked.rejections.is_empty()
            || !answer.reached()
            || matches!(answer.kind, AnswerKind::Error(_))
            || plain.iter().any(|known| known.rtype == rtype)
        {
            return None;
        }
        let (sent, arrived) = (asked.first().ts, answer.arrived().ts);
        let start = plain.first().map_or(sent, |first| first.sent);
        let at_once =
            arrived >= sent && arrived.since(sent) <= LATE && arrived.distance(start) < PLAIN;
        let delivered = answer.delivered().ts;
        at_once.then_some(Self { rtype, sent, arrived, delivered, kind: answer.kind })
    }
}

/// How one family stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Standing {
    /// It has an answer that the resolver goes by.
    Answered {
        /// When it was delivered.
        at: Timestamp,
        /// What it was worth.
        kind: AnswerKind,
    },
    /// It was refused in a way that the resolver noticed.
    Failed {
        /// When.
        at: Timestamp,
        /// How.
        why: Failure,
        /// When its timer runs out, for resolvers that did not notice after all.
        until: Timestamp,
    },
    /// It is waited for.
    Silent {
        /// When the question was last sent.
        since: Timestamp,
        /// When the resolver gives this try up.
        until: Timestamp,
        /// Whether the capture watched all that time.
        sure: bool,
        /// How often the question was sent.
        tries: usize,
    },
}

/// How the families of a candidate stand, in the order of asking.
pub(super) type Standings = SmallVec<[(RecordType, Standing); 2]>;

/// Why a family failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A response code other than NOERROR and NXDOMAIN.
    Error(Rcode),
    /// An ICMP error.
    Rejected(IcmpKind),
    /// Something that the capture does not show, for the resolver went on at once.
    Unseen,
}

impl Standing {
    /// When the resolver is done with it.
    pub(super) fn ends(&self) -> Timestamp {
        match *self {
            Self::Answered { at, .. } | Self::Failed { at, .. } => at,
            Self::Silent { until, .. } => until,
        }
    }

    /// Whether it has an answer that nobody asks again for.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self, Self::Answered { .. })
    }
}

/// One sending of a question.
#[derive(Clone, Copy)]
pub(super) struct Sending<'a> {
    pub(super) at: Timestamp,
    pub(super) transaction: &'a Transaction,
}

impl<'a> Round<'a> {
    /// Its transactions, in the order of asking.
    pub(super) fn transactions(
        &self,
    ) -> impl DoubleEndedIterator<Item = &'a Transaction> + use<'a> {
        self.steps.iter().filter_map(|step| step.transaction().map(AsRef::as_ref))
    }

    /// The connections that it led to.
    pub(super) fn connects(&self) -> impl DoubleEndedIterator<Item = &'a TcpAttempt> + use<'a> {
        self.steps.iter().filter_map(|step| match &step.sent {
            Sent::Connect(connect) => Some(connect.as_ref()),
            Sent::Question(_) => None,
        })
    }

    /// The families that were asked for, in the order of asking.
    fn families(&self) -> SmallVec<[RecordType; 2]> {
        if let Some(plain) = self.plain {
            return plain.iter().map(|prompt| prompt.rtype).collect();
        }
        let mut families = SmallVec::new();
        for transaction in self.transactions() {
            if !families.contains(&transaction.question.rtype) {
                families.push(transaction.question.rtype);
            }
        }
        families
    }

    /// How every family stands at `now`.
    pub(super) fn standings(&self, now: Timestamp) -> Standings {
        let stand = |rtype| Some((rtype, self.standing(rtype, now)?));
        self.families().into_iter().filter_map(stand).collect()
    }

    /// How one family stands at `now`; `None` if it was not asked for by then.
    pub(super) fn standing(&self, rtype: RecordType, now: Timestamp) -> Option<Standing> {
        if let Some(plain) = self.plain {
            let prompt = plain.iter().find(|prompt| prompt.rtype == rtype)?;
            if prompt.sent < now && prompt.arrived <= now.after(EARLY) {
                return Some(Standing::Answered { at: prompt.delivered, kind: prompt.kind });
            }
        }
        if self.manner.is_musl() { self.musl(rtype, now) } else { self.last_try(rtype, now) }
    }

    /// When its client knew what came of each connection.
    pub(super) fn connects_end(&self) -> impl Iterator<Item = Timestamp> {
        self.connects().map(|connect| {
            let answered = self.transactions().any(|asked| {
                asked.transport == Transport::Tcp
                    && asked.client == connect.client
                    && !asked.responses.is_empty()
            });
            wait::connect_ends(connect, answered)
        })
    }

    /// When the resolver is done with this candidate, where its families stand like this.
    pub(super) fn ends(&self, standings: &[(RecordType, Standing)]) -> Option<Timestamp> {
        let families = standings.iter().map(|(_, standing)| standing.ends());
        families.chain(self.connects_end()).max()
    }

    /// Every sending of one family's question before `now`, oldest first.
    pub(super) fn sendings(&self, rtype: RecordType, now: Timestamp) -> SmallVec<[Sending<'a>; 8]> {
        let mut sendings: SmallVec<[Sending<'a>; 8]> = self
            .transactions()
            .filter(|transaction| transaction.question.rtype == rtype)
            .flat_map(|transaction| {
                let sent = transaction.attempts.iter().map(|attempt| attempt.sent().ts);
                sent.map(move |at| Sending { at, transaction })
            })
            .filter(|sending| sending.at < now)
            .collect();
        sendings.sort_by_key(|sending| sending.at);
        sendings
    }

    /// How long its resolver had waited for the other family when it asked again for that, if that was just
    /// before `now`: both wait alike.
    pub(super) fn waited_for_other(&self, rtype: RecordType, now: Timestamp) -> Option<Duration> {
        let other = self.families().into_iter().find(|other| *other != rtype)?;
        let sendings = self.sendings(other, now);
        let [.., before, last] = sendings.as_slice() else { return None };
        let waited = last.at.since(before.at);
        (waited >= wait::TIMER && now.since(last.at) <= AT_ONCE).then_some(waited)
    }

    fn last_try(&self, rtype: RecordType, now: Timestamp) -> Option<Standing> {
        let sendings = self.sendings(rtype, now);
        let last = *sendings.last()?;
        let until = self
            .one_timer(last, rtype)
            .unwrap_or_else(|| last.at.after(wait::of(&sendings, self.manner)));
        let length = until.since(last.at);
        let known = |ts: Timestamp| ts <= now.after(EARLY);
        let in_time = |response: &&Response| {
            response.reached()
                && response.delivered().ts.after(CROSSING) >= last.at
                && response.arrived().ts <= until.after(LATE)
                && known(response.arrived().ts)
        };
        let mut heard = last.transaction.responses.iter().filter(in_time);
        // What was sent at once because of an error has an answer of its own.
        let is_own = |response: &&Response| {
            !matches!(response.kind, AnswerKind::Error(_)) || response.delivered().ts >= last.at
        };
        let answer = heard.clone().find(is_own).or_else(|| heard.next());
        let rejection = self.rejection(&sendings, last).filter(|(at, _)| known(*at));
        match (answer, rejection) {
            (Some(answer), rejection)
                if rejection.is_none_or(|(at, _)| answer.arrived().ts <= at) =>
            {
                let at = answer.delivered().ts;
                Some(match answer.kind {
                    AnswerKind::Error(rcode) => {
                        Standing::Failed { at, why: Failure::Error(rcode), until }
                    }
                    kind => Standing::Answered { at, kind },
                })
            }
            (_, Some((at, kind))) => {
                Some(Standing::Failed { at, why: Failure::Rejected(kind), until })
            }
            _ => {
                let watched = last.transaction.watched_until;
                let sure = !last.transaction.blind && watched.since(last.at) >= length;
                Some(Standing::Silent { since: last.at, until, sure, tries: sendings.len() })
            }
        }
    }

    /// When a try ends that asks for both families one after the other: glibc does so once a server
    /// has failed to answer a pair, and one timer covers both questions of a try (`send_dg` in
    /// glibc's `resolv/res_send.c` computes `finish` before the first of them).
    fn one_timer(&self, last: Sending<'_>, rtype: RecordType) -> Option<Timestamp> {
        let others = || self.transactions().filter(|other| other.question.rtype != rtype);
        let just_answered = |other: &&Transaction| {
            // After an error it does not go on to the other family.
            let is_error = |kind| matches!(kind, AnswerKind::Error(_));
            let delivered = other.responses.iter().filter(|response| response.reached());
            delivered
                .filter(|response| !is_error(response.kind))
                .map(|response| response.delivered().ts)
                .any(|at| at <= last.at && last.at.since(at) <= AT_ONCE && other.first().ts <= at)
        };
        let before = others().find(just_answered)?;
        // BIND's tools ask one after the other as well, as two lookups with a timer each.
        let shares = |other: &Transaction| {
            let mut mine = self.transactions().filter(|mine| mine.question.rtype == rtype);
            mine.any(|mine| mine.client == other.client)
        };
        if !others().any(shares) {
            return None;
        }
        let sendings = self.sendings(before.question.rtype, last.at);
        let start = sendings.last()?.at;
        Some(start.after(wait::of(&sendings, self.manner)).max(last.at))
    }

    /// The ICMP error that ended the last try, if its resolver hears such errors at all. The
    /// kernel reports an error about any datagram of a connected socket to all who wait on it.
    fn rejection(
        &self,
        sendings: &[Sending<'_>],
        last: Sending<'_>,
    ) -> Option<(Timestamp, IcmpKind)> {
        let first_after = |sending: Sending<'_>| {
            self.transactions()
                .filter(|other| {
                    other.client == sending.transaction.client
                        && other.server == sending.transaction.server
                })
                .flat_map(|other| &other.rejections)
                .filter(|rejected| rejected.seen.ts.after(CROSSING) >= sending.at)
                .map(|rejected| (rejected.seen.ts, rejected.kind))
                .min_by_key(|(at, _)| *at)
        };
        let found = first_after(last)?;
        let noticed = sendings.windows(2).rev().find_map(|pair| {
            let [before, next] = pair else { return None };
            let (at, _) = first_after(*before).filter(|(at, _)| *at <= next.at)?;
            Some(next.at.since(at) <= AT_ONCE)
        });
        noticed.unwrap_or_else(|| self.manner.hears(found.1)).then_some(found)
    }

    /// When a question was sent for the last time, if it had been sent through another socket just
    /// before and nothing is seen to have ended that try: its resolver hears of something that the
    /// capture does not show, and heard of it again. Where a filter hides ICMP, that is all that is
    /// left of it (rulebook vector V8); a resolver that hears nothing waits for its timer.
    pub(super) fn turned_away(&self, rtype: RecordType) -> Option<Timestamp> {
        let sendings = self.sendings(rtype, Timestamp::MAX);
        let [.., before, last] = sendings.as_slice() else { return None };
        let unheard = |asked: &Transaction| {
            asked.attempts.len() == 1 && asked.responses.is_empty() && asked.rejections.is_empty()
        };
        let at_once = last.at.since(before.at) <= AT_ONCE
            && before.transaction.client != last.transaction.client
            && before.transaction.server == last.transaction.server
            && unheard(before.transaction)
            && unheard(last.transaction);
        (at_once && !self.manner.is_musl()).then_some(last.at)
    }

    /// Whether the client had closed its socket, sooner than any timer would have it do, when the answer to a
    /// question came that it sent but once: it was killed, or went on with the other family's address.
    pub(super) fn is_left(&self, rtype: RecordType) -> bool {
        let sendings = self.sendings(rtype, Timestamp::MAX);
        let [only] = sendings.as_slice() else { return false };
        only.transaction.responses.iter().any(|response| {
            response.lost == Some(Undelivered::Refused)
                && response.arrived().ts.since(only.at) < wait::TIMER
        })
    }

    fn musl(&self, rtype: RecordType, now: Timestamp) -> Option<Standing> {
        let sendings = self.sendings(rtype, now);
        let since = sendings.last()?.at;
        let start = self.transactions().map(|asked| asked.first().ts).min()?;
        let until = start.after(wait::musl(self.transactions(), self.manner));
        let mine = || self.transactions().filter(|asked| asked.question.rtype == rtype);
        let responses = || {
            mine()
                .flat_map(|asked| &asked.responses)
                .filter(|response| response.reached() && response.arrived().ts <= until.after(LATE))
        };
        let usable = responses()
            .filter(|response| !matches!(response.kind, AnswerKind::Error(_)))
            .filter(|response| response.arrived().ts <= now.after(EARLY))
            .min_by_key(|response| response.arrived());
        if let Some(answer) = usable {
            return Some(Standing::Answered { at: answer.delivered().ts, kind: answer.kind });
        }
        let error = responses().find_map(|response| match response.kind {
            AnswerKind::Error(rcode) => Some(Failure::Error(rcode)),
            _ => None,
        });
        let rejected = || {
            let first = mine().find_map(|asked| asked.rejections.first())?;
            Some(Failure::Rejected(first.kind))
        };
        if let Some(why) = error.or_else(rejected) {
            return Some(Standing::Failed { at: until, why, until });
        }
        let sure = mine().all(|asked| !asked.blind && asked.watched_until >= until);
        Some(Standing::Silent { since, until, sure, tries: sendings.len() })
    }
}
