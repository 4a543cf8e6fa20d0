//! The stories that `dnswhy explain` tells, of real captures and of scenarios.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dnswhy::testkit::{PcapOptions, Scenario};
use insta::assert_snapshot;

fn dnswhy(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnswhy"));
    command.env_remove("NO_COLOR").env_remove("COLUMNS");
    command.arg("explain").args(args).output().unwrap()
}

fn told(args: &[&str]) -> String {
    let out = dnswhy(args);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn capture(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap").join(name);
    path.to_string_lossy().into_owned()
}

/// A scenario as a file.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new(scenario: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Scenario::parse(scenario).write_pcap(&PcapOptions::default());
        for (index, bytes) in files.iter().enumerate() {
            fs::write(folder.path().join(format!("made.pcap{index}")), bytes).unwrap();
        }
        Self { folder }
    }

    fn named(&self, what: &str) -> String {
        self.folder.path().join(what).to_string_lossy().into_owned()
    }

    fn told(&self, what: &str) -> String {
        told(&[&self.named(what), &self.folder.path().to_string_lossy()])
    }
}

/// The first lines, up to the ladder.
fn head(story: &str) -> &str {
    story.split("\nLADDER").next().unwrap()
}

#[test]
fn a_lookup_through_a_dead_backend() {
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    assert_snapshot!(told(&[&format!("{file}:910")]));
}

#[test]
fn a_response_that_was_never_delivered() {
    let folder = capture("stale-vtep-mac");
    let file = format!("{folder}/client_dns.pcap00.gz:1987");
    assert_snapshot!(told(&[&file, &folder]));
}

#[test]
fn a_frame_is_found_by_the_name_that_a_report_gives() {
    let folder = capture("stale-vtep-mac");
    let by_path = told(&[&format!("{folder}/client_dns.pcap00.gz:1987"), &folder]);
    assert_eq!(told(&["client_dns.pcap00.gz:1987", &folder]), by_path);
}

#[test]
fn an_upstream_that_is_dead_is_told_by_its_servfail() {
    let file = capture("upstream-dead/client_dns.pcap00.gz");
    assert_snapshot!(head(&told(&[&file, "--client", "10.244.0.3", "--name", "*.aliyuncs.com"])));
}

#[test]
fn the_lookup_nearest_in_time_is_told() {
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    let at = "2026-11-20 19:37:02";
    let story = told(&[&file, "--client", "10.244.0.2", "--at", at]);
    assert!(story.starts_with("LOOKUP www.aliyun.com (A + AAAA) by 10.244.0.2\n"), "{story}");
    assert_eq!(
        told(&[&file, "--client", "10.244.0.2", "--at", "2026-11-20T20:37:02+01:00"]),
        story
    );
}

#[test]
fn a_story_is_a_document_for_programs() {
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    let story = told(&["-f", "json", &format!("{file}:910")]);
    let story: serde_json::Value = serde_json::from_str(&story).unwrap();
    assert_eq!(story["schema"], "dnswhy.explain/1");
    assert_eq!(story["lookup"]["outcome"], "timeout");
    assert_eq!(story["verdict"], "abnormal");
    assert_eq!(story["incident"]["rule"], "stale-backend");
    let ladder = story["ladder"].as_array().unwrap();
    let asked_about: Vec<_> = ladder.iter().filter(|rung| rung["asked_about"] == true).collect();
    assert_eq!(asked_about.len(), 1);
    assert_eq!(asked_about[0]["seen"][0]["frame"], 910);
    let offsets: Vec<f64> =
        ladder.iter().map(|rung| rung["offset_seconds"].as_f64().unwrap()).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
}

#[test]
fn a_search_that_finds_nothing_until_the_name_itself() {
    let made = Made::new(
        "
        pod = 10.244.1.7
        dns = 10.96.0.10
        repeat 20 every 0.1
        0.000  pod:40{n+100} > dns  rd  A warm{n}.example.com.
        0.001  pod:40{n+100} < dns  warm{n}.example.com. 30 A 192.0.2.1
        end
        3.0000 pod:41000 > dns  rd  A api.example.com.shop.svc.cluster.local.
        3.0004 pod:41000 < dns  NXDOMAIN
        3.0005 pod:41001 > dns  rd  A api.example.com.svc.cluster.local.
        3.0009 pod:41001 < dns  NXDOMAIN
        3.0010 pod:41002 > dns  rd  A api.example.com.
        3.0020 pod:41002 < dns  api.example.com. 30 A 192.0.2.7
        ",
    );
    assert_snapshot!(made.told("made.pcap0:43"));
}

