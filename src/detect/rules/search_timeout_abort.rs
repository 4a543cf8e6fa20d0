//! A timeout in the middle of a search changes what the client asks next.
//!
//! **Signature.** A candidate with a search suffix was not answered. glibc then leaves out the
//! other suffixes and asks for the name as it is; musl stops at once; Go goes on to the next
//! suffix and waits there as well. So one lost answer decides which name is found at all, and a
//! lookup takes 20 s (glibc) or 40 s (Go, three suffixes).
//!
//! **Needs.** Three such lookups.
//!
//! **Not this.** An incident: the silence has a cause of its own. The rule explains what that
//! cause did to the search, so it is told below the incident that the lookups are charged to, and
//! alone only as information.
//!
//! **Cannot tell.** Whether the name would have been found under a suffix that was left out.
//!
//! Source: rulebook 2.D; glibc `resolv/res_query.c`, musl `src/network/lookup_name.c`, golang/go
//! `src/net/dnsclient_unix.go`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::Span;
use crate::base::words::{count, list, text};
use crate::capture::Seen;
use crate::detect::{
    Action, Claim, Class, ClusterZones, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Interest, Layer, Proof, Scene, Symptom, Where, Which,
};
use crate::dns::Name;
use crate::lookup::Lookup;
use crate::transaction::{Outcome, Transaction};

/// Lookups that must have been changed: fewer say nothing that the incident does not.
const ENOUGH: u64 = 3;
/// Names kept for the claim and the report.
const MAX_NAMES: usize = 4_096;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "search-timeout-abort",
    title: "a timeout cut the search short",
    class: Class::Capture,
    layer: Layer::Residual,
    references: &["rulebook 2.D", "glibc resolv/res_query.c"],
    source: include_str!("search_timeout_abort.rs"),
    new: || Box::<SearchTimeoutAbort>::default(),
};

/// Bounded by [`MAX_NAMES`].
#[derive(Default)]
struct SearchTimeoutAbort {
    zones: ClusterZones,
    /// Went on to the name as it is.
    skipped: u64,
    /// Asked nothing more.
    stopped: u64,
    /// Went on to the next suffix.
    walked: u64,
    names: BTreeSet<Name>,
    clients: BTreeSet<IpAddr>,
    span: Option<Span>,
    frames: Vec<Seen>,
}

impl SearchTimeoutAbort {
    /// Whether it is a candidate with a search suffix, as far as the capture tells.
    fn is_searched(&self, asked: &Name, lookup: &Lookup) -> bool {
        let own = lookup.name.label_count();
        let shown = asked.label_count() > own && asked.common_prefix(&lookup.name) == own;
        // `api.example.com.shop.svc.cluster.local`: nobody writes that in full.
        shown || self.zones.split(asked).is_some_and(|parts| parts.depth() > 3)
    }
}

