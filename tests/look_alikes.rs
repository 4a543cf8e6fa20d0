//! What looks like trouble and is everyday life: rulebook section 8, one test for each of its points.
//! None may lead to an incident above info; most lead to none.

use std::fmt::Write;

use dnswhy::incident::Severity;
use dnswhy::testkit::{Fate, Situation, analyse};

/// Hosts of a cluster as one of its nodes sees it.
const NODE: &str = "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
                    dns2 = 10.244.2.10\npod = 10.244.0.2\nnear = 10.244.0.3\n";
/// Hosts as a pod sees them.
const POD: &str = "pod = 10.244.0.2\ndns = 10.96.0.10\nspare = 10.96.0.11\n";
const SOA: &str =
    "auth cluster.local. 30 SOA ns.dns.cluster.local. h.cluster.local. 1 7200 1800 86400 5";

/// Nothing at all is reported.
fn silent(text: &str) {
    at_most(text, &[]);
}

/// Only these rules report something, and nothing above info.
fn at_most(text: &str, rules: &[&str]) {
    let analysis = analyse(text);
    let mut loud = String::new();
    for incident in &analysis.incidents {
        let rule = incident.cause.rule.id;
        if incident.severity > Severity::Info || !rules.contains(&rule) {
            // Writing to a string cannot fail.
            let _ = writeln!(loud, "{} {rule}: {}", incident.severity, incident.cause.title);
        }
    }
    assert!(loud.is_empty(), "{loud}");
}

/// `lines` of a pod `times` over, `every` so many seconds.
fn pod(times: u32, every: &str, lines: &str) -> String {
    format!("{POD}repeat {times} every {every}\n{lines}\nend\n")
}

#[test]
fn n1_copies_on_several_interfaces_and_legs_of_translation() {
    let mut situation = Situation::cluster();
    for round in 0..60_u8 {
        let via = ["dns1", "dns2", "dns3"][usize::from(round % 3)];
        situation.ask(f64::from(round) * 0.3, "pod", "kube-dns", via, Fate::Answered);
    }
    silent(situation.text());
}

#[test]
fn n2_search_denials_followed_by_success() {
    let mut lines = String::new();
    for (step, suffix) in
        ["default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."].iter().enumerate()
    {
        let (port, name) = (40_000 + step, format!("api.example.com.{suffix}"));
        let _ = writeln!(
            lines,
            "0.{step}00 pod:{port} > dns rd A {name}\n0.{step}01 pod:{port} < dns NXDOMAIN aa {SOA}"
        );
    }
    lines.push_str(
        "0.300 pod:40005 > dns rd A api.example.com.\n\
         0.320 pod:40005 < dns api.example.com. 60 A 203.0.113.7",
    );
    silent(&pod(40, "3", &lines));
}

#[test]
fn n3_no_aaaa_for_names_of_one_family_with_and_without_soa() {
    for denial in [SOA, ""] {
        silent(&pod(
            40,
            "2",
            &format!(
                "0.0 pod:40000 > dns rd id 1 A redis.default.svc.cluster.local.\n\
                 0.0 pod:40000 > dns rd id 2 AAAA redis.default.svc.cluster.local.\n\
                 0.001 pod:40000 < dns id 1 aa redis.default.svc.cluster.local. 30 A 10.96.0.20\n\
                 0.001 pod:40000 < dns id 2 aa {denial}"
            ),
        ));
    }
}

#[test]
fn n4_no_pointers_for_private_addresses() {
    silent(&pod(
        40,
        "2",
        "0.0 pod:40000 > dns rd PTR {n}.9.244.10.in-addr.arpa.\n0.002 pod:40000 < dns NXDOMAIN",
    ));
}