#[test]
fn what_belongs_to_no_lookup_is_told_as_well() {
    let made = Made::new(
        "
        pod  = 10.244.1.7
        core = 10.244.2.3
        up   = 192.0.2.53
        dns  = 10.96.0.10
        0.000  pod:40000 < dns  id 0007  ? A early.example.com. early.example.com. 30 A 192.0.2.1
        1.000  core:40001 > up  id 0008  rd  NS .
        2.000  pod:40002 > dns  raw 6e6f20646e73
        20.000 pod:40003 < dns  id 0009  ? A nobody.example.com. NXDOMAIN
        21.000 pod:40004 > dns  tcp syn
        21.001 pod:40004 < dns  tcp rst
        ",
    );
    let all: Vec<String> = (1..=6).map(|n| made.told(&format!("made.pcap0:{n}"))).collect();
    assert_snapshot!(all.join("\n----\n"));
}

#[test]
fn an_error_is_tied_to_the_query_that_it_rejects() {
    let made = Made::new(
        "
        pod = 10.244.1.7
        dns = 10.96.0.10
        0.000  pod:40000 > dns  id 0007  rd  A api.example.com.
        0.001  icmp port-unreachable 1 from dns
        ",
    );
    let line = made.told("made.pcap0:2");
    assert_snapshot!(line);
}

#[test]
fn a_connection_is_part_of_the_lookup_that_it_serves() {
    let made = Made::new(
        "
        pod = 10.244.1.7
        dns = 10.96.0.10
        0.000  pod:40000 > dns  id 0007  rd  A big.example.com.
        0.001  pod:40000 < dns  tc
        0.002  pod:40001 > dns  tcp syn
        0.003  pod:40001 < dns  tcp syn-ack
        0.004  pod:40001 > dns  tcp ack
        0.005  pod:40001 > dns  tcp id 0007  rd  A big.example.com.
        0.006  pod:40001 < dns  tcp id 0007  big.example.com. 30 A 192.0.2.1
        ",
    );
    assert_snapshot!(made.told("made.pcap0:4"));
}

#[test]
fn what_a_forwarder_asks_is_shown_with_its_client() {
    let made = Made::new(
        "
        pod  = 10.244.1.7
        core = 10.244.2.3
        up   = 192.0.2.53
        repeat 5 every 0.1
        0.000  pod:40{n+100} > core  rd  A warm{n}.example.com.
        0.001  pod:40{n+100} < core  warm{n}.example.com. 30 A 192.0.2.1
        end
        3.000  pod:41000 > core  id 0007  rd  A api.example.com.
        3.001  core:51000 > up   id 0008  rd  A api.example.com.
        3.050  core:51000 < up   api.example.com. 30 A 192.0.2.7
        3.051  pod:41000 < core  id 0007  api.example.com. 30 A 192.0.2.7
        ",
    );
    let both = [made.told("made.pcap0:11"), made.told("made.pcap0:12")];
    assert_snapshot!(both.join("\n----\n"));
}

#[test]
fn a_story_goes_on_across_files() {
    let made = Made::new(
        "
        pod = 10.244.1.7
        dns = 10.96.0.10
        0.000  pod:40000 > dns  id 0007  rd  A api.example.com.
        --- next file
        5.000  pod:40000 > dns  id 0007  rd  A api.example.com.
        5.001  pod:40000 < dns  api.example.com. 30 A 192.0.2.7
        ",
    );
    assert_snapshot!(made.told("made.pcap1:2"));
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let file = capture("node-death-vxlan/client_dns.pcap00.gz");
    let says = |args: &[&str], words: &str| {
        let out = dnswhy(args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && out.stdout.is_empty(), "{said}");
    };
    says(&[&format!("{file}:99999")], "has no frame 99999: its last one is");
    says(&[&file], "which lookup?");
    says(&[&file, "--client", "192.0.2.99"], "no lookup of this capture fits");
    says(&["other.pcap:1", &file], "other.pcap is none of the captures");
    says(&[&file, "--at", "yesterday"], "expected a time");
}
