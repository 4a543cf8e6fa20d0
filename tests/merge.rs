//! Merging is associative and commutative, and loses no count, whatever reports say.

use dnswhy::archive::{Index, SetIncident, SetRecord, Unreadable};
use dnswhy::base::Timestamp;
use dnswhy::report::json::{CellV1, Culprit, ReachabilityV1, RunV1};
use proptest::prelude::*;

fn time(seconds: i64) -> String {
    Timestamp::from_parts(1_767_607_200 + seconds, 0).to_string()
}

fn incident() -> impl Strategy<Value = SetIncident> {
    let rules = prop::sample::select(vec!["dead-backend", "path-broken-pair", "timeout-retries"]);
    let severities = prop::sample::select(vec!["critical", "high", "medium", "low", "info"]);
    let culprits = prop::collection::vec(
        prop::sample::select(vec!["10.244.201.10", "10.244.202.10", "10.96.0.10"]),
        0..3,
    );
    // Windows that touch, and windows that do not.
    let window = (0_i64..4_000, 0_i64..300);
    (rules, severities, culprits, window, 0_u8..=100, (0_u64..50, 0_u64..9, 0_u32..4_000)).prop_map(
        |(rule, severity, culprits, (start, length), score, (lookups, clients, added))| {
            SetIncident {
                rank: 0,
                rule: rule.to_owned(),
                title: format!("{rule} of {culprits:?}"),
                severity: severity.to_owned(),
                confidence: "likely".to_owned(),
                score,
                culprits: culprits
                    .into_iter()
                    .map(|value| Culprit { kind: "backend".to_owned(), value: value.to_owned() })
                    .collect(),
                place: if score % 2 == 0 { "unknown" } else { "server" }.to_owned(),
                start: time(start),
                end: time(start + length),
                ongoing: score % 3 == 0,
                transactions: lookups * 2,
                lookups,
                failed_lookups: lookups / 2,
                clients,
                added_seconds: f64::from(added) / 7.0,
                worst_lookup_seconds: (added > 0).then(|| f64::from(added) / 9.0),
            }
        },
    )
}

/// A cell that answers by the minute, and fails for a while if asked to.
fn cell(network: u8, server: u8, failing: Option<i64>) -> CellV1 {
    let times = (0..60_u64).filter(|minute| {
        failing.is_none_or(|at| !(at / 60..=at / 60 + 2).contains(&i64::try_from(*minute).unwrap()))
    });
    let starts: Vec<u64> = times.map(|minute| minute * 60_000_000).collect();
    let run = failing.map(|at| RunV1 {
        start: time(at),
        last: time(at + 60),
        end: time(at + 65),
        flows: 20,
        clients: vec![format!("10.244.{network}.2"), format!("10.244.{network}.3")],
        other_host: 0,
        wrong_source: 0,
        icmp: Vec::new(),
    });
    CellV1 {
        clients: format!("10.244.{network}.0/24"),
        client: format!("10.244.{network}.2"),
        server: format!("10.244.20{server}.10"),
        service: "10.96.0.10".to_owned(),
        transport: "udp".to_owned(),
        from: time(0),
        lasts_us: starts.iter().map(|start| start + 50_000_000).collect(),
        answered: vec![10; starts.len()],
        failed: vec![0; starts.len()],
        starts_us: starts,
        runs: run.into_iter().collect(),
    }
}

fn record() -> impl Strategy<Value = SetRecord> {
    let failing = prop::option::of(120_i64..3_000);
    (0_u8..6, prop::collection::vec(incident(), 0..5), failing, 0_u64..1_000).prop_map(
        |(node, mut incidents, failing, lookups)| {
            for (index, incident) in incidents.iter_mut().enumerate() {
                incident.rank = index + 1;
            }
            SetRecord {
                name: format!("n{node}/client_dns"),
                scope: if node == 5 { "other" } else { "" }.to_owned(),
                report: (node % 2 == 0).then(|| format!("n{node}/client_dns.html")),
                version: "0.1.0".to_owned(),
                start: Some(time(0)),
                end: Some(time(3_600)),
                files: 1,
                bytes: lookups * 100,
                frames: lookups * 8,
                status: "degraded".to_owned(),
                lookups,
                failed_lookups: lookups / 3,
                incidents,
                reachability: ReachabilityV1 {
                    cells: (1..=3)
                        .map(|server| cell(node, server, failing.filter(|_| server == 1)))
                        .collect(),
                    flows_left_out: 0,
                },
                ..SetRecord::default()
            }
        },
    )
}

