//! A wildcard in a search suffix's zone catches names that were meant for the Internet.
//!
//! **Signature.** Three or more different outside names are asked under one search suffix and
//! answered with one and the same set of addresses; the clients take it and never ask for the
//! names as they are.
//!
//! **Needs.** The clients' queries and answers; a suffix that the capture shows to be searched,
//! by other lookups that went through it.
//!
//! **Not this.** Names of the suffix's own zone that share one address, as behind an ingress: what
//! stands before the suffix must end like a name of the Internet. The cluster's own suffixes,
//! where autopath answers with an alias (`autopath-wrong`).
//!
//! **Cannot tell.** Whether the wildcard is meant to be there. Connections go to its address
//! either way.
//!
//! Source: rulebook 2.D; RFC 4592; resolv.conf(5) `search`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::Table;
use crate::base::words::{clock, count, list, text};
use crate::detect::{
    Action, Answer, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding,
    Inquiry, Interest, Layer, Proof, RuledOut, Scene, SetId, Tally, Where, Which,
};
use crate::dns::{Name, RecordType};
use crate::lookup::Lookup;

/// Different names that got the same addresses (rulebook 7.6).
const PREFIXES: usize = 3;
/// Lookups that must have got them.
const ENOUGH: usize = 3;
/// Suffixes kept.
const MAX_SUFFIXES: usize = 256;

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "search-wildcard-capture",
    title: "a wildcard under a search suffix catches outside names",
    class: Class::Failure,
    layer: Layer::Resolver,
    references: &["rulebook 2.D", "RFC 4592"],
    source: include_str!("search_wildcard_capture.rs"),
    new: || Box::<SearchWildcardCapture>::default(),
};

/// Bounded by [`MAX_SUFFIXES`].
#[derive(Default)]
struct SearchWildcardCapture {
    /// Suffixes that lookups went through.
    suffixes: Table<Name, ()>,
}

impl Detector for SearchWildcardCapture {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        if lookup.suffixes_tried == 0 || self.suffixes.len() >= MAX_SUFFIXES {
            return;
        }
        for suffix in lookup.suffixes.iter().flatten() {
            if !self.suffixes.contains_key(suffix) {
                self.suffixes.entry(suffix.clone()).or_default();
            }
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        self.suffixes
            .keys()
            .filter(|suffix| !scene.answers.zones.is_cluster(suffix))
            .filter_map(|suffix| {
                let mut sets: BTreeMap<SetId, BTreeMap<&Name, Name>> = BTreeMap::new();
                for Inquiry { name, rtype, asked, .. } in scene.answers.all() {
                    // Nearly all that a search asks for is not there.
                    let is_there = || asked.told.keys().any(|(_, answer)| answer.is_data());
                    if *rtype != RecordType::A || !is_there() {
                        continue;
                    }
                    let own = name.strip_suffix(suffix).filter(is_outside);
                    let Some(own) = own else { continue };
                    // Whoever asked for the name as it is was not caught.
                    if scene.answers.name(&own).is_some() {
                        continue;
                    }
                    for (_, answer) in asked.told.keys() {
                        if let Answer::Data(digest) = answer {
                            sets.entry(*digest).or_default().insert(name, own.clone());
                        }
                    }
                }
                let (digest, caught) = sets.into_iter().max_by_key(|(_, names)| names.len())?;
                finding(suffix, digest, &caught, scene)
            })
            .collect()
    }
}

/// Whether it is written as a name of the Internet: two labels or more, the last one a public
/// zone's (of two letters, or one of the generic ones).
fn is_outside(name: &Name) -> bool {
    const GENERIC: [&str; 13] = [
        "com", "net", "org", "io", "dev", "app", "cloud", "info", "biz", "edu", "gov", "mil",
        "example",
    ];
    let last = name.labels().last().unwrap_or_default();
    let generic = GENERIC.iter().any(|tld| last.eq_ignore_ascii_case(tld.as_bytes()));
    let country = last.len() == 2 && last.iter().all(u8::is_ascii_alphabetic);
    name.label_count() >= 2 && (generic || country)
}

