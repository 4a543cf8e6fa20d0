//! Names from the network stay names: one corpus of hostile ones for every format.
//!
//! A pod asks for names that try to be something else: terminal escapes, markup, formulas, bytes
//! that are no text, characters that turn the reading direction.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dnswhy::analysis::{Options, Sinks, run};
use dnswhy::capture::Inventory;
use dnswhy::report::{Format, Named, Names, Style, View, trace, write};
use dnswhy::testkit::{PcapOptions, Scenario};

/// Labels, as a zone file would write their bytes.
const HOSTILE: [&str; 18] = [
    r"\027[31mred",
    r"\027]0;title\007x",
    r"\013\010forged line",
    r"<script>alert(1)</script>",
    r#""><img src=x onerror=alert(1)>"#,
    r"'onmouseover='alert(1)",
    r"</style><b>bold</b>",
    r"](javascript:alert(1))",
    r"|cell|cell|",
    r"```\010# heading",
    r"&lt;b&gt;",
    r"{{7*7}}",
    r"=cmd|'/c calc'!A1",
    r"@SUM(1,1)",
    r"+1+1",
    r"\226\128\174gnp.exe",
    r"\255\254\192\175",
    r"$(reboot)`reboot`;reboot",
];

/// A capture in which every hostile name times out and fails, so that it is told of.
fn capture() -> (tempfile::TempDir, Vec<PathBuf>) {
    let mut text = String::from("pod = 10.244.1.7:40001\ndns = 10.96.0.10\n\n");
    for (index, label) in HOSTILE.iter().enumerate() {
        let name = quoted(label);
        for attempt in 0..4 {
            let at = index as f64 * 40.0 + f64::from(attempt) * 5.0;
            text.push_str(&format!(
                "{at:.3}  pod > dns  id {:04x}  rd  A {name}.\n",
                0x100 + index
            ));
        }
    }
    text.push_str("900.000  pod > dns  id 0fff  rd  A example.com.\n");
    text.push_str("900.001  pod < dns  id 0fff  example.com. 300 A 203.0.113.7\n");
    let folder = tempfile::tempdir().unwrap();
    let files = Scenario::parse(&text).write_pcap(&PcapOptions::default());
    let paths: Vec<PathBuf> = files
        .into_iter()
        .enumerate()
        .map(|(index, bytes)| {
            let path = folder.path().join(format!("hostile.pcap{index}"));
            fs::write(&path, bytes).unwrap();
            path
        })
        .collect();
    (folder, paths)
}

/// Every byte that is no letter or digit written as `\DDD`, which the scenario language reads.
fn quoted(label: &str) -> String {
    let mut out = String::new();
    let mut rest = label;
    while let Some(c) = rest.chars().next() {
        if c == '\\' && rest.len() >= 4 && rest[1..4].bytes().all(|b| b.is_ascii_digit()) {
            out.push_str(&rest[..4]);
            rest = &rest[4..];
            continue;
        }
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else {
            out.push_str(&format!("\\{:03}", u32::from(c)));
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn reports() -> Vec<(Format, String)> {
    let (_folder, files) = capture();
    let inventory = Inventory::take(&files, &[]).unwrap();
    let options = Options::default();
    let analysis = run(&inventory, &options, Sinks::default(), &mut |_| {});
    assert!(!analysis.incidents.is_empty());
    let traces = trace(&inventory, &options, &analysis, &mut |_| {});
    // A cluster's own words are no more to be trusted than the network's.
    let mut names = Names::default();
    let named = |name: &str| Named {
        kind: "pod",
        namespace: Some("<b>ns</b>".to_owned()),
        name: name.to_owned(),
        node: Some("\u{1b}[31mnode\u{202e}".to_owned()),
    };
    names.add("10.244.1.7".parse().unwrap(), named("<script>alert(2)</script>"));
    let view = View::of(&analysis)
        .with_names(names)
        .with_ladders(traces.into_iter().map(|trace| trace.ladder).collect());
    [Format::Text, Format::Markdown, Format::Html, Format::Json]
        .into_iter()
        .map(|format| {
            let mut out = Vec::new();
            write(&view, format, Style::default(), &mut out).unwrap();
            (format, String::from_utf8(out).expect("every report is UTF-8"))
        })
        .collect()
}

/// What reorders or controls a line, whoever shows it.
fn is_control(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn every_format_shows_hostile_names_as_plain_text() {
    for (format, report) in reports() {
        let bad: Vec<char> = report.chars().filter(|c| is_control(*c)).collect();
        assert!(bad.is_empty() || format == Format::Json, "{format:?}: {bad:?}");
        let told = report.contains("alert(1)")
            || report.contains("alert\\(1")
            || report.contains("script");
        assert!(told, "{format:?} does not tell of the names at all, so nothing is tested");
    }
}

#[test]
fn a_page_has_no_element_but_its_own() {
    let (_, page) = reports().into_iter().find(|(format, _)| *format == Format::Html).unwrap();
    let lower = page.to_ascii_lowercase();
    for part in ["<script", "<img", "<b>ns", "<iframe", "javascript:alert(1)\"", "<b>bold"] {
        assert!(!lower.contains(part), "{part}");
    }
    // Attributes of the page's own elements are the only ones.
    for tag in lower.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let names = tag.split('=').filter_map(|before| before.split_whitespace().next_back());
        let handler =
            names.filter(|name| name.starts_with("on") && tag.contains(&format!("{name}=")));
        assert_eq!(handler.count(), 0, "an event handler in <{tag}>");
    }
}

#[test]
fn a_ticket_has_no_markup_but_its_own() {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    let (_, text) = reports().into_iter().find(|(format, _)| *format == Format::Markdown).unwrap();
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                panic!("a link to {dest_url}")
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                let own = html.trim().is_empty()
                    || html.starts_with("<details>")
                    || html.starts_with("</details>");
                assert!(own, "{html}");
            }
            _ => {}
        }
    }
    assert!(!text.lines().any(|line| line.starts_with("# heading")));
}

#[test]
fn json_holds_what_was_captured_and_parses() {
    let (_, text) = reports().into_iter().find(|(format, _)| *format == Format::Json).unwrap();
    let report: dnswhy::report::json::Report = serde_json::from_str(&text).unwrap();
    assert!(report.incidents[0].impact.names > 10, "{}", report.incidents[0].impact.names);
}

#[test]
fn no_cell_of_a_list_begins_a_formula() {
    let (_folder, files) = capture();
    let out = Command::new(env!("CARGO_BIN_EXE_dnswhy"))
        .args(["transactions", "-f", "csv"])
        .args(&files)
        .output()
        .unwrap();
    let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(out.stdout.as_slice());
    let mut seen = 0;
    for row in rows.records() {
        for cell in &row.unwrap() {
            seen += 1;
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
            assert!(!cell.chars().any(is_control), "{cell:?}");
        }
    }
    assert!(seen > 100);
}