fn index() -> impl Strategy<Value = Index> {
    let unreadable = (0_u8..4).prop_map(|node| Unreadable {
        name: format!("broken/n{node}"),
        files: 1,
        reason: "the file is empty".to_owned(),
    });
    (prop::collection::vec(record(), 0..4), prop::collection::vec(unreadable, 0..2))
        .prop_map(|(sets, unreadable)| Index::of(sets, unreadable))
}

/// As it is written and read again.
fn again(index: &Index) -> Index {
    serde_json::from_slice(&serde_json::to_vec(index).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_associative_and_commutative(a in index(), b in index(), c in index()) {
        let merge = |indexes: [&Index; 2]| again(&Index::merge(indexes.into_iter().cloned()));
        let left = merge([&merge([&a, &b]), &c]);
        let right = merge([&a, &merge([&b, &c])]);
        prop_assert!(left == right);
        prop_assert!(left == merge([&c, &merge([&b, &a])]));
        let text = |index: &Index| serde_json::to_string(index).unwrap();
        prop_assert_eq!(text(&left), text(&right));
        // What is given twice counts once.
        prop_assert!(merge([&left, &a]) == left);
        prop_assert!(merge([&left, &left]) == left);
    }

    #[test]
    fn no_count_is_lost(indexes in prop::collection::vec(index(), 1..5)) {
        let merged = Index::merge(indexes);
        let of_sets = |count: fn(&SetIncident) -> u64| -> u64 {
            merged.sets.iter().flat_map(|set| &set.incidents).map(count).sum()
        };
        let incidents = &merged.incidents;
        prop_assert_eq!(of_sets(|_| 1), incidents.iter().map(|one| one.parts.len() as u64).sum::<u64>());
        prop_assert_eq!(of_sets(|one| one.lookups), incidents.iter().map(|one| one.lookups).sum::<u64>());
        prop_assert_eq!(of_sets(|one| one.clients), incidents.iter().map(|one| one.clients).sum::<u64>());
        prop_assert_eq!(
            of_sets(|one| one.failed_lookups),
            incidents.iter().map(|one| one.failed_lookups).sum::<u64>()
        );
        prop_assert_eq!(
            of_sets(|one| one.transactions),
            incidents.iter().map(|one| one.transactions).sum::<u64>()
        );
        let added: f64 = merged.sets.iter().flat_map(|set| &set.incidents).map(|one| one.added_seconds).sum();
        let joined: f64 = incidents.iter().map(|one| one.added_seconds).sum();
        prop_assert!((added - joined).abs() < 1e-6 * added.max(1.0));
        let mut parts: Vec<_> = incidents.iter().flat_map(|one| &one.parts).collect();
        let all = parts.len();
        parts.sort();
        // Two records of one name are two reports of it: their incidents may have equal ranks.
        let names: std::collections::BTreeSet<_> = merged.sets.iter().map(|set| &set.name).collect();
        if names.len() == merged.sets.len() {
            parts.dedup();
            prop_assert_eq!(parts.len(), all);
        }
        prop_assert_eq!(merged.totals.sets, merged.sets.len() as u64);
    }

    #[test]
    fn pages_can_be_written_of_anything(index in index()) {
        let (mut text, mut page) = (Vec::new(), Vec::new());
        index.write_markdown(&mut text).unwrap();
        index.write_html(&mut page).unwrap();
        prop_assert!(page.ends_with(b"</html>\n"));
        for row in String::from_utf8(text).unwrap().lines().filter(|line| line.starts_with("| ")) {
            prop_assert!(row.ends_with('|'), "{}", row);
        }
    }
}