fn finding(
    suffix: &Name,
    digest: SetId,
    caught: &BTreeMap<&Name, Name>,
    scene: &Scene<'_>,
) -> Option<Finding> {
    let mut wrong = BTreeMap::new();
    let mut tally = Tally::default();
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    for name in caught.keys() {
        let asked = scene.answers.asked(name, RecordType::A)?;
        addresses.extend(asked.addresses(Answer::Data(digest)));
        for ((server, answer), told) in asked.told.iter() {
            if *answer == Answer::Data(digest) {
                tally.add(*server, told);
                wrong.extend(scene.answers.wronged(told));
            }
        }
    }
    let span = tally.span?;
    if caught.len() < PREFIXES || wrong.len() < ENOUGH {
        return None;
    }
    let (example, own) = caught.first_key_value()?;
    let evidence = tally.frames.iter().map(|seen| Proof {
        seen: *seen,
        summary: text!(
            "a name under {suffix} is {addresses}",
            suffix,
            addresses = list(&addresses, 2)
        ),
    });
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "a wildcard under search suffix {suffix} sends {names} to {addresses}: {lookups} from \
             {start} to {end}",
            suffix,
            names = count(caught.len() as u64, "outside name"),
            addresses = list(&addresses, 2),
            lookups = count(tally.ended, "lookup"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Zone(suffix.clone())],
        place: Where::Upstream,
        span,
        ongoing: scene.lasts(span),
        transactions: tally.times,
        claim: Claim { wrong, ..Claim::default() },
        cause: text!(
            "Pods try outside names under {suffix} before they try them as they are, and in that \
             zone every name exists. Resolving looks fine and fast, but the connections go to \
             {addresses} instead.",
            suffix,
            addresses = list(&addresses, 2)
        ),
        facts: vec![
            Fact { label: text!("names that were caught"), value: list(caught.values(), 5) },
            Fact { label: text!("all of them became"), value: list(&addresses, 3) },
            Fact { label: text!("asked as they are"), value: text!("never") },
        ],
        evidence: evidence.collect(),
        actions: vec![
            Action {
                why: text!("see the wildcard"),
                command: format!("dig {example} A; dig no-such-name.{suffix} A; dig {own}. A"),
            },
            Action {
                why: text!("stop pods from inheriting the node's search domains"),
                command: "grep resolvConf /var/lib/kubelet/config.yaml; cat /etc/resolv.conf"
                    .to_owned(),
            },
            Action {
                why: text!("or search outside names last"),
                command: "kubectl patch deployment <app> -p '{\"spec\":{\"template\":{\"spec\":\
                          {\"dnsConfig\":{\"options\":[{\"name\":\"ndots\",\"value\":\"1\"}]}}}}}'"
                    .to_owned(),
            },
        ],
        ruled_out: vec![RuledOut {
            rule: "autopath-wrong",
            because: text!("{suffix} is not a suffix of the cluster", suffix),
        }],
    })
}

#[cfg(test)]
mod tests {
    use crate::testkit::findings;

    /// Names that are not in the cluster go on to `corp.example.internal`, which answers `answer`.
    fn scenario(names: &[&str], answer: &str) -> String {
        let mut text = String::from("pod = 10.0.0.5\ndns = 10.96.0.10\n");
        for (second, name) in names.iter().enumerate() {
            let port = 40_000 + second * 8;
            let corp = format!("{name}.corp.example.internal.");
            let answer = answer.replace("NAME", &corp);
            text.extend([format!(
                "{second}.000 pod:{port} > dns rd A {name}.default.svc.cluster.local.\n\
                 {second}.001 pod:{port} < dns aa NXDOMAIN\n\
                 {second}.002 pod:{port} > dns rd A {name}.svc.cluster.local.\n\
                 {second}.003 pod:{port} < dns aa NXDOMAIN\n\
                 {second}.004 pod:{port} > dns rd A {name}.cluster.local.\n\
                 {second}.005 pod:{port} < dns aa NXDOMAIN\n\
                 {second}.006 pod:{port} > dns rd A {corp}\n\
                 {second}.007 pod:{port} < dns {answer}\n"
            )]);
        }
        text
    }
    const WILD: &str = "NAME 60 A 10.1.2.3";

    #[test]
    fn three_outside_names_become_one_address() {
        let names = ["api.example.com", "git.example.org", "www.aliyun.com"];
        insta::assert_snapshot!(findings(&scenario(&names, WILD)), @"low search-wildcard-capture [zone corp.example.internal] confirmed 10:00:00.007-10:00:02.007 3/3");
    }

    #[test]
    fn two_names_are_too_few() {
        let names = ["api.example.com", "git.example.org", "git.example.org"];
        insta::assert_snapshot!(findings(&scenario(&names, WILD)), @"quiet");
    }

    #[test]
    fn names_of_the_zone_itself_may_share_an_ingress() {
        let names = ["grafana.apps", "wiki.apps", "mail.apps", "chat.apps"];
        insta::assert_snapshot!(findings(&scenario(&names, WILD)), @"quiet");
    }

    #[test]
    fn answers_that_the_capture_missed_do_not_count() {
        let names = ["api.example.com", "git.example.org", "www.aliyun.com"];
        insta::assert_snapshot!(findings(&scenario(&names, "NAME 60 A 10.1.2.3 lost")), @"quiet");
    }
}
