//! A wildcard in a search suffix's zone catches names that were meant for the Internet.
//!
//! **Signature.** Lookups of three or more different outside names end under one search suffix, with
//! one and the same set of addresses, and their clients do not go on to ask for the names as they
//! are.
//!
//! **Needs.** The clients' queries and answers; a suffix that the capture shows to be searched,
//! by lookups of outside names that went through it.
//!
//! **Not this.** Names of the suffix's own zone that share one address, as behind an ingress: what
//! stands before the suffix must end like a name of the Internet. The cluster's own suffixes,
//! where autopath answers with an alias (`autopath-wrong`). What clients without the suffix, or before
//! the wildcard was there, are told of the names as they are says nothing of those that were caught.
//!
//! **Cannot tell.** Whether the wildcard is meant to be there. Connections go to its address
//! either way.
//!
//! Source: rulebook 2.D; RFC 4592; resolv.conf(5) `search`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::base::words::{clock, count, list, text};
use crate::base::{Map, Purge, Span, Table};
use crate::capture::Seen;
use crate::detect::{
    Action, Answer, Claim, Class, Confidence, Culprit, Descriptor, Detector, Fact, Finding, Harmed,
    Interest, Layer, NameKind, Proof, RuledOut, Scene, SetId, Where, Which,
};
use crate::dns::{Name, RecordType};
use crate::lookup::{Lookup, LookupOutcome};
use crate::transaction::Transaction;

/// Different names that got the same addresses (rulebook 7.6).
const PREFIXES: usize = 3;
/// Lookups that must have got them.
const ENOUGH: usize = 3;
/// Whoever was not caught asks for the name as it is this soon after.
const AT_ONCE: Duration = Duration::from_millis(150);
/// Suffixes kept.
const MAX_SUFFIXES: usize = 256;
/// Lookups kept one by one.
const MAX_LOOKUPS: usize = 65_536;
/// Lookups that ended just now, which may go on.
const MAX_OPEN: usize = 4_096;
/// Example frames.
const FRAMES: usize = 4;

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

/// Bounded by [`MAX_SUFFIXES`], [`MAX_LOOKUPS`] and [`MAX_OPEN`].
#[derive(Default)]
struct SearchWildcardCapture {
    /// Suffixes that lookups of outside names went through, but for those of Services.
    suffixes: Table<Name, ()>,
    caught: BTreeMap<Catcher, BTreeMap<Key, Caught>>,
    kept: usize,
    /// Clients that were caught just now, with the name as it is.
    open: Map<(IpAddr, Name), (Catcher, Key)>,
    purge: Purge,
}

/// A suffix, and what names under it become.
type Catcher = (Name, SetId);

/// A lookup: its first frame, and who made it.
type Key = (Seen, IpAddr);

/// A lookup that ended under a suffix.
struct Caught {
    lookup: Harmed,
    answered: Seen,
    /// What was asked, and what was meant.
    asked: Name,
    own: Name,
    addresses: Box<[IpAddr]>,
}

impl Detector for SearchWildcardCapture {
    fn interest(&self) -> Interest {
        Interest::new(Which::None, Which::All)
    }

    fn observe_lookup(&mut self, lookup: &Lookup) {
        if !self.open.is_empty() {
            self.release(lookup);
        }
        let outside = lookup.suffixes_tried > 0 && is_outside(&lookup.name);
        if outside {
            for suffix in lookup.suffixes.iter().flatten() {
                let room = self.suffixes.len() < MAX_SUFFIXES;
                if room && !self.suffixes.contains_key(suffix) && !NameKind::of(suffix).service {
                    self.suffixes.entry(suffix.clone()).or_default();
                }
            }
        }
        if lookup.outcome != LookupOutcome::Ok {
            return;
        }
        // The only candidate that is seen may have a suffix as well: the first one of its list.
        let whole = lookup.suffixes_tried == 0 && lookup.suffixes.len() == 1;
        let suffix = match lookup.suffixes.last() {
            // Whoever asked for the name as it is first went on because there is no such name.
            Some(Some(suffix)) if outside && lookup.suffixes.iter().all(Option::is_some) => {
                Some(suffix.clone())
            }
            Some(None) if whole => self.suffix_of(&lookup.name),
            _ => None,
        };
        if let Some(suffix) = suffix
            && let Some(own) = lookup
                .candidates()
                .last()
                .and_then(|asked| asked.strip_suffix(&suffix).filter(is_outside))
        {
            self.note(lookup, suffix, own);
        }
    }

    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        let mut most: BTreeMap<Name, (SetId, BTreeMap<Key, Caught>)> = BTreeMap::new();
        let zones = &scene.answers.zones;
        for ((suffix, digest), mut caught) in self.caught {
            // What the DNS pods ask is asked for others.
            caught.retain(|(_, client), _| !scene.forward.shows(*client));
            let names = |caught: &BTreeMap<Key, Caught>| {
                caught.values().map(|one| &one.own).collect::<BTreeSet<_>>().len()
            };
            let more = |(_, known): &(SetId, BTreeMap<Key, Caught>)| names(known) < names(&caught);
            if !zones.is_cluster(&suffix) && most.get(&suffix).is_none_or(more) {
                most.insert(suffix, (digest, caught));
            }
        }
        most.into_iter()
            .filter_map(|(suffix, (_, caught))| finding(&suffix, &caught, scene))
            .collect()
    }
}