#[test]
fn n5_answers_in_another_order_than_the_questions() {
    silent(&pod(
        40,
        "2",
        "0.0 pod:40000 > dns rd id 1 A www.example.org.\n\
         0.0001 pod:40000 > dns rd id 2 AAAA www.example.org.\n\
         0.004 pod:40000 < dns id 2 www.example.org. 60 AAAA 2001:db8::7\n\
         0.030 pod:40000 < dns id 1 www.example.org. 60 A 203.0.113.7",
    ));
}

#[test]
fn n6_a_client_that_closed_its_socket_rejects_what_comes_after() {
    // A second answer to the same query; the answer to a process that ended is `late-response`.
    silent(&pod(
        20,
        "2",
        "0.0 pod:40000 > dns rd id 1 A www.example.org.\n\
         0.002 pod:40000 < dns id 1 www.example.org. 60 A 203.0.113.7\n\
         0.003 pod:40000 < dns id 1 www.example.org. 60 A 203.0.113.7\n\
         0.0031 pod:40000 > dns icmp port-unreachable",
    ));
    // glibc closes its socket with the first truncated answer.
    silent(&pod(
        20,
        "2",
        "0.0 pod:40000 > dns rd id 1 A big.example.org.\n\
         0.0001 pod:40000 > dns rd id 2 AAAA big.example.org.\n\
         0.0015 pod:40000 < dns id 1 tc\n\
         0.0016 pod:40000 < dns id 2 tc\n\
         0.0017 pod:40000 > dns icmp port-unreachable\n\
         0.0018 pod:40001 > dns tcp syn\n\
         0.0019 pod:40001 < dns tcp syn-ack\n\
         0.0020 pod:40001 > dns tcp rd id 3 A big.example.org.\n\
         0.0021 pod:40001 > dns tcp rd id 4 AAAA big.example.org.\n\
         0.0030 pod:40001 < dns tcp id 3 big.example.org. 60 A 203.0.113.7\n\
         0.0031 pod:40001 < dns tcp id 4 big.example.org. 60 AAAA 2001:db8::7",
    ));
}

#[test]
fn n7_the_slower_of_two_servers_asked_at_once() {
    silent(&pod(
        40,
        "2",
        "0.0 pod:40000 > dns rd id 1 A www.example.org.\n\
         0.0001 pod:40000 > spare rd id 1 A www.example.org.\n\
         0.003 pod:40000 < dns id 1 www.example.org. 60 A 203.0.113.7\n\
         0.250 pod:40000 < spare id 1 www.example.org. 60 A 203.0.113.7\n\
         0.2501 pod:40000 > spare icmp port-unreachable",
    ));
}

#[test]
fn n8_truncated_and_then_answered_over_tcp() {
    silent(&pod(
        40,
        "2",
        "0.0 pod:40000 > dns rd id 1 A big.example.org.\n\
         0.001 pod:40000 < dns id 1 tc\n\
         0.002 pod:40001 > dns tcp syn\n\
         0.003 pod:40001 < dns tcp syn-ack\n\
         0.004 pod:40001 > dns tcp rd id 3 A big.example.org.\n\
         0.006 pod:40001 < dns tcp id 3 big.example.org. 60 A 203.0.113.7\n\
         0.007 pod:40001 > dns tcp fin",
    ));
}

#[test]
fn n9_a_lost_datagram_now_and_then() {
    let mut situation = Situation::cluster();
    for round in 0..900_u16 {
        let via = ["dns1", "dns2", "dns3"][usize::from(round % 3)];
        let fate = if round % 151 == 77 { Fate::LostOnce } else { Fate::Answered };
        situation.ask(f64::from(round) * 0.4, "pod", "kube-dns", via, fate);
    }
    silent(situation.text());
}

