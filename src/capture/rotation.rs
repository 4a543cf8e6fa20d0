//! What rotation and compression add to the name of a capture.
//!
//! Rules, from the outside in: a compression ending (logrotate); a number behind the capture ending
//! (`tcpdump -C`: `x.pcap000`, `x.pcap12`; logrotate: `x.pcap.3`); the capture ending; then a time
//! (`tcpdump -G` with an strftime pattern) and a counter of five digits beside it (`dumpcap -b`:
//! `x_00001_20240102030405.pcapng`, or the other way round).
//!
//! A number alone before the capture ending stays: `node1.pcap` and `node2.pcap` are two places.

use super::Compression;

/// Endings of capture files.
const ENDINGS: [&str; 6] = ["pcapng", "pcap", "cap", "ntar", "dmp", "dump"];

/// Widths of the groups of digits in the times that strftime patterns write.
const TIMES: [&[usize]; 12] = [
    &[4, 2, 2, 2, 2, 2], // %Y-%m-%d_%H:%M:%S
    &[4, 2, 2, 2, 2],    // %Y-%m-%d_%H:%M
    &[4, 2, 2, 2],       // %Y-%m-%d_%H
    &[4, 2, 2, 6],       // %Y-%m-%d_%H%M%S
    &[4, 2, 2, 4],       // %Y-%m-%d_%H%M
    &[8, 2, 2, 2],       // %Y%m%d-%H-%M-%S
    &[8, 6],             // %Y%m%d-%H%M%S
    &[8, 4],             // %Y%m%d-%H%M
    &[14],               // %Y%m%d%H%M%S
    &[4, 2, 2],          // %Y-%m-%d
    &[8],                // %Y%m%d
    &[10],               // %s
];

/// Digits of the counter of dumpcap.
const COUNTER: usize = 5;

/// The name without what rotation and compression added; all files of one ring have the same.
pub fn stem(name: &str) -> &str {
    let name = strip_number(Compression::strip_extension(name));
    let name = strip_ending(name).unwrap_or(name);
    let stem = strip_time(name);
    if stem.is_empty() { name } else { stem }
}

/// Whether the name is that of a capture.
pub fn looks_like_a_capture(name: &str) -> bool {
    strip_ending(strip_number(Compression::strip_extension(name))).is_some()
}

fn strip_ending(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)).then_some(stem)
}

/// `x.pcap` of `x.pcap12` and of `x.pcap.3`.
fn strip_number(name: &str) -> &str {
    let bare = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if strip_ending(bare).is_some() { bare } else { name }
}

/// A group of digits at the end of `name`, and what stands before it and its separator.
fn last_group(name: &str) -> Option<(&str, &str)> {
    let before = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let digits = name.get(before.len()..).filter(|digits| !digits.is_empty())?;
    Some((before, digits))
}

fn without_separator(name: &str) -> &str {
    let separators = ['-', '_', ':', '.', ' ', '+', 'T', 't'];
    name.strip_suffix(separators).unwrap_or(name)
}

fn strip_time(name: &str) -> &str {
    // A zone behind the time: `Z`, as in ISO 8601.
    let zoneless = name.strip_suffix(['Z', 'z']).unwrap_or(name);
    if let Some(rest) = strip_time_groups(zoneless) {
        return strip_counter(rest).unwrap_or(rest);
    }
    strip_counter(name).and_then(strip_time_groups).unwrap_or(name)
}

fn strip_counter(name: &str) -> Option<&str> {
    let (before, digits) = last_group(name)?;
    (digits.len() == COUNTER).then(|| without_word_separator(before))
}

/// Removes the longest time at the end, with its separator.
fn strip_time_groups(name: &str) -> Option<&str> {
    TIMES.iter().find_map(|widths| {
        let mut rest = name;
        let mut first = "";
        for (place, width) in widths.iter().rev().enumerate() {
            if place > 0 {
                rest = without_separator(rest);
            }
            let (before, digits) = last_group(rest)?;
            if digits.len() != *width {
                return None;
            }
            (rest, first) = (before, digits);
        }
        is_plausible(first).then(|| without_word_separator(rest))
    })
}

/// Whether a time can begin like this: with a year of these two centuries, or as seconds since 1970.
fn is_plausible(first: &str) -> bool {
    if first.len() == 10 {
        return first.starts_with('1') || first.starts_with('2');
    }
    first.starts_with("19") || first.starts_with("20")
}

fn without_word_separator(name: &str) -> &str {
    name.strip_suffix(['-', '_', '.', ' ', '@']).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_rotate_leaves_the_same_stem() {
        for name in [
            "dns.pcap",
            "dns.pcap0",
            "dns.pcap000",
            "dns.pcap12",
            "dns.pcap.3",
            "dns.pcap.3.gz",
            "dns.pcap7.zst",
            "dns.cap",
            "dns.PCAP",
            "dns-2024-01-02_03:04:05.pcap",
            "dns-2024-01-02_03-04-05.pcap.xz",
            "dns_20240102030405.pcap",
            "dns_20240102-030405.pcap",
            "dns-20240102T030405Z.pcap",
            "dns-2024-01-02T03:04:05.pcap",
            "dns.2024-01-02.pcap",
            "dns_1704164645.pcap",
            "dns-2024-01-02_03:04:05.pcap1",
            "dns_00001_20240102030405.pcapng",
            "dns-00001_20240102030405.pcap",
            "dns_20240102030405_00001.pcapng.lz4",
        ] {
            assert_eq!(stem(name), "dns", "{name}");
            assert!(looks_like_a_capture(name), "{name}");
        }
    }

    #[test]
    fn numbers_of_places_stay() {
        for (name, expected) in [
            ("node1.pcap", "node1"),
            ("node-2.pcap3", "node-2"),
            ("10.0.0.5.pcap", "10.0.0.5"),
            ("worker-12345.pcap", "worker-12345"),
            ("cap-99991231.pcap", "cap-99991231"),
            ("client_dns1", "client_dns1"),
            ("2024-01-02.pcap", "2024-01-02"),
            (".pcap", ""),
        ] {
            assert_eq!(stem(name), expected, "{name}");
        }
        assert!(!looks_like_a_capture("notes.txt"));
        assert!(!looks_like_a_capture("label.json"));
    }
}
