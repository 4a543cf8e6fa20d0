//! How the resolver behind a lookup behaves, as far as grouping and timing depend on it.

use std::time::Duration;

use crate::packet::IcmpKind;
use crate::transaction::timing::{self, DEFAULT_TIMEOUT};
use crate::transaction::{Transaction, Undelivered};

use super::model::Step;
use super::round::AT_ONCE;
use super::wait::{self, TIMER, follows_error};
use crate::base::{Timestamp, Transport};
use crate::dns::{AnswerKind, Rcode, RecordType};

/// The largest distance between musl's ids of A and AAAA: they come from the clock, and 171 to
/// 266 was seen (rulebook section 3); a random pair of glibc's is as near once in 128 lookups.
pub(super) const MUSL_ID_DISTANCE: u16 = 512;
/// musl's and busybox' interval: five seconds over two attempts.
pub(super) const MUSL_INTERVAL: Duration = Duration::from_millis(2_500);
/// Several servers that are asked at once are asked within this.
pub(super) const TOGETHER: Duration = Duration::from_millis(20);

/// What is known of a client before its lookup is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Habits {
    /// It is a DNS server itself and asks on behalf of others.
    pub(super) forwarder: bool,
    /// All its questions come from one port.
    pub(super) one_port: bool,
    /// Whether its pairs of ids are musl's; `None` where both kinds or none were seen.
    pub(super) musl: Option<bool>,
    /// How long it was last seen to wait.
    pub(super) patience: Option<Duration>,
    /// How long musl was last seen to stay with one candidate.
    pub(super) musl_timeout: Option<Duration>,
}

/// How the resolver behind one lookup behaves.
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// Ids that no glibc would draw, and nothing that musl would not do.
    musl: Certainty,
    /// It takes a new id for every try, or may for all that was seen.
    pub(super) new_ids: bool,
    /// It is a DNS server itself.
    pub(super) forwarder: bool,
    /// All its questions come from one port.
    pub(super) one_port: bool,
    /// Go's socket: ICMP host unreachable does not get through.
    hard_of_hearing: bool,
    /// How long it waits where nothing was seen.
    pub(super) patience: Duration,
    /// musl's budget for one candidate, where an earlier one showed it.
    pub(super) musl_timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Excluded,
    Unlikely,
    Likely,
    Certain,
}

/// CoreDNS waits two seconds for an upstream.
const FORWARDER_PATIENCE: Duration = Duration::from_secs(2);

impl Manner {
    /// What the steps of a lookup say of its resolver, together with the client's habits.
    pub(super) fn of(steps: &[Step], habits: Habits) -> Self {
        let mut shown = Shown::default();
        for index in 0..steps.len() {
            shown.add(&steps[..=index], habits);
        }
        shown.manner(habits)
    }

    /// Whether it follows musl's rules.
    pub(super) fn is_musl(self) -> bool {
        matches!(self.musl, Certainty::Certain | Certainty::Likely)
    }

    /// Whether something happened that only musl (or busybox) does.
    pub(super) fn is_surely_musl(self) -> bool {
        self.musl == Certainty::Certain
    }

    /// Whether an ICMP error of this kind ends a try where the lookup itself does not show it.
    ///
    /// Linux keeps "host unreachable" from connected UDP sockets that did not ask for it by
    /// `IP_RECVERR`; glibc asks for it since 2.31, Go does not.
    pub(super) fn hears(self, kind: IcmpKind) -> bool {
        match kind {
            IcmpKind::PortUnreachable | IcmpKind::AdminProhibited => true,
            _ => !self.hard_of_hearing,
        }
    }
}

/// What the questions of a lookup have shown of its resolver so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shown {
    /// Whether its tries share one id: seen, or implied by a socket that both families share.
    keeps_ids: bool,
    /// Whether it sent one datagram more than once.
    repeats: bool,
    /// What settles whether it is musl.
    decided: Option<Certainty>,
    /// Pairs with ids as near as musl's, and others.
    near: u32,
    far: u32,
    /// Whether its first question looks like Go's; `None` before that.
    hard_of_hearing: Option<bool>,
}