#[test]
fn n10_probes_of_servers_by_servers_and_scanners() {
    silent(
        "capture backend-node sll2 dns1\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.1.10\n\
         upstream = 192.0.2.53\npod = 10.244.0.2\nkubelet = 10.244.1.1\n\
         0.0 dns1:50000 > upstream rd HINFO 5577006791947779410.8674665223082153551.\n\
         0.02 dns1:50000 < upstream NXDOMAIN\n\
         repeat 40 every 0.5\n\
         0.1 dns1:50001 > upstream rd NS .\n\
         0.12 dns1:50001 < upstream . 3600 NS a.root-servers.net.\n\
         0.2 kubelet:51000 > dns1 rd A kubernetes.default.svc.cluster.local.\n\
         0.201 kubelet:51000 < dns1 aa kubernetes.default.svc.cluster.local. 5 A 10.96.0.1\n\
         0.3 pod:40000 > kube-dns via dns1 rd class CH TXT version.bind.\n\
         0.301 pod:40000 < kube-dns via dns1 REFUSED\n\
         end\n",
    );
}

#[test]
fn n11_a_rollout_that_loses_what_was_in_flight() {
    let mut situation = Situation::cluster();
    for round in 0..600_u16 {
        let at = f64::from(round) * 0.1;
        let old = round < 300;
        let via = match (old, round % 2) {
            (true, 0) => "dns1",
            (false, 0) => "dns3",
            _ => "dns2",
        };
        let fate = if (298..300).contains(&round) && via == "dns1" {
            Fate::LostOnce
        } else {
            Fate::Answered
        };
        situation.ask(at, "pod", "kube-dns", via, fate);
    }
    silent(situation.text());
}

#[test]
fn n12_nobody_asks_for_a_while() {
    let ask = "0.0 pod:40000 > dns rd A www.example.org.\n\
               0.002 pod:40000 < dns www.example.org. 60 A 203.0.113.7";
    let night = pod(10, "1", ask) + "repeat 10 every 1 from 4000\n" + ask + "\nend\n";
    silent(&night);
}

#[test]
fn n13_the_edges_of_the_capture_and_of_its_files() {
    // Answers without queries at the start, queries without answers at the end, cut messages, and
    // answers in the next file.
    let mut text = format!("{POD}--- next file\n");
    for n in 0..12_u16 {
        let (port, at) = (40_000 + n, f64::from(n) * 0.01);
        let _ = writeln!(
            text,
            "{at:.3} pod:{port} < dns id {n:x} ? A www.example.org. www.example.org. 60 A 203.0.113.7"
        );
    }
    for n in 0..40_u16 {
        let (port, at) = (41_000 + n, 1.0 + f64::from(n) * 0.4);
        let cut = if n % 3 == 0 { " cut 70" } else { "" };
        let _ = writeln!(text, "{at:.3} pod:{port} > dns id {n:x} rd A www.example.org.");
        if n == 20 {
            text.push_str("--- next file\n");
        }
        let _ = writeln!(
            text,
            "{:.3} pod:{port} < dns id {n:x} www.example.org. 60 A 203.0.113.7{cut}",
            at + 0.003
        );
    }
    for n in 0..12_u16 {
        let (port, at) = (42_000 + n, 18.0 + f64::from(n) * 0.1);
        let _ = writeln!(text, "{at:.3} pod:{port} > dns id {n:x} rd A www.example.org.");
    }
    silent(&text);
}

#[test]
fn n14_connections_that_close_when_idle() {
    silent(&pod(
        30,
        "20",
        "0.0 pod:40001 > dns tcp syn\n\
         0.001 pod:40001 < dns tcp syn-ack\n\
         0.002 pod:40001 > dns tcp rd id 3 A www.example.org.\n\
         0.004 pod:40001 < dns tcp id 3 www.example.org. 60 A 203.0.113.7\n\
         10.1 pod:40001 < dns tcp fin\n\
         10.2 pod:40001 > dns tcp rst",
    ));
    // Half a connection at either edge.
    silent(&format!(
        "{POD}0.0 pod:40001 < dns tcp id 3 ? A www.example.org. www.example.org. 60 A 203.0.113.7\n\
         0.1 pod:40001 < dns tcp fin\n\
         30.0 pod:40002 > dns tcp syn\n"
    ));
}

