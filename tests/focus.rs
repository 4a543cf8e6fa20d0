//! Parts of a capture, names for addresses, and strange names for all of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use dnswhy::report::json::Report;
use dnswhy::testkit::{Fate, PcapOptions, Scenario, Situation};

fn dnswhy(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dnswhy")).args(args).env_remove("COLUMNS").output().unwrap()
}

fn capture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap").join(name);
    path.to_string_lossy().into_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn report(args: &[&str]) -> Report {
    let mut all = vec!["analyze", "-f", "json"];
    all.extend(args);
    let out = dnswhy(&all);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn one_client_alone_is_looked_at_and_the_rest_is_counted() {
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    let whole = report(&[&file]);
    let part = report(&["--client", "10.244.0.3", &file]);
    let focus = part.capture.focus.unwrap();
    assert_eq!(focus.bounds, ["client 10.244.0.3"]);
    assert_eq!(part.traffic.lookups + focus.lookups_left_out, whole.traffic.lookups);
    assert_eq!(part.traffic.transactions + focus.transactions_left_out, whole.traffic.transactions);
    assert_eq!(part.traffic.clients.len(), 1);
    assert_eq!(part.capture.frames, whole.capture.frames, "all of it is read");
    let said = text(&dnswhy(&["analyze", "--client", "10.244.0.3", &file]).stdout);
    assert!(said.contains("only a part is looked at (client 10.244.0.3)"), "{said}");
}

#[test]
fn no_pair_is_torn_at_the_edge_of_a_focus() {
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    // In the midst of the outage; what waited then had begun before and ended later.
    let part = report(&["--at", "19:37:20", "--window", "1s", &file]);
    assert!(part.traffic.lookups > 0 && part.traffic.unsolicited_responses == 0);
    let longest = part.traffic.lookup_seconds.max.unwrap();
    assert!(longest > 5.0, "a lookup keeps its length: {longest}");
    let same = report(&["--from", "2026-11-20T19:37:19Z", "--to", "2026-11-20 19:37:21", &file]);
    assert_eq!(part.traffic, same.traffic);
    let east = report(&[
        "--at",
        "2026-11-21 03:37:20",
        "--window",
        "1s",
        "--timezone",
        "Asia/Shanghai",
        &file,
    ]);
    assert_eq!(part.traffic, east.traffic);
}

#[test]
fn a_name_and_a_server_narrow_it_down() {
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    let part = report(&["--name", "payments.shop", &file]);
    assert!(part.traffic.lookups > 0 && part.capture.focus.unwrap().lookups_left_out > 0);
    let part = report(&["--server", "10.244.2.10", &file]);
    assert_eq!(part.traffic.servers.len(), 1);
    let nothing = report(&["--name", "nobody.asks.this", &file]);
    assert!(nothing.verdict.headline.starts_with("nothing in this capture fits"));
    let wrong = dnswhy(&["analyze", "--at", "yesterday", &file]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("2022-12-22 20:00:03"), "{}", text(&wrong.stderr));
}

const CLUSTER: &str = r#"{"kind":"List","items":[
  {"kind":"Pod","metadata":{"name":"coredns-77","namespace":"kube-system"},
   "spec":{"containers":[],"nodeName":"worker-1"},"status":{"podIP":"10.244.1.10"}},
  {"kind":"Pod","metadata":{"name":"checkout-5","namespace":"shop"},
   "spec":{"containers":[],"nodeName":"worker-0"},"status":{"podIP":"10.244.0.3"}},
  {"kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system"},
   "spec":{"clusterIP":"10.96.0.10"}}]}"#;

#[test]
fn pods_and_services_are_called_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = folder.path().join("cluster.json");
    fs::write(&cluster, CLUSTER).unwrap();
    let cluster = cluster.to_string_lossy().into_owned();
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    for format in ["text", "markdown", "html"] {
        let said = text(&dnswhy(&["analyze", "--k8s", &cluster, "-f", format, &file]).stdout);
        for name in ["kube-system/coredns-77", "shop/checkout-5", "kube-system/kube-dns"] {
            assert!(said.contains(name), "{name} is missing in {format}");
        }
        assert!(said.contains("grep -wF 10.244.1.10"), "commands stay as they are in {format}");
    }
    let named = report(&["--k8s", &cluster, &file]);
    assert_eq!(named.names["10.244.1.10"].name, "coredns-77");
    assert_eq!(named.incidents[0].culprits[0].value, "10.244.1.10");
}

