//! The command line as scripts know it: exit statuses, messages, streams.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn dnswhy(args: &[&str]) -> Output {
    command().args(args).output().unwrap()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnswhy"));
    command.env_remove("NO_COLOR").env_remove("COLUMNS").env_remove("DNSWHY_LANG");
    command
}

fn capture(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pcap").join(name);
    path.to_string_lossy().into_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_main_job_is_done_on_a_ring() {
    let out = dnswhy(&["analyze", &capture("node-death-vxlan/client_dns.pcap00.gz")]);
    assert_eq!(out.status.code(), Some(0));
    assert!(out.stderr.is_empty(), "{}", text(&out.stderr));
    let first_screen: String = text(&out.stdout).lines().take(25).collect::<Vec<_>>().join("\n");
    for word in
        ["stale-backend", "10.244.1.10", "lookups failed", "client_dns.pcap00.gz:", "kubectl"]
    {
        assert!(first_screen.contains(word), "{word} is missing in\n{first_screen}");
    }
}

/// What a report says to type next can be typed wherever the report was made.
#[test]
fn the_story_that_a_report_offers_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my cap.pcap.gz");
    fs::copy(capture("node-death-vxlan/client_dns.pcap00.gz"), &file).unwrap();
    let file = file.to_string_lossy().into_owned();
    let said = text(&dnswhy(&["analyze", &file]).stdout);
    let offered = |said: &str| {
        let line = said.lines().find(|line| line.contains("dnswhy explain "));
        line.map(|line| line.trim().to_owned())
    };
    let line = offered(&said).unwrap();
    let at = line.strip_prefix("dnswhy explain '").unwrap();
    let at = at.strip_suffix("' CAPTURE...").unwrap();
    assert!(at.starts_with("my cap.pcap.gz:"), "{line}");
    let story = dnswhy(&["explain", at, &file]);
    assert_eq!(story.status.code(), Some(0), "{}", text(&story.stderr));
    // What is masked or gone cannot be asked for.
    assert_eq!(offered(&text(&dnswhy(&["analyze", "--anonymize", &file]).stdout)), None);
    let stream = Stdio::from(fs::File::open(&file).unwrap());
    let piped = command().args(["analyze", "-"]).stdin(stream).output().unwrap();
    assert_eq!(offered(&text(&piped.stdout)), None);
}

#[test]
fn a_directory_a_glob_and_a_pipe_say_the_same() {
    let file = capture("search-storm/client_dns.pcap00.gz");
    let verdict = |out: &Output| text(&out.stdout).lines().take(2).collect::<Vec<_>>().join("\n");
    let named = dnswhy(&["analyze", &file]);
    let globbed = dnswhy(&["analyze", &capture("search-storm/*pcap00*")]);
    assert_eq!(verdict(&named), verdict(&globbed));
    let piped =
        command().args(["analyze", "-"]).stdin(fs::File::open(&file).unwrap()).output().unwrap();
    assert_eq!(verdict(&named), verdict(&piped));
}

#[test]
fn a_missing_file_among_good_ones_is_a_warning() {
    let good = capture("healthy-mixed-sll2");
    let out = dnswhy(&["analyze", &good, "/nowhere/at/all.pcap"]);
    assert_eq!(out.status.code(), Some(0));
    let said = text(&out.stderr);
    assert!(said.contains("all.pcap: no such file or directory"), "{said}");
    assert!(text(&out.stdout).contains("all.pcap"), "the report says it too");
}

#[test]
fn a_port_takes_no_capture_for_another_one() {
    let file = capture("search-storm/client_dns.pcap00.gz");
    for ports in [&["--port", "5353"][..], &["--port", "5353,5354"], &["--port=1", "--port", "2"]] {
        let out = dnswhy(&[&["analyze"], ports, &[&file]].concat());
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    }
    let none = text(&dnswhy(&["analyze", "--threads", "0", &file]).stderr);
    assert!(none.contains("expected a number of 1 or more"), "{none}");
    let nowhere = dnswhy(&["analyze", "-o", "/nowhere/at/all.html", &file]);
    assert_eq!(nowhere.status.code(), Some(2));
    let said = text(&nowhere.stderr);
    assert!(said.contains("/nowhere/at/all.html") && !said.contains(".partial"), "{said}");
    // A focus that leaves nothing out is none to be careful about.
    let all = text(&dnswhy(&["analyze", "--from", "2026-01-01 00:00:00", &file]).stdout);
    assert!(!all.contains("only a part is looked at"), "{all}");
}