#[test]
fn n15_addresses_in_another_order_and_by_weight() {
    let mut text = POD.to_owned();
    for n in 0..120_u16 {
        let (port, at, host) = (41_000 + n, f64::from(n), n % 4 + 1);
        let server = if n % 2 == 0 { "dns" } else { "spare" };
        let _ = writeln!(
            text,
            "{at:.3} pod:{port} > {server} id {n:x} rd A cdn.example.com.\n\
             {at:.3}9 pod:{port} < {server} id {n:x} cdn.example.com. 1 A 203.0.113.{host} ; \
             cdn.example.com. 1 A 203.0.113.{}",
            host % 4 + 1
        );
    }
    silent(&text);
}

#[test]
fn n16_the_first_look_at_a_far_zone() {
    let mut text = POD.to_owned();
    for n in 0..90_u16 {
        let at = f64::from(n) * 5.0;
        let wait = if n % 15 == 7 { 1.8 } else { 0.02 + f64::from(n % 8) * 0.04 };
        for (port, at, wait) in [(40_000 + n, at, wait), (41_000 + n, at + 2.5, 0.001)] {
            let _ = writeln!(
                text,
                "{at:.3} pod:{port} > dns rd A host{n}.example.com.\n\
                 {:.3} pod:{port} < dns host{n}.example.com. 300 A 203.0.113.7",
                at + wait
            );
        }
    }
    silent(&text);
}

#[test]
fn n17_a_forwarder_that_asks_all_its_servers_at_once() {
    at_most(
        "pod = 10.0.0.5\ndnsmasq = 10.0.0.1\nu1 = 192.0.2.53\nu2 = 198.51.100.53\n\
         repeat 60 every 1\n\
         0.0 pod:40000 > dnsmasq rd id 1 A host{n}.example.com.\n\
         0.0002 dnsmasq:50000 > u1 rd id 7 A host{n}.example.com.\n\
         0.0003 dnsmasq:50000 > u2 rd id 7 A host{n}.example.com.\n\
         0.012 dnsmasq:50000 < u1 id 7 host{n}.example.com. 300 A 203.0.113.7\n\
         0.0122 pod:40000 < dnsmasq id 1 host{n}.example.com. 300 A 203.0.113.7\n\
         0.030 dnsmasq:50000 < u2 id 7 host{n}.example.com. 300 A 203.0.113.7\n\
         end\n",
        &["forwarder-duplicates"],
    );
}

#[test]
fn n18_ids_and_ports_are_used_again() {
    silent(&format!(
        "{POD}repeat 60 every 9.3 same-port same-id\n\
         0.0 pod:40000 > dns rd id 7 A www.example.org.\n\
         0.0001 pod:40000 > dns rd id 7 AAAA www.example.org.\n\
         0.002 pod:40000 < dns id 7 ? A www.example.org. www.example.org. 60 A 203.0.113.7\n\
         0.003 pod:40000 < dns id 7 ? AAAA www.example.org. www.example.org. 60 AAAA 2001:db8::7\n\
         end\n"
    ));
}

#[test]
fn n19_what_is_not_dns_or_not_for_a_server() {
    at_most(
        "pod = 10.0.0.5\nother = 10.0.0.6\ngroup = 224.0.0.251:5353\nllmnr = 224.0.0.252:5355\n\
         dns = 10.0.0.1\n\
         repeat 60 every 1\n\
         0.0 pod:5353 > group PTR _http._tcp.local.\n\
         0.1 pod:50000 > llmnr A printer.\n\
         0.2 pod:40001 > dns raw deadbeef00ff00ff00ff00ff00ff00ff00ff00ff\n\
         0.201 pod:40001 < dns raw 00ff00ff00ff00ff00ff00ff00ff\n\
         0.3 pod:40002 > dns rd TXT dnscat{n}.aabbccddeeff00112233445566778899.t.example.com.\n\
         0.31 pod:40002 < dns dnscat{n}.aabbccddeeff00112233445566778899.t.example.com. 1 TXT ok\n\
         end\n",
        &["malformed"],
    );
}