impl SearchWildcardCapture {
    /// The suffix that an outside name stands under here, if it is one that is searched.
    fn suffix_of(&self, asked: &Name) -> Option<Name> {
        let fits = |suffix: &&Name| {
            let own = asked.label_count().saturating_sub(suffix.label_count());
            asked.is_under(suffix) && is_written_outside(asked.labels().take(own))
        };
        let all = self.suffixes.unordered().map(|(suffix, ())| suffix);
        all.filter(fits).max_by_key(|suffix| (suffix.label_count(), *suffix)).cloned()
    }

    /// Keeps a lookup that ended under `suffix` and was for `own`.
    fn note(&mut self, lookup: &Lookup, suffix: Name, own: Name) {
        let Some(end) = lookup.end.filter(|_| self.kept < MAX_LOOKUPS) else { return };
        let with_data = |rtype| {
            let asked = lookup.last_round().iter().filter_map(|step| step.transaction());
            asked.filter(|asked| asked.question.rtype == rtype).find_map(|asked| addresses(asked))
        };
        let (a, aaaa) = (with_data(RecordType::A), || with_data(RecordType::AAAA));
        let Some((asked, answered, digest, addresses)) = a.or_else(aaaa) else { return };
        let (key, catcher) = ((lookup.start, lookup.client), (suffix, digest));
        self.kept += 1;
        let now = lookup.start.ts;
        self.purge.make_room(&mut self.open, MAX_OPEN, (now, AT_ONCE), |_, (_, (start, _))| {
            now.since(start.ts) <= AT_ONCE
        });
        if self.open.len() < MAX_OPEN {
            self.open.insert((lookup.client, own.clone()), (catcher.clone(), key));
        }
        let caught = Caught { lookup: Harmed::wrong(lookup, end), answered, asked, own, addresses };
        self.caught.entry(catcher).or_default().insert(key, caught);
    }

    /// Lets a client go that asks for the name as it is at once.
    fn release(&mut self, lookup: &Lookup) {
        for asked in lookup.transactions() {
            let name = (lookup.client, asked.question.name.clone());
            let Some((catcher, key)) = self.open.get(&name) else { continue };
            let caught = self.caught.get_mut(catcher);
            let soon = |one: &Caught| asked.first().ts.distance(one.lookup.end) <= AT_ONCE;
            if let Some(caught) = caught
                && caught.get(key).is_some_and(soon)
            {
                caught.remove(key);
                self.kept -= 1;
                self.open.remove(&name);
            }
        }
    }
}

/// The name that was asked and the addresses that came, with their answer's frame.
fn addresses(asked: &Transaction) -> Option<(Name, Seen, SetId, Box<[IpAddr]>)> {
    let answer = asked.answer()?;
    let Answer::Data(digest) = Answer::of(answer)? else { return None };
    let addresses = answer.records.addresses.as_slice();
    let name = asked.question.name.clone();
    (!addresses.is_empty()).then(|| (name, answer.delivered(), digest, Box::from(addresses)))
}

/// Whether it is written as a name of the Internet: two labels or more, the last one a public
/// zone's (of two letters, or one of the generic ones).
fn is_outside(name: &Name) -> bool {
    is_written_outside(name.labels())
}

fn is_written_outside<'a>(labels: impl Iterator<Item = &'a [u8]>) -> bool {
    const GENERIC: [&str; 13] = [
        "com", "net", "org", "io", "dev", "app", "cloud", "info", "biz", "edu", "gov", "mil",
        "example",
    ];
    let (count, last) = labels.fold((0, &[][..]), |(count, _), label| (count + 1, label));
    let generic = GENERIC.iter().any(|tld| last.eq_ignore_ascii_case(tld.as_bytes()));
    let country = last.len() == 2 && last.iter().all(u8::is_ascii_alphabetic);
    count >= 2 && (generic || country)
}