#[test]
fn nothing_readable_is_an_error() {
    let out = dnswhy(&["analyze", "/nowhere/at/all.pcap"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(out.stdout.is_empty());
    assert!(text(&out.stderr).contains("no capture could be read"), "{}", text(&out.stderr));
    assert_eq!(dnswhy(&["analyze"]).status.code(), Some(2));
    assert_eq!(dnswhy(&["frobnicate"]).status.code(), Some(2));
}

#[test]
fn a_file_that_is_no_capture_is_named() {
    let out = dnswhy(&["analyze", &capture("search-storm"), &capture("search-storm/label.json")]);
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stderr).contains("label.json"), "{}", text(&out.stderr));
}

#[test]
fn a_file_cut_in_the_middle_of_a_record_is_read_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(capture("healthy-one-sided/client_dns.pcap00.gz")).unwrap();
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(whole.as_slice()), &mut plain).unwrap();
    let cut = folder.path().join("cut.pcap");
    fs::write(&cut, &plain[..plain.len() - 7]).unwrap();
    fs::write(folder.path().join("empty.pcap"), b"").unwrap();
    let out = dnswhy(&["analyze", "-f", "json", &folder.path().to_string_lossy()]);
    assert_eq!(out.status.code(), Some(0));
    let said = text(&out.stderr);
    assert!(said.contains("cut.pcap: cut short in the middle of the record"), "{said}");
    assert!(said.contains("empty.pcap"), "{said}");
    let report: dnswhy::report::json::Report = serde_json::from_slice(&out.stdout).unwrap();
    assert!(report.capture.frames > 100);
}

