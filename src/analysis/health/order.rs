//! The files of a ring: their order, and whether they fit together.
//!
//! Signature: with `tcpdump -W` names wrap and old numbers hold new data, so files are put in the
//! order of their first frames; this says where names tell another order. Files of one capture
//! point that overlap in time by more than 1 ms, or between which time passed for which frames are
//! to be expected (more than a second, and 20 times the mean pause), do not follow each other. A
//! file given twice, even compressed another way, is read once.
//!
//! Needs: at least two files. Effect: transactions run on across files, and a border is no edge. An
//! overlap makes time go back; what was open there is not judged.
//!
//! Cannot tell: whether a pause between two files is a file that is missing or a quiet hour.
//! `--point NAME=GLOB` says which files belong together where names do not.

use super::{CaptureRule, Facts, Health};
use crate::analysis::outcome::FileAccount;
use crate::base::Span;
use crate::base::words::{count, duration, list, plain, text};

/// Frames that two files hold together before their pace says anything.
const ENOUGH: u64 = 40;
/// How many mean pauses a pause between two files is longer than.
const TIMES: u32 = 20;
/// And how long it is at least.
const HOLE: std::time::Duration = std::time::Duration::from_secs(1);
/// How many borders are told one by one.
const TOLD: usize = 3;

pub(super) static RULE: CaptureRule = CaptureRule {
    id: "cap-order",
    title: "files of a ring out of order, overlapping or missing",
    references: &["rulebook 2.A cap-order", "tcpdump(8) -C, -W, -G"],
    source: include_str!("order.rs"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Vec<Health> {
    let mut health = Vec::new();
    if facts.duplicates > 0 {
        let inputs = count(facts.duplicates as u64, "input");
        health.push(RULE.note(text!("{inputs} given more than once and read once", inputs)));
    }
    let path = |file: crate::capture::FileId| {
        plain(facts.files.get(file.0 as usize).map_or("?", |file| &file.path))
    };
    let overlaps = facts.watch.overlaps();
    if !overlaps.is_empty() {
        let told = overlaps.iter().map(|overlap| {
            let by = duration(overlap.by);
            text!(
                "{earlier} goes on {by} past the beginning of {later}",
                earlier = path(overlap.earlier),
                by,
                later = path(overlap.later)
            )
        });
        health.push(RULE.caution(text!(
            "files of one capture point overlap: {told}. If they were taken at different places, \
             say so with --point NAME=GLOB",
            told = list(told, TOLD)
        )));
    }
    let (mut wrapped, mut holes) = (Vec::new(), Vec::new());
    for point in facts.points {
        let files: Vec<&FileAccount> =
            point.files.iter().filter_map(|file| facts.files.get(*file)).collect();
        if files.windows(2).any(|pair| by_name(&pair[0].path) > by_name(&pair[1].path)) {
            wrapped.push(plain(&point.name));
        }
        for pair in files.windows(2) {
            if let Some(hole) = hole(pair[0], pair[1]) {
                let (length, before, behind) =
                    (duration(hole), plain(&pair[0].path), plain(&pair[1].path));
                holes.push(text!("{length} between {before} and {behind}", length, before, behind));
            }
        }
    }
    if !wrapped.is_empty() {
        let points = list(wrapped, TOLD);
        health.push(RULE.note(text!(
            "the ring of {points} has wrapped; it is read in the order of time",
            points
        )));
    }
    if !holes.is_empty() {
        health.push(RULE.note(text!(
            "no frame for {holes}: a file is missing, or nobody asked",
            holes = list(holes, TOLD)
        )));
    }
    health
}

/// Names in the order in which rotation makes them, padded with zeros or not.
fn by_name(path: &str) -> (usize, &str) {
    (path.len(), path)
}

fn hole(before: &FileAccount, behind: &FileAccount) -> Option<std::time::Duration> {
    let (earlier, later): (Span, Span) = (before.stats.span?, behind.stats.span?);
    let frames = before.stats.frames + behind.stats.frames;
    if frames < ENOUGH || later.start <= earlier.end {
        return None;
    }
    let pause = later.start.since(earlier.end);
    let mean = (earlier.length() + later.length()) / u32::try_from(frames).unwrap_or(u32::MAX);
    (pause > HOLE.max(mean * TIMES)).then_some(pause)
}

#[cfg(test)]
mod tests {
    use crate::analysis::{Options, Sinks, run};
    use crate::capture::Inventory;
    use crate::testkit::{PcapOptions, Scenario};

    fn folder(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, times) in files {
            let text = format!("client = 10.0.0.5\ndns = 192.0.2.53\n{times}");
            let written = Scenario::parse(&text).write_pcap(&PcapOptions::default());
            std::fs::write(folder.path().join(name), &written[0]).unwrap();
        }
        let inventory = Inventory::take(&[folder.path().to_owned()], &[]).unwrap();
        let analysis = run(&inventory, &Options::default(), Sinks::default(), &mut |_| {});
        let health = analysis.health.into_iter().filter(|health| health.rule == "cap-order");
        health
            .map(|health| format!("{}{}\n", if health.serious { "!" } else { "" }, health.detail))
            .collect()
    }

    fn lookups(from: u32) -> String {
        format!(
            "repeat 50 every 0.1 from {from}
             0.000 client > dns  rd A n{{n}}.example.
             0.004 client < dns  n{{n}}.example. 60 A 203.0.113.7
             end"
        )
    }

    #[test]
    fn a_wrapped_ring_is_told_and_harmless() {
        let (old, new) = (lookups(0), lookups(5));
        let told = folder(&[("dns.pcap0", &new), ("dns.pcap1", &old)]);
        assert_eq!(told, "the ring of dns has wrapped; it is read in the order of time\n");
        assert_eq!(folder(&[("dns.pcap0", &old), ("dns.pcap1", &new)]), "");
    }

    #[test]
    fn files_that_overlap_are_no_ring() {
        let (one, other) = (lookups(0), lookups(3));
        let told = folder(&[("dns.pcap0", &one), ("dns.pcap1", &other)]);
        assert!(
            told.starts_with("!files of one capture point overlap: dns.pcap0 goes on 1.90 s"),
            "{told}"
        );
    }

    #[test]
    fn a_missing_file_leaves_a_hole() {
        let (one, other) = (lookups(0), lookups(30));
        let told = folder(&[("dns.pcap0", &one), ("dns.pcap2", &other)]);
        assert!(told.starts_with("no frame for 25.1 s between dns.pcap0 and dns.pcap2"), "{told}");
    }

    #[test]
    fn a_file_given_twice_is_read_once() {
        let one = lookups(0);
        let told = folder(&[("dns.pcap0", &one), ("copy.pcap", &one)]);
        assert_eq!(told, "1 input given more than once and read once\n");
    }
}