fn finding(suffix: &Name, caught: &BTreeMap<Key, Caught>, scene: &Scene<'_>) -> Option<Finding> {
    let names: BTreeMap<&Name, &Name> = caught.values().map(|one| (&one.own, &one.asked)).collect();
    if names.len() < PREFIXES || caught.len() < ENOUGH {
        return None;
    }
    let addresses: BTreeSet<IpAddr> =
        caught.values().flat_map(|one| &one.addresses).copied().collect();
    let at = |one: &Caught| Span::at(one.answered.ts);
    let span = caught.values().map(at).reduce(Span::join)?;
    let lookups = caught.len() as u64;
    let (own, example) = names.first_key_value()?;
    let own_names = list(names.keys(), 5);
    let evidence = caught.values().take(FRAMES).map(|one| Proof {
        seen: one.answered,
        summary: text!(
            "a name under {suffix} is {addresses}",
            suffix,
            addresses = list(&addresses, 2)
        ),
    });
    let wrong = |(key, one): (&Key, &Caught)| (*key, one.lookup.clone());
    Some(Finding {
        rule: &DETECTOR,
        title: text!(
            "a wildcard under search suffix {suffix} sends {names} to {addresses}: {lookups} from \
             {start} to {end}",
            suffix,
            names = count(names.len() as u64, "outside name"),
            addresses = list(&addresses, 2),
            lookups = count(lookups, "lookup"),
            start = clock(span.start),
            end = clock(span.end)
        ),
        confidence: Confidence::Confirmed,
        culprits: vec![Culprit::Zone(suffix.clone())],
        place: Where::Upstream,
        span,
        ongoing: scene.lasts(span),
        transactions: lookups,
        claim: Claim { wrong: caught.iter().map(wrong).collect(), ..Claim::default() },
        cause: text!(
            "Pods try outside names under {suffix} before they try them as they are, and in that \
             zone every name exists. Resolving looks fine and fast, but the connections go to \
             {addresses} instead.",
            suffix,
            addresses = list(&addresses, 2)
        ),
        facts: vec![
            Fact { label: text!("names that were caught"), value: own_names },
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

    /// A pod without the suffix, and what the others were told before the wildcard was there.
    #[test]
    fn who_asks_for_the_names_as_they_are_hides_nobody_else() {
        let names = ["api.example.com", "git.example.org", "www.aliyun.com"];
        let mut text = scenario(&names, WILD);
        text += "other = 10.0.0.6\n";
        for (second, name) in names.iter().enumerate() {
            text += &format!(
                "{second}.500 other:50000 > dns id 7 rd A {name}.\n\
                 {second}.502 other:50000 < dns id 7 {name}. 60 A 203.0.113.9\n"
            );
        }
        let said = findings(&text);
        assert!(said.contains("search-wildcard-capture [zone corp.example.internal]"), "{said}");
    }

    #[test]
    fn who_goes_on_to_the_name_as_it_is_was_not_caught() {
        let names = ["api.example.com", "git.example.org", "www.aliyun.com"];
        let mut text = scenario(&names, WILD);
        for (second, name) in names.iter().enumerate() {
            let port = 40_000 + second * 8;
            text += &format!(
                "{second}.010 pod:{port} > dns rd A {name}.\n\
                 {second}.012 pod:{port} < dns {name}. 60 A 203.0.113.9\n"
            );
        }
        assert!(!findings(&text).contains("wildcard"), "{}", findings(&text));
    }

    /// The DNS pod asks its upstream for what the pods ask, and nobody is hurt twice.
    #[test]
    fn what_a_dns_pod_asks_for_others_does_not_count() {
        let names = ["api.example.com", "git.example.org", "www.aliyun.com"];
        let mut text = scenario(&names, WILD) + "up = 192.0.2.53\n";
        for (second, name) in names.iter().enumerate() {
            text += &format!(
                "{second}.0062 dns:30000 > up id 9 rd A {name}.corp.example.internal.\n\
                 {second}.0068 dns:30000 < up id 9 {name}.corp.example.internal. 60 A 10.1.2.3\n"
            );
        }
        let said = findings(&text);
        assert!(said.contains(" 3/3"), "{said}");
    }

    /// Of hundreds that are told the same, all are hurt, and the headline says how many.
    #[test]
    fn every_lookup_that_was_caught_counts() {
        let names = ["api.example.com", "git.example.org", "www.aliyun.com"].repeat(14);
        let said = findings(&scenario(&names, WILD));
        assert!(said.contains("42/42"), "{said}");
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