#[test]
fn a_closed_pipe_is_a_quiet_success() {
    let mut child = command()
        .args(["transactions", &capture("search-storm")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(out.stderr.is_empty(), "{}", text(&out.stderr));
}

#[test]
fn an_incident_as_bad_as_asked_for_matches() {
    let bad = capture("node-death-vxlan");
    assert_eq!(dnswhy(&["analyze", "--fail-on", "low", &bad]).status.code(), Some(1));
    assert_eq!(dnswhy(&["analyze", "--fail-on", "critical", &bad]).status.code(), Some(0));
    let good = capture("healthy-mixed-sll2");
    assert_eq!(dnswhy(&["analyze", "--fail-on", "low", &good]).status.code(), Some(0));
}

#[test]
fn a_report_goes_to_a_file_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.md");
    let out = dnswhy(&[
        "analyze",
        "-f",
        "markdown",
        "-o",
        &path.to_string_lossy(),
        &capture("stale-vtep-mac/client_dns.pcap00.gz"),
    ]);
    assert_eq!(out.status.code(), Some(0));
    assert!(out.stdout.is_empty());
    assert!(fs::read_to_string(path).unwrap().contains("path-broken-pair"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn one_analysis_gives_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let out = dnswhy(&[
        "analyze",
        "-o",
        &at("report.html"),
        "-o",
        &format!("json={}", at("report.out")),
        "-o",
        &at("report.md"),
        "-o",
        "-",
        &capture("node-death-vxlan/client_dns.pcap00.gz"),
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with("DNS DEGRADED"));
    let page = fs::read_to_string(at("report.html")).unwrap();
    for part in ["<!DOCTYPE html>", "stale-backend", "The packets that prove it", "</html>"] {
        assert!(page.contains(part), "{part} is missing");
    }
    let report: dnswhy::report::json::Report =
        serde_json::from_str(&fs::read_to_string(at("report.out")).unwrap()).unwrap();
    assert!(report.incidents[0].display_filter.contains("ip.addr == 10.244.1.10"));
    assert!(fs::read_to_string(at("report.md")).unwrap().contains("For the provider"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("report.md").to_string_lossy().into_owned();
    let bad = folder.path().join("nowhere/report.json").to_string_lossy().into_owned();
    let out = dnswhy(&["analyze", "-o", &good, "-o", &bad, &capture("healthy-mixed-sll2")]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("failed to write"), "{}", text(&out.stderr));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let unclear = dnswhy(&["analyze", "-o", "report", &capture("healthy-mixed-sll2")]);
    assert_eq!(unclear.status.code(), Some(2));
    assert!(text(&unclear.stderr).contains("-o json=report"), "{}", text(&unclear.stderr));
}

#[test]
fn lookups_and_transactions_are_lines_of_json() {
    for command in ["lookups", "transactions"] {
        let out = dnswhy(&[command, &capture("healthy-mixed-sll2")]);
        let lines = text(&out.stdout);
        assert!(lines.lines().count() > 200);
        for line in lines.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(row["client"].is_string() && row["outcome"].is_string());
        }
    }
}

#[test]
fn rules_explain_themselves() {
    let all = text(&dnswhy(&["rules"]).stdout);
    for rule in dnswhy::detect::ALL {
        assert!(all.contains(rule.id));
        let one = text(&dnswhy(&["rules", rule.id]).stdout);
        for part in ["**Signature.**", "**Needs.**", "**Not this.**", "**Cannot tell.**", "Source:"]
        {
            assert!(one.contains(part), "{} lacks {part}", rule.id);
        }
    }
    let unknown = dnswhy(&["rules", "no-such-rule"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("no-such-rule"));
}

#[test]
fn what_people_read_is_in_the_language_that_was_asked_for() {
    let path = capture("node-death-vxlan/client_dns.pcap00.gz");
    let english = text(&dnswhy(&["analyze", &path]).stdout);
    let said = text(&dnswhy(&["analyze", "--lang", "zh", &path]).stdout);
    assert!(said.starts_with("DNS 部分异常\n") && said.contains("kubectl"), "{said}");
    let by_variable = command().args(["analyze", &path]).env("DNSWHY_LANG", "zh").output().unwrap();
    assert_eq!(text(&by_variable.stdout), said);
    // A Chinese terminal is no wish for a Chinese report.
    let by_locale = command().args(["analyze", &path]).env("LANG", "zh_CN.UTF-8").output().unwrap();
    assert_eq!(text(&by_locale.stdout), english);
    let json = |lang| dnswhy(&["analyze", "-f", "json", "--lang", lang, &path]).stdout;
    assert_eq!(json("zh"), json("en"));
    let rule = text(&dnswhy(&["rules", "stale-backend", "--lang", "zh"]).stdout);
    assert!(rule.contains("**看不出。**") && rule.contains("`dead-backend`"), "{rule}");
    let story = text(&dnswhy(&["explain", "--lang", "zh", &format!("{path}:100")]).stdout);
    assert!(story.starts_with("帧 "), "{story}");
    assert_eq!(dnswhy(&["analyze", "--lang", "fr", &path]).status.code(), Some(2));
}

#[test]
fn two_reports_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (bad, good) = (at("bad.json"), at("good.json"));
    dnswhy(&["analyze", "-o", &bad, &capture("node-death-vxlan")]);
    dnswhy(&["analyze", "-o", &good, &capture("healthy-mixed-sll2")]);
    let better = text(&dnswhy(&["compare", &bad, &good]).stdout);
    assert!(better.contains("it is better") && better.contains("GONE"), "{better}");
    assert!(better.contains("stale-backend"), "{better}");
    let worse = dnswhy(&["compare", "-f", "json", &good, &bad]);
    let worse: serde_json::Value = serde_json::from_slice(&worse.stdout).unwrap();
    assert_eq!(worse["schema"], "dnswhy.comparison/1");
    assert!(worse["headline"].as_str().unwrap().starts_with("it is worse"));
    assert_eq!(worse["new"][0]["rule"], "stale-backend");
    let same = text(&dnswhy(&["compare", "-f", "markdown", &bad, &bad]).stdout);
    assert!(same.contains("## STILL THERE") && !same.contains("## GONE"), "{same}");
    let wrong = dnswhy(&["compare", &bad, &capture("node-death-vxlan/client_dns.pcap00.gz")]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("dnswhy analyze -o json="), "{}", text(&wrong.stderr));
}

#[test]
fn a_package_gets_completions_and_man_pages() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&dnswhy(&["completions", shell]).stdout);
        assert!(script.contains("analyze") && script.contains("anonymize"), "{shell}");
    }
    let page = text(&dnswhy(&["man"]).stdout);
    assert!(page.contains(".TH dnswhy 1") && page.contains("compare"));
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("man1");
    assert_eq!(dnswhy(&["man", "--dir", &into.to_string_lossy()]).status.code(), Some(0));
    assert!(into.join("dnswhy-analyze.1").is_file());
}

#[test]
fn output_is_plain_unless_colour_is_asked_for() {
    let file = capture("search-storm");
    assert!(!dnswhy(&["analyze", &file]).stdout.contains(&0x1b));
    assert!(dnswhy(&["analyze", "--color", "always", &file]).stdout.contains(&0x1b));
}

#[test]
fn standard_input_that_is_no_capture_is_an_error() {
    let mut child = command()
        .args(["analyze", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"this is no capture, however long it may be").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(!out.stderr.is_empty());
}