impl Detector for SearchTimeoutAbort {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        if lookup.smooth {
            for name in lookup.candidates() {
                self.zones.learn(name);
            }
            return;
        }
        let last = lookup.steps.last().map_or(0, |step| step.round);
        for step in &lookup.steps {
            let Some(silent) = step.transaction() else { continue };
            self.zones.learn(&silent.question.name);
            let timeout = matches!(silent.outcome(), Outcome::Timeout | Outcome::Late);
            if !timeout || step.unproven || !self.is_searched(&silent.question.name, lookup) {
                continue;
            }
            let next: Option<&Transaction> = lookup
                .steps
                .iter()
                .filter(|other| other.round == step.round + 1)
                .find_map(|other| other.transaction().map(AsRef::as_ref));
            match next {
                Some(next) if next.question.name == lookup.name => self.skipped += 1,
                Some(_) => self.walked += 1,
                None if step.round == last => self.stopped += 1,
                None => continue,
            }
            if self.names.len() < MAX_NAMES {
                self.names.insert(silent.question.name.clone());
            }
            self.clients.insert(lookup.client);
            let seen = silent.first();
            self.span = Some(self.span.map_or(Span::at(seen.ts), |span| span.with(seen.ts)));
            if self.frames.len() < 4 {
                self.frames.push(seen);
            }
            // One lookup is changed once.
            break;
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let lookups = self.skipped + self.stopped + self.walked;
        let Some(span) = self.span.filter(|_| lookups >= ENOUGH) else {
            return Vec::new();
        };
        vec![Finding {
            rule: &DETECTOR,
            title: text!(
                "a timeout changed {searches}: {skipped} skipped the other suffixes, {stopped} \
                 stopped, {walked} walked on",
                searches = count(lookups, "search"),
                skipped = self.skipped,
                stopped = self.stopped,
                walked = self.walked
            ),
            confidence: Confidence::Possible,
            culprits: self.clients.iter().take(3).map(|client| Culprit::Client(*client)).collect(),
            place: Where::ClientNode,
            span,
            ongoing: scene.lasts(span),
            transactions: lookups,
            claim: Claim {
                zones: Some(self.names.clone()),
                symptoms: BTreeSet::from([Symptom::Unanswered, Symptom::Late]),
                ..Claim::default()
            },
            cause: text!(
                "After a timeout resolvers do not search as they do after NXDOMAIN: glibc asks for \
                 the name as it is, musl gives up, Go waits again under every suffix."
            ),
            facts: vec![
                Fact { label: text!("names"), value: list(&self.names, 4) },
                Fact { label: text!("clients"), value: list(&self.clients, 4) },
            ],
            evidence: self
                .frames
                .into_iter()
                .map(|seen| Proof { seen, summary: text!("a searched name without an answer") })
                .collect(),
            actions: vec![Action {
                why: text!("ask names in full, so that one lost answer costs one name"),
                command: "kubectl exec <pod> -- cat /etc/resolv.conf".to_owned(),
            }],
            ruled_out: Vec::new(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Lookups whose first suffix is not answered; glibc then asks for the name as it is.
    fn scenario(times: usize, asked_as_is: bool) -> String {
        let as_is = if asked_as_is {
            "10.007 pod:40001 > dns rd id 2 A api.example.com.\n\
             10.009 pod:40001 < dns id 2 api.example.com. 60 A 203.0.113.9\n"
        } else {
            ""
        };
        format!(
            "pod = 10.0.0.5\ndns = 10.96.0.10\n0.000 pod:39000 > dns rd A www.example.org.\n\
             0.001 pod:39000 < dns www.example.org. 60 A 203.0.113.7\n\
             repeat {times} every 20 from 1\n\
             0.000 pod:40000 > dns rd id 1 A api.example.com.shop.svc.cluster.local.\n\
             5.003 pod:40000 > dns rd id 1 A api.example.com.shop.svc.cluster.local.\n\
             {as_is}end\n200.000 pod:39001 > dns rd A www.example.org.\n\
             200.001 pod:39001 < dns www.example.org. 60 A 203.0.113.7\n"
        )
    }

    #[test]
    fn it_stands_below_the_incident_that_made_the_silence() {
        insta::assert_snapshot!(findings(&scenario(5, true)), @"
        low timeout-retries [backend 10.96.0.10] possible 10:00:01.000-10:01:26.003 0/5
          explains search-timeout-abort
        ");
    }

    #[test]
    fn alone_it_is_information() {
        insta::assert_snapshot!(findings(&scenario(3, true)), @"info search-timeout-abort [client 10.0.0.5] possible 10:00:01.000-10:00:41.000 0/3");
    }

    #[test]
    fn two_searches_say_nothing() {
        assert!(!findings(&scenario(2, true)).contains("search-timeout-abort"));
    }

    #[test]
    fn denied_suffixes_are_a_plain_search() {
        let text = scenario(3, true)
            .replace(
                "5.003 pod:40000 > dns rd id 1 A api.example.com.shop.svc.cluster.local.",
                "0.001 pod:40000 < dns id 1 NXDOMAIN",
            )
            .replace("10.00", "0.00");
        assert!(!findings(&text).contains("search-timeout-abort"));
    }

    #[test]
    fn a_capture_that_ends_at_once_shows_no_timeout() {
        let text = scenario(1, false);
        assert_eq!(findings(text.split("200.000").next().unwrap()), "quiet\n");
    }
}
