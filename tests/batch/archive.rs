//! An archive as teams keep them, made anew for each test: real captures beside made ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use dnswhy::testkit::{Compression, Fate, PcapOptions, Scenario, Situation};
use serde_json::Value;

/// Seconds of a day.
pub(crate) const DAY: f64 = 86_400.0;

/// A folder with an archive in it, and one for reports.
pub(crate) struct Archive {
    folder: tempfile::TempDir,
}

/// What a real capture of the archive must be found to show.
pub(crate) struct Expected {
    /// Its set.
    pub(crate) set: String,
    /// The rules that must be named, each with its alternatives; none for a healthy one.
    pub(crate) rules: Vec<String>,
    /// Whether nobody felt it, so that information is loud enough.
    pub(crate) harmless: bool,
}

impl Archive {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("archive")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A made ring, compressed, in files of so many frames.
    pub(crate) fn put_made(&self, set: &str, text: &str, frames_per_file: usize) {
        let options = PcapOptions {
            compression: Compression::Gzip,
            frames_per_file: Some(frames_per_file),
            ..PcapOptions::default()
        };
        for (number, file) in Scenario::parse(text).write_pcap(&options).iter().enumerate() {
            self.put(&format!("{set}.pcap{number:02}.gz"), file);
        }
    }

    /// Sets that cannot be read, or not to their ends; returns their names.
    pub(crate) fn put_broken(&self) -> [&'static str; 4] {
        let whole = Scenario::parse(&healthy(50, 0.0)).write_pcap(&PcapOptions::default());
        self.put("broken/n1/2026-01-05/client_dns.pcap00", b"this is no capture, but is named so");
        self.put("broken/n2/2026-01-05/client_dns.pcap00", b"");
        self.put("broken/n3/2026-01-05/client_dns.pcap00.gz", &gzip(&whole[0])[..7]);
        self.put("broken/n4/2026-01-05/client_dns.pcap00", &whole[0][..whole[0].len() - 5]);
        self.put("broken/n4/2026-01-05/notes.txt", b"what we saw that day");
        ["broken/n1", "broken/n2", "broken/n3", "broken/n4"]
    }

    /// The captures of a laboratory below `from`, compressed, each scenario a cluster of its own,
    /// for they all use the same addresses; only those of at most so many bytes.
    pub(crate) fn put_real(&self, from: &Path, most: u64) -> Vec<Expected> {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        let mut expected = Vec::new();
        for folder in folders {
            let Ok(label) = fs::read(folder.join("label.json")) else { continue };
            let label: Value = serde_json::from_slice(&label).unwrap();
            let scenario = folder.file_name().unwrap().to_string_lossy().into_owned();
            let captures: Vec<PathBuf> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.to_string_lossy().contains(".pcap"))
                .collect();
            let bytes: u64 = captures.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
            if bytes > most {
                continue;
            }
            for capture in captures {
                let name = capture.file_name().unwrap().to_string_lossy().into_owned();
                let (node, date) = (name.split('_').next().unwrap(), "2026-11-20");
                let bytes = fs::read(&capture).unwrap();
                let plain = name.strip_suffix(".gz").is_none();
                let name = if plain { format!("{name}.gz") } else { name.clone() };
                let bytes = if plain { gzip(&bytes) } else { bytes };
                self.put(&format!("lab-{scenario}/{node}/{date}/{name}"), &bytes);
            }
            let rules = label["expected_root_causes"].as_array().unwrap().iter();
            expected.push(Expected {
                harmless: label["harmless"] == true,
                set: format!("lab-{scenario}/client/2026-11-20/client_dns"),
                rules: rules
                    .map(|rule| rule.as_str().unwrap().to_owned())
                    .filter(|rule| rule != "none")
                    .collect(),
            });
        }
        expected
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Node `n` with three pods, and three backends behind a service.
fn node(n: u8) -> Situation {
    Situation::new(&format!(
        "capture node sll2\nservice kube-dns = 10.96.0.10\ndns1 = 10.244.201.10\n\
         dns2 = 10.244.202.10\ndns3 = 10.244.203.10\npod = 10.244.{n}.2\nnear = 10.244.{n}.3\n\
         third = 10.244.{n}.4"
    ))
}

/// A minute of node `n` from `start` on, in which the backends in `silent` answer nothing from the
/// tenth second on.
pub(crate) fn minute(n: u8, start: f64, silent: &[&str]) -> String {
    asking(n, start, &["dns1", "dns2", "dns3"], silent)
}

/// The same where the node's clients are kept to some of the backends.
pub(crate) fn asking(n: u8, start: f64, asked: &[&str], silent: &[&str]) -> String {
    let mut situation = node(n);
    for round in 0..60_u8 {
        for (index, via) in asked.iter().copied().enumerate() {
            let lost = round >= 10 && silent.contains(&via);
            let fate = if lost { Fate::Lost } else { Fate::Answered };
            // Nodes do not ask in step.
            let offset = 0.2 * f64::from(u8::try_from(index).unwrap()) + 0.001 * f64::from(n);
            let client = ["pod", "near", "third"][usize::from(round % 3)];
            situation.ask(start + f64::from(round) + offset, client, "kube-dns", via, fate);
        }
    }
    situation.text().to_owned()
}

/// A minute in which nothing fails.
pub(crate) fn healthy(n: u8, start: f64) -> String {
    minute(n, start, &[])
}