#[test]
fn n20_names_that_a_policy_blocks() {
    at_most(
        &pod(
            40,
            "2",
            "0.0 pod:40000 > dns rd A ads{n}.tracker.example.com.\n\
             0.001 pod:40000 < dns ads{n}.tracker.example.com. 5 A 0.0.0.0\n\
             0.5 pod:40001 > dns rd A telemetry.example.com.\n\
             0.501 pod:40001 < dns telemetry.example.com. 5 A 0.0.0.0",
        ),
        &["ttl0-flood"],
    );
}

#[test]
fn n21_updates_notifications_and_transfers_that_are_refused() {
    silent(&pod(
        20,
        "2",
        "0.0 pod:40000 > dns opcode UPDATE SOA corp.example.\n\
         0.001 pod:40000 < dns opcode UPDATE REFUSED\n\
         0.2 pod:40001 > dns opcode NOTIFY SOA corp.example.\n\
         0.201 pod:40001 < dns opcode NOTIFY REFUSED\n\
         0.4 pod:40002 > dns tcp syn\n\
         0.401 pod:40002 < dns tcp syn-ack\n\
         0.402 pod:40002 > dns tcp id 5 AXFR corp.example.\n\
         0.403 pod:40002 < dns tcp id 5 REFUSED",
    ));
}

#[test]
fn n22_one_direction_only() {
    silent(&pod(
        120,
        "0.5",
        "0.0 pod:40000 > dns rd id 1 A www{n}.example.org.\n\
         0.0001 pod:40000 > dns rd id 2 AAAA www{n}.example.org.",
    ));
}

#[test]
fn n23_a_second_server_of_musl_clients_that_never_answers() {
    at_most(
        &pod(
            60,
            "2",
            "0.0 pod:40000 > dns rd id 1 A www.example.org.\n\
             0.0001 pod:40000 > spare rd id 1 A www.example.org.\n\
             0.003 pod:40000 < dns id 1 www.example.org. 60 A 203.0.113.7",
        ),
        &["nameserver-dead-first"],
    );
}

#[test]
fn n24_few_flows_are_uneven_by_chance() {
    let mut situation = Situation::cluster();
    for round in 0..150_u16 {
        let via = if round % 5 == 0 { "dns1" } else { "dns2" };
        situation.ask(f64::from(round) * 0.4, "pod", "kube-dns", via, Fate::Answered);
    }
    silent(situation.text());
}

#[test]
fn n25_a_client_that_gives_up_too_soon() {
    // `dig +time=1 +tries=1` against a recursion that takes a little longer.
    at_most(
        &pod(
            30,
            "6",
            "0.0 pod:40000 > dns rd ad edns 1232 id 1 A host{n}.example.com.\n\
             1.4 pod:40000 < dns id 1 host{n}.example.com. 300 A 203.0.113.7\n\
             1.4001 pod:40000 > dns icmp port-unreachable",
        ),
        &["late-response"],
    );
    // The node sees the same of pods behind a service.
    at_most(
        &format!(
            "{NODE}repeat 30 every 6\n\
             0.0 pod:40000 > kube-dns via dns1 rd ad edns 1232 id 1 A host{{n}}.example.com.\n\
             1.2 pod:40000 < kube-dns via dns1 id 1 host{{n}}.example.com. 300 A 203.0.113.7\n\
             1.2001 pod:40000 > kube-dns icmp port-unreachable\n\
             1.5 near:41000 > kube-dns via dns2 rd id 2 A redis.default.svc.cluster.local.\n\
             1.501 near:41000 < kube-dns via dns2 id 2 redis.default.svc.cluster.local. 5 A 10.96.0.20\n\
             end\n"
        ),
        &["late-response"],
    );
}
