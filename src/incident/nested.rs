//! Lookups of a server on behalf of its clients: those who wait for a cache on their node wait for the
//! server that it asks.
//!
//! A cache may ask from another address than the one at which it is asked (NodeLocal DNSCache listens on a
//! link-local address and asks from its node's), so that no address joins the two. The question does, and
//! the time: what was asked of one address, and at once by somebody else of another one, is the same
//! question on its way (rulebook 4.4).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::Timestamp;
use crate::detect::{BadStep, Harmed, Ledger, Symptom};

/// A cache asks for what it does not know within this.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Steps that are held against others, the first ones.
const MAX_STEPS: usize = 200_000;
/// Steps of one instant that are looked at: where there are more, everybody asks for the same name.
const MAX_ALIKE: usize = 16;

/// When each question was asked, of whom, and by which harmed lookup.
type Asked = BTreeMap<(u64, u16), Vec<(Timestamp, IpAddr, usize)>>;

/// The harmed lookups by what they asked in vain, and when.
pub(super) struct Nested<'a> {
    ledger: &'a Ledger,
    asked: Asked,
}

impl<'a> Nested<'a> {
    pub(super) fn of(ledger: &'a Ledger) -> Self {
        let mut asked = Asked::new();
        let steps = ledger.harmed().iter().enumerate().flat_map(|(index, lookup)| {
            let own = ledger.steps().of(lookup).filter(in_vain);
            own.map(move |step| (index, step))
        });
        for (index, step) in steps.take(MAX_STEPS) {
            asked.entry(key(&step)).or_default().push((step.sent, step.asked.server, index));
        }
        for steps in asked.values_mut() {
            steps.sort_unstable();
        }
        Self { ledger, asked }
    }

    /// The lookup that was made on behalf of this one, if a step of it waited for one.
    pub(super) fn behind(&self, lookup: &Harmed) -> Option<&'a Harmed> {
        let mut steps = self.ledger.steps().of(lookup).filter(in_vain);
        steps.find_map(|step| self.behind_step(lookup, &step))
    }

    fn behind_step(&self, lookup: &Harmed, step: &BadStep<'_>) -> Option<&'a Harmed> {
        let alike = self.asked.get(&key(step))?;
        let from = alike.partition_point(|(sent, ..)| *sent < step.sent);
        let soon = alike.get(from..)?.iter().take(MAX_ALIKE);
        let mut soon = soon.take_while(|(sent, ..)| sent.since(step.sent) <= AT_ONCE);
        soon.find_map(|(_, server, index)| {
            let other = self.ledger.harmed().get(*index)?;
            let elsewhere = *server != step.asked.server && *server != step.asked.responder;
            (elsewhere && other.client != lookup.client).then_some(other)
        })
    }
}

fn key(step: &BadStep<'_>) -> (u64, u16) {
    (step.name.digest(), step.rtype.0)
}

fn in_vain(step: &BadStep<'_>) -> bool {
    matches!(
        step.symptom,
        Symptom::Unanswered
            | Symptom::Late
            | Symptom::Slow
            | Symptom::Error(_)
            | Symptom::Rejected(_)
    )
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Situation, findings};

    /// A cache on the node asks one backend after the other; the first is silent from 20 s to 50 s.
    #[test]
    fn who_waits_for_the_cache_waits_for_the_backend_behind_it() {
        let mut situation = Situation::new(
            "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
             dns2 = 10.244.2.10\ncache = 169.254.20.10\nnode = 192.168.10.11\npod = 10.244.0.2",
        );
        for round in 0..160_u16 {
            let at = f64::from(round) / 2.0;
            let (port, id) = (20_000 + round, 0x1000 + round);
            let name = format!("n{round}.default.svc.cluster.local.");
            let gone = round >= 100;
            let via = if round % 2 == 0 && !gone { "dns1" } else { "dns2" };
            let silent = via == "dns1" && round >= 40;
            for again in [0.0, 5.0] {
                let at = at + again;
                situation.line(at, &format!("pod:{port} > cache id {id:x} rd A {name}"));
                let ask = format!("node:{port} > kube-dns via {via} id {id:x} rd A {name}");
                situation.line(at + 0.001, &ask);
                if !silent {
                    let answer = format!("id {id:x} {name} 5 A 10.96.0.7");
                    situation
                        .line(at + 0.002, &format!("node:{port} < kube-dns via {via} {answer}"));
                    situation.line(at + 0.003, &format!("pod:{port} < cache {answer}"));
                    break;
                }
            }
        }
        let said = findings(situation.text());
        assert!(said.contains(" stale-backend [backend 10.244.1.10]"), "{said}");
        assert!(!said.contains(" lossy-path ["), "{said}");
        assert!(!said.contains(" timeout-retries ["), "{said}");
    }
}