/// Who runs where, as `kubectl get pods -o json` prints it, in a file of its own.
fn cluster_of(folder: &Path, pods: &[(&str, &str)]) -> String {
    let items: Vec<String> = pods
        .iter()
        .map(|(address, node)| {
            format!(
                r#"{{"kind":"Pod","metadata":{{"name":"p-{address}","namespace":"shop"}},
                    "spec":{{"containers":[],"nodeName":"{node}"}},"status":{{"podIP":"{address}"}}}}"#
            )
        })
        .collect();
    let path = folder.join("pods.json");
    fs::write(&path, format!(r#"{{"kind":"List","items":[{}]}}"#, items.join(","))).unwrap();
    path.to_string_lossy().into_owned()
}

fn culprits(report: &Report) -> Vec<(String, Vec<String>)> {
    let of = |incident: &dnswhy::report::json::IncidentV1| {
        let culprits = incident.culprits.iter();
        let culprits = culprits.map(|who| format!("{} {}", who.kind, who.value)).collect();
        (incident.rule.clone(), culprits)
    };
    report.incidents.iter().map(of).collect()
}

#[test]
fn clients_are_grouped_by_the_nodes_that_kubectl_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = capture("stale-vtep-mac/client_dns.pcap00.gz");
    let pods = [("10.244.88.2", "worker-1"), ("10.244.88.3", "worker-1")];
    let cluster = cluster_of(folder.path(), &pods);
    let named = report(&["--k8s", &cluster, &file]);
    let expected =
        ["path 10.244.6.10 -> worker-1", "path 10.244.8.10 -> worker-1", "node worker-1"];
    assert_eq!(
        culprits(&named),
        [("path-broken-pair".to_owned(), expected.map(str::to_owned).to_vec())]
    );
    let commands = named.incidents[0].actions.iter().map(|action| action.command.as_str());
    let commands: Vec<&str> = commands.collect();
    assert!(commands.iter().any(|command| command.contains("get node worker-1 ")), "{commands:?}");
    assert!(commands.iter().any(|c| c.ends_with("spec.nodeName=worker-1")), "{commands:?}");
    // The same two pods on nodes of their own are two broken nodes, though of one prefix.
    let pods = [("10.244.88.2", "worker-1"), ("10.244.88.3", "worker-2")];
    let cluster = cluster_of(folder.path(), &pods);
    let apart = report(&["--k8s", &cluster, &file]);
    let found = culprits(&apart);
    assert_eq!(found.len(), 2, "{found:?}");
    for node in ["node worker-1", "node worker-2"] {
        assert!(found.iter().any(|(_, who)| who.iter().any(|who| who == node)), "{found:?}");
    }
    let proof = folder.path().join("proof.pcapng");
    let proof = proof.to_string_lossy();
    let out = dnswhy(&["extract", "--incident", "2", "--k8s", &cluster, "-w", &proof, &file]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let out = dnswhy(&["extract", "--incident", "2", "-w", &proof, &file]);
    assert_eq!(out.status.code(), Some(2), "without the nodes there is one incident alone");
}

/// In a cloud that gives pods of all nodes addresses of one range, the prefix shows nothing.
#[test]
fn a_broken_node_in_a_flat_network_is_found_by_its_name() {
    let mut situation =
        Situation::new("one = 10.0.0.2\nother = 10.0.0.3\ndns1 = 10.0.8.2\ndns2 = 10.0.9.2");
    for round in 0..30_u8 {
        for (client, server) in
            [("one", "dns1"), ("one", "dns2"), ("other", "dns1"), ("other", "dns2")]
        {
            let broken = round >= 10 && client == "other";
            let fate = if broken { Fate::Lost } else { Fate::Answered };
            situation.ask(f64::from(round), client, server, "", fate);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flat.pcap");
    let files = Scenario::parse(situation.text()).write_pcap(&PcapOptions::default());
    fs::write(&path, &files[0]).unwrap();
    let file = path.to_string_lossy();
    let cluster = cluster_of(folder.path(), &[("10.0.0.2", "worker-1"), ("10.0.0.3", "worker-2")]);
    let found = culprits(&report(&["--k8s", &cluster, &file]));
    assert_eq!(found, [("client-node-broken".to_owned(), vec!["node worker-2".to_owned()])]);
    let blind = culprits(&report(&[&file]));
    assert!(blind.iter().all(|(rule, _)| rule != "client-node-broken"), "{blind:?}");
}

#[test]
fn a_masked_report_shows_nothing_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::write(at("cluster.json"), CLUSTER).unwrap();
    for name in [
        "node-death-vxlan",
        "conntrack-race-emulated",
        "upstream-dead",
        "search-storm",
        "empty-noerror-musl",
    ] {
        let file = capture(name);
        let key = format!("--anonymize={}", at("key"));
        let args: [&str; 8] =
            ["analyze", &key, "--k8s", &at("cluster.json"), "-o", &at("r.json"), "-o", &at("r.md")];
        let mut args = args.to_vec();
        let (html, txt) = (at("r.html"), at("r.txt"));
        args.extend(["-o", &html, "-o", &txt, &file]);
        let out = dnswhy(&args);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        let originals = originals(&file);
        assert!(originals.len() > 10);
        for made in ["r.json", "r.md", "r.html", "r.txt"] {
            let said = fs::read_to_string(at(made)).unwrap();
            for original in &originals {
                assert!(!mentions(&said, original), "{original} survives in {made} of {name}");
            }
            for name in ["coredns-77", "checkout-5", "shop/"] {
                assert!(!said.contains(name), "{name} survives in {made}");
            }
        }
        let masked: Report =
            serde_json::from_str(&fs::read_to_string(at("r.json")).unwrap()).unwrap();
        let plain = report(&[&file]);
        assert!(masked.anonymized && !plain.anonymized);
        let rules = |report: &Report| {
            let mut rules: Vec<_> =
                report.incidents.iter().map(|i| (i.rule.clone(), i.impact.lookups)).collect();
            rules.sort();
            rules
        };
        assert_eq!(rules(&masked), rules(&plain), "{name}: what was found does not change");
        for list in ["lookups", "transactions"] {
            let rows = text(&dnswhy(&[list, &key, &file]).stdout);
            assert!(rows.lines().count() > 50);
            for original in &originals {
                assert!(!mentions(&rows, original), "{original} survives in {list} of {name}");
            }
        }
        let proof = at("proof.pcapng");
        let out = dnswhy(&["extract", "--incident", "1", &key, "-w", &proof, &file]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        let bytes = fs::read(&proof).unwrap();
        for original in &originals {
            let survives = match original.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V4(address)) => holds(&bytes, &address.octets()),
                Ok(std::net::IpAddr::V6(address)) => holds(&bytes, &address.octets()),
                Err(_) => original.split('.').any(|label| {
                    label.len() > 4
                        && originals.contains(&label.to_owned())
                        && holds(&bytes, label.as_bytes())
                }),
            };
            assert!(!survives, "{original} survives in the packets of {name}");
        }
        // What is extracted is the incident: the same masked names, and answers that can be read.
        let (of_proof, masked_rows) = (rows(&[&proof]), rows(&[&key, &file]));
        assert!(!of_proof.is_empty());
        for row in &of_proof {
            assert!(masked_rows.contains(row), "{row:?} is not in the masked capture {name}");
        }
        let proof = &plain.incidents[0].evidence[0];
        let frame = format!("{}:{}", proof.file, proof.frame);
        for form in ["text", "json"] {
            let story = dnswhy(&["explain", &key, "-f", form, &frame, &file]);
            assert_eq!(story.status.code(), Some(0), "{}", text(&story.stderr));
            let story = text(&story.stdout);
            assert!(story.len() > 500, "{story}");
            for original in &originals {
                assert!(!mentions(&story, original), "{original} survives in a story of {name}");
            }
        }
        let again = at("again.json");
        dnswhy(&["analyze", &key, "--k8s", &at("cluster.json"), "-o", &again, &file]);
        let again: Report = serde_json::from_str(&fs::read_to_string(again).unwrap()).unwrap();
        assert_eq!(masked.incidents, again.incidents, "one key, one report");
    }
}

/// Whether `part` stands somewhere in `bytes`, in any case.
fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// The client, id, name and response code of each transaction over UDP.
fn rows(args: &[&str]) -> Vec<[String; 4]> {
    let all = [&["transactions"], args].concat();
    let said = text(&dnswhy(&all).stdout);
    let rows = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.filter(|row| row["transport"] == "udp")
        .map(|row| ["client", "id", "name", "rcode"].map(|key| row[key].to_string()))
        .collect()
}

/// Words of our own sentences and commands that are names in the lab, too.
const OUR_OWN: [&str; 10] = [
    "login",
    "registry",
    "cache",
    "search",
    "pods",
    "kubernetes",
    "default",
    "service",
    "client",
    "localhost",
];

/// Every address and every name that the capture's own lists show, those that all clusters share
/// left out.
fn originals(file: &str) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for line in text(&dnswhy(&["transactions", file]).stdout).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        for end in ["client", "server", "backend"] {
            let Some(end) = row[end].as_str() else { continue };
            let address = end.parse::<std::net::SocketAddr>().map(|socket| socket.ip());
            let address = address.or_else(|_| end.parse::<std::net::IpAddr>());
            found.extend(address.map(|address| address.to_string()));
        }
        let name = row["name"].as_str().unwrap().to_ascii_lowercase();
        let common =
            ["cluster", "local", "default", "example", "internal", "kubernetes", "in-addr"];
        let own: Vec<_> = name
            .split('.')
            .filter(|label| label.len() > 4 && !common.contains(label))
            .map(str::to_owned)
            .collect();
        if !own.is_empty() {
            found.insert(name.clone());
        }
        found.extend(own);
    }
    // Words of our own sentences that are labels in the lab, too.
    found.retain(|word| !OUR_OWN.contains(&word.as_str()));
    found.into_iter().collect()
}

/// Whether `word` stands in `text` by itself.
fn mentions(text: &str, word: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}
