//! Which files of an archive make one capture set: one capture point's ring, without a long pause.
//!
//! The files of a ring lie in one directory and have the same name without what rotation adds. A
//! pause longer than asked for starts a new set: what lies behind it is another recording.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::Timestamp;
use crate::capture::ring_name;

/// What must be known of a file to say which set it belongs to.
#[derive(Debug, Clone)]
pub struct Facts<T> {
    /// Its directory, relative to the archive, with `/` between its parts; may be empty.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// Its first frame; `None` without frames, or where it cannot be read.
    pub first: Option<Timestamp>,
    /// The file.
    pub file: T,
}

/// The files of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSet<T> {
    /// Its place in the archive: the name of its reports, without an ending.
    pub name: String,
    /// Its files, in the order of their first frames; those without any come first.
    pub files: Vec<T>,
}

/// The name that the index has, which no set may take.
const RESERVED: &str = "index";

/// Sorts files into sets, by name, whatever their order. `last` is asked for the last frame of a
/// file where the first frames alone do not show that there was no pause of `gap`.
pub fn sets<T>(
    files: Vec<Facts<T>>,
    gap: Duration,
    last: &mut dyn FnMut(&T) -> Option<Timestamp>,
) -> Vec<CaptureSet<T>> {
    let mut rings: BTreeMap<(String, String), Vec<Facts<T>>> = BTreeMap::new();
    for file in files {
        let key = (file.folder.clone(), ring_name(&file.name).to_owned());
        rings.entry(key).or_default().push(file);
    }
    let mut taken = BTreeSet::from([RESERVED.to_owned()]);
    let mut found = Vec::new();
    for ((folder, stem), mut ring) in rings {
        ring.sort_by(|one, other| (one.first, &one.name).cmp(&(other.first, &other.name)));
        let stem = if stem.is_empty() { "capture" } else { &stem };
        let name = if folder.is_empty() { stem.to_owned() } else { format!("{folder}/{stem}") };
        for (number, part) in parts(ring, gap, last).into_iter().enumerate() {
            let begins = part.iter().find_map(|file| file.first).filter(|_| number > 0);
            let wanted =
                begins.map_or_else(|| name.clone(), |at| format!("{name}@{}", compact(at)));
            let name = free(&wanted, &mut taken);
            found.push(CaptureSet { name, files: part.into_iter().map(|one| one.file).collect() });
        }
    }
    found
}

/// A ring without its pauses.
fn parts<T>(
    ring: Vec<Facts<T>>,
    gap: Duration,
    last: &mut dyn FnMut(&T) -> Option<Timestamp>,
) -> Vec<Vec<Facts<T>>> {
    let mut parts: Vec<Vec<Facts<T>>> = Vec::new();
    for file in ring {
        let Some(part) = parts.last_mut() else {
            parts.push(vec![file]);
            continue;
        };
        let pauses = match (part.last().and_then(|before| before.first), file.first) {
            // A file lasts at least until its first frame: what follows soon after that follows
            // soon after its last one.
            (Some(before), Some(first)) if first.since(before) > gap => {
                let end = part.last().and_then(|before| last(&before.file)).unwrap_or(before);
                first.since(end) > gap
            }
            _ => false,
        };
        if pauses {
            parts.push(vec![file]);
        } else {
            part.push(file);
        }
    }
    parts
}

/// A time as a file name can hold it: `20260102T030405Z`.
fn compact(at: Timestamp) -> String {
    at.to_string()
        .chars()
        .take_while(|c| *c != '.')
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        + "Z"
}

/// `wanted`, or the next name that nobody has.
fn free(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as `path first last`, in minutes.
    fn names(files: &[(&str, i64, i64)], asked: &mut Vec<String>) -> Vec<String> {
        let at = |minutes: i64| Timestamp::from_parts(minutes * 60, 0);
        let facts = files.iter().map(|(path, first, last)| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            Facts {
                folder: folder.to_owned(),
                name: name.to_owned(),
                first: (*first >= 0).then(|| at(*first)),
                file: (path.to_string(), at(*last)),
            }
        });
        let gap = Duration::from_mins(10);
        let mut last = |file: &(String, Timestamp)| {
            asked.push(file.0.clone());
            Some(file.1)
        };
        let sets = sets(facts.collect(), gap, &mut last);
        let listed = sets.into_iter().map(|set| {
            let files: Vec<String> = set.files.into_iter().map(|file| file.0).collect();
            format!("{}: {}", set.name, files.join(" "))
        });
        listed.collect()
    }

    #[test]
    fn a_ring_is_a_set_and_a_pause_starts_another() {
        let mut asked = Vec::new();
        let files = [
            ("n1/dns.pcap1.gz", 5, 9),
            ("n1/dns.pcap0.gz", 0, 4),
            ("n2/dns.pcap0.gz", 0, 4),
            ("n1/dns.pcap2.gz", 30, 40),
            ("n1/other.pcap", 30, 40),
        ];
        assert_eq!(
            names(&files, &mut asked),
            [
                "n1/dns: n1/dns.pcap0.gz n1/dns.pcap1.gz",
                "n1/dns@19700101T003000Z: n1/dns.pcap2.gz",
                "n1/other: n1/other.pcap",
                "n2/dns: n2/dns.pcap0.gz",
            ]
        );
        assert_eq!(asked, ["n1/dns.pcap1.gz"], "only where first frames do not tell");
    }

    #[test]
    fn a_long_file_is_no_pause() {
        let files = [("dns.pcap0", 0, 55), ("dns.pcap1", 60, 61)];
        assert_eq!(names(&files, &mut Vec::new()), ["dns: dns.pcap0 dns.pcap1"]);
        let files = [("dns.pcap0", 0, 45), ("dns.pcap1", 60, 61)];
        assert_eq!(names(&files, &mut Vec::new()).len(), 2);
    }

    #[test]
    fn a_file_without_frames_joins_the_first_part() {
        let files = [("dns.pcap0", 0, 1), ("dns.pcap1", -1, 0), ("dns.pcap2", 60, 61)];
        assert_eq!(
            names(&files, &mut Vec::new()),
            ["dns: dns.pcap1 dns.pcap0", "dns@19700101T010000Z: dns.pcap2"]
        );
    }

    #[test]
    fn no_set_takes_the_place_of_the_index() {
        assert_eq!(names(&[("index.pcap", 0, 1)], &mut Vec::new()), ["index-2: index.pcap"]);
        assert_eq!(names(&[("a/index.pcap", 0, 1)], &mut Vec::new()), ["a/index: a/index.pcap"]);
    }
}