impl Shown {
    /// Learns from the last of `steps`; the others are known already.
    pub(super) fn add(&mut self, steps: &[Step], habits: Habits) {
        let Some((Some(asked), before)) =
            steps.split_last().map(|(last, before)| (last.transaction(), before))
        else {
            return;
        };
        self.hard_of_hearing
            .get_or_insert(asked.traits.udp_size.is_some() && !asked.traits.authentic_data);
        self.repeats |= asked.attempts.len() > 1;
        self.keeps_ids |= self.repeats;
        let udp = asked.transport == Transport::Udp;
        let undecided = self.decided.is_none() && !habits.forwarder && udp;
        if undecided && asked.attempts.len() > 1 && only_musl_does(asked) {
            self.decided = Some(Certainty::Certain);
        }
        for earlier in before.iter().filter_map(Step::transaction) {
            let same_socket = earlier.client == asked.client;
            self.keeps_ids |= if earlier.id == asked.id {
                earlier.question == asked.question
            } else {
                same_socket && earlier.question.rtype != asked.question.rtype
            };
            if undecided && same_socket && self.decided.is_none() {
                self.pair(earlier, asked);
            }
        }
        // What musl never does: ask again what was answered; what it hardly does: wait five seconds.
        if undecided && asked.attempts.len() > 1 && self.decided.is_none() {
            let slow = || repeats_after(asked, DEFAULT_TIMEOUT) && habits.musl != Some(true);
            let excluded = asked.requeried_after_answer() || slow();
            self.decided = excluded.then_some(Certainty::Excluded);
        }
    }

    /// Learns from two questions of one socket.
    fn pair(&mut self, earlier: &Transaction, asked: &Transaction) {
        let together = || asked.first().ts.distance(earlier.first().ts) <= TOGETHER;
        if asked.id == earlier.id && asked.server != earlier.server && together() {
            self.decided = Some(Certainty::Certain);
        } else if let Some(is_near) = is_near(earlier, asked).filter(|_| together()) {
            self.near += u32::from(is_near);
            self.far += u32::from(!is_near);
        }
    }

    /// What that makes of the resolver, together with the client's habits.
    pub(super) fn manner(&self, habits: Habits) -> Manner {
        let musl = match (self.decided, self.near, self.far, habits.musl) {
            _ if habits.forwarder => Certainty::Excluded,
            (Some(decided), ..) => decided,
            (None, _, 1.., _) => Certainty::Excluded,
            (None, 0, ..) | (None, 1, _, Some(false)) => Certainty::Unlikely,
            _ => Certainty::Likely,
        };
        let keeps_ids = self.keeps_ids && !habits.forwarder;
        Manner {
            musl,
            new_ids: !keeps_ids || habits.one_port && !self.repeats,
            forwarder: habits.forwarder,
            one_port: habits.one_port,
            hard_of_hearing: self.hard_of_hearing == Some(true),
            patience: habits.patience.unwrap_or(if habits.forwarder {
                FORWARDER_PATIENCE
            } else {
                DEFAULT_TIMEOUT
            }),
            musl_timeout: habits.musl_timeout,
        }
    }
}

/// Whether the ids of a pair are as near as musl's; `None` if it is no pair.
pub(super) fn is_near(a: &Transaction, aaaa: &Transaction) -> Option<bool> {
    let pair = a.question.rtype == RecordType::A && aaaa.question.rtype == RecordType::AAAA;
    let pair = pair && a.question.name == aaaa.question.name && a.client == aaaa.client;
    pair.then(|| (1..=MUSL_ID_DISTANCE).contains(&aaaa.id.wrapping_sub(a.id)))
}

/// Repeats at musl's interval through the same socket, or by a part of a second, or more than once
/// right after SERVFAIL and then by a timer all the same: glibc repeats itself at once as often as
/// `attempts:` allows, and is done then.
pub(super) fn only_musl_does(asked: &Transaction) -> bool {
    repeats_after(asked, MUSL_INTERVAL)
        || wait::is_quick(asked)
        || (again_at_once(asked) >= 2 && wait::musl_shown(asked).is_some())
}

/// How often the datagram was repeated because SERVFAIL had just come back.
pub(super) fn again_at_once(asked: &Transaction) -> usize {
    let failed = |again: Timestamp| {
        asked.responses.iter().any(|response| {
            response.kind == AnswerKind::Error(Rcode::SERVFAIL)
                && response.lost != Some(Undelivered::OtherHost)
                && response.arrived().ts <= again
                && again.since(response.arrived().ts) <= AT_ONCE
        })
    };
    let quick = asked.attempts.windows(2).filter(|pair| match pair {
        [a, b] => b.sent().ts.since(a.sent().ts) < TIMER && failed(b.sent().ts),
        _ => false,
    });
    quick.count()
}

/// Whether one socket repeated its datagram after `interval`; an error that came so late may have
/// made it do so at once.
fn repeats_after(asked: &Transaction, interval: Duration) -> bool {
    asked.attempts.windows(2).any(|pair| match pair {
        [a, b] => {
            timing::on_time(b.sent().ts.since(a.sent().ts), interval)
                && !follows_error(asked, b.sent().ts)
        }
        _ => false,
    })
}
