//! The resolver behind the cluster's DNS takes a second or more.
//!
//! **Signature.** More than one in twenty answers of an upstream, of at least thirty, takes a
//! second or longer. Seen from clients alone: ten questions for external names or more are
//! answered after a second or longer, at least as many as those answered sooner without a cache,
//! while names of the cluster are answered at once.
//!
//! **Needs.** The client's queries and answers. To name the upstream, a capture that shows what
//! the DNS pods ask: on their nodes, with `-i any`.
//!
//! **Not this.** One long recursion of 0.2 to 2 s for a name that nobody asked for before is
//! normal. Where AAAA alone is slow, somebody delays AAAA (`slow-or-dropped-aaaa`). Cluster names
//! that are slow as well are the DNS pods' own load (`coredns-overload`). Waits for a client's
//! retry are losses, not slowness, and so are those for CoreDNS's: answers that come 2 s or 4 s after
//! the question (`upstream-timeout`).
//!
//! **Cannot tell.** Whether the upstream is far, busy, or waits for the zones' own servers.
//!
//! Source: rulebook 2.E, section 1 `slow_any`.

use crate::base::words::{clock, duration, text};
use crate::detect::upstream::{
    Failing, Kind, Words, ask_it, failing, read_the_corefile, record_the_legs,
};
use crate::detect::{
    Action, Class, Confidence, Descriptor, Detector, Finding, Layer, RuledOut, Scene,
};

/// The rule.
pub(super) static DETECTOR: Descriptor = Descriptor {
    id: "upstream-slow",
    title: "the resolver behind the cluster's DNS is slow",
    class: Class::Failure,
    layer: Layer::Upstream,
    references: &["rulebook 2.E"],
    source: include_str!("upstream_slow.rs"),
    new: || Box::new(UpstreamSlow),
};

/// Judges what `upstream` read; keeps nothing of its own.
struct UpstreamSlow;

impl Detector for UpstreamSlow {
    fn finish(self: Box<Self>, scene: &Scene<'_>) -> Vec<Finding> {
        failing(scene, Kind::Slow).iter().map(finding).collect()
    }
}

fn finding(failing: &Failing<'_>) -> Finding {
    let who = failing.who();
    let longest = failing.waits().map_or_else(|| text!("a second"), |(_, wait)| duration(wait));
    let mut actions = vec![ask_it(failing, "| grep 'Query time'"), read_the_corefile()];
    actions.extend(record_the_legs(failing));
    actions.push(Action {
        why: text!("ask less often: fetch popular names before they expire"),
        command: "kubectl -n kube-system edit configmap coredns   # cache 30 { prefetch 10 1m 10% \
                  serve_stale }"
            .to_owned(),
    });
    let words = Words {
        title: text!(
            "{who} is slow since {start}: answers for {what} took up to {longest}",
            who,
            start = clock(failing.span.start),
            what = failing.what(),
            longest
        ),
        confidence: if failing.is_seen() { Confidence::Confirmed } else { Confidence::Likely },
        cause: text!(
            "{who} took a second or more for {legs} answers. Names in a cache and names of the \
             cluster come at once, so the DNS pods themselves are not slow.",
            who,
            legs = failing.legs.len().max(failing.troubles.len())
        ),
        actions,
        ruled_out: vec![
            RuledOut {
                rule: "coredns-overload",
                because: text!(
                    "cluster names were answered at once {cluster_ok} times meanwhile, \
                     {cluster_bad} not",
                    cluster_ok = failing.meanwhile.cluster_ok,
                    cluster_bad = failing.meanwhile.cluster_bad
                ),
            },
            RuledOut { rule: "slow-or-dropped-aaaa", because: text!("A is slow as well") },
        ],
    };
    failing.finding(&DETECTOR, words)
}

#[cfg(test)]
mod tests {
    use crate::detect::upstream::scenarios::CLUSTER;
    use crate::testkit::findings;

    /// `times` names that the upstream answers after `wait`, passed on at once.
    fn slow(times: u32, rtype: &str, wait: f64) -> String {
        let data = if rtype == "A" { "A 203.0.113.7" } else { "AAAA 2001:db8::7" };
        let end = wait + 0.001;
        format!(
            "{CLUSTER}repeat {times} every 0.6 from 1
             0.0    pod:20000 > core id 2 rd {rtype} n{{n}}.example.com.
             0.001  core:30000 > up id 7 rd {rtype} n{{n}}.example.com.
             {wait} core:30000 < up id 7 n{{n}}.example.com. 5 {data}
             {end}  pod:20000 < core id 2 n{{n}}.example.com. 5 {data}
             end\n"
        )
    }

    #[test]
    fn answers_of_the_upstream_take_more_than_a_second() {
        insta::assert_snapshot!(findings(&slow(40, "A", 1.5)), @"low upstream-slow [upstream 192.0.2.53, zone example.com] confirmed 10:00:01.000-10:00:25.901 0/40");
    }

    /// Half a minute of an hour, and once more: both are told, each for itself.
    #[test]
    fn a_slow_time_is_none_of_the_whole_capture() {
        let hour = slow(6_000, "A", 0.1);
        let once = |from: u32| {
            let text = slow(40, "A", 1.5).replace(CLUSTER, "").replace("20000", "25000");
            text.replace("from 1\n", &format!("from {from}\n"))
                .replace("n{n}", &format!("late{from}x{{n}}"))
        };
        let said = findings(&format!("{hour}{}{}", once(900), once(2_400)));
        let told: Vec<&str> = said.lines().filter(|line| line.contains("upstream-slow")).collect();
        assert_eq!(told.len(), 2, "{said}");
        assert!(told[0].contains("10:15:0") && told[1].contains("10:40:0"), "{said}");
    }

    #[test]
    fn clients_alone_show_it_where_cluster_names_come_at_once() {
        let hidden: String = slow(40, "A", 1.5)
            .lines()
            .filter(|line| !line.contains(" up id"))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = findings(&hidden);
        assert!(text.contains("upstream-slow [zone example.com] likely"), "{text}");
    }

    #[test]
    fn aaaa_alone_is_another_rules() {
        let text = findings(&slow(40, "AAAA", 1.5));
        assert!(!text.contains("upstream-slow"), "{text}");
    }

    #[test]
    fn a_second_is_slow_and_less_is_not() {
        assert!(findings(&slow(40, "A", 1.01)).contains("upstream-slow"));
        assert!(!findings(&slow(40, "A", 0.99)).contains("upstream-slow"));
    }

    #[test]
    fn answers_behind_the_captures_end_are_not_slow() {
        let cut = slow(40, "A", 1.5).replace("every 0.6 from 1", "every 0.01 from 28.5");
        let open: String = cut
            .lines()
            .filter(|line| !line.contains("203.0.113.7"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(findings(&open), "quiet\n");
    }
}
