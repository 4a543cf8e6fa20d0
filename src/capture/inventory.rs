//! Everything that will be analysed, in the order in which it will be.
//!
//! A ring wraps, so names say nothing about time: files are in the order of their first frame, then
//! of their displayed path. Nothing depends on the order in which inputs were named or on the
//! directory in which they all lie.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::duplicate::same_content;
use super::file::{Glimpse, Remote, Source, glimpse_path, glimpse_remote, glimpse_stream};
use super::input::{Candidate, Found, Kind, common_folder, find, relative};
use super::ring::{Place, Point, Rules, file_id, group};
use super::rotation::looks_like_a_capture;
use super::{CaptureFile, InputError, InputProblem, OpenError, Reason};
use crate::base::Timestamp;

/// The captures to analyse, where they were taken, and what was left out.
#[derive(Debug)]
pub struct Inventory {
    /// The files, in analysed order: a file's `FileId` is its index here.
    pub files: Vec<CaptureFile>,
    /// The capture points, by name: a `PointId` is an index here.
    pub points: Vec<Point>,
    /// What is left out, by path.
    pub problems: Vec<InputProblem>,
    /// Files of searched directories that neither are captures nor are named like one.
    pub ignored: usize,
}

/// A candidate that turned out to be a capture.
struct Capture {
    candidate: Candidate,
    glimpse: Glimpse,
    source: Source,
}

impl Inventory {
    /// Finds the captures that `named` stands for: files, patterns, directories, and `-` for
    /// standard input. `points` are the `--point NAME=GLOB` of the user; the first that matches the
    /// name or path of a file says where it was taken.
    ///
    /// # Errors
    /// If a pattern of `points` is none, or if there is nothing that can be read.
    pub fn take(named: &[PathBuf], points: &[(String, String)]) -> Result<Self, InputError> {
        Self::take_with(named, &[], points)
    }

    /// As [`Inventory::take`], with captures that lie elsewhere beside those named.
    ///
    /// # Errors
    /// As those of [`Inventory::take`].
    pub fn take_with(
        named: &[PathBuf],
        remotes: &[Arc<dyn Remote>],
        points: &[(String, String)],
    ) -> Result<Self, InputError> {
        let rules = Rules::parse(points)?;
        let Found { candidates, directories, problems } = find(named, remotes);
        let mut sorting = Sorting { problems, ..Sorting::default() };
        for candidate in candidates {
            sorting.candidate(candidate, remotes);
        }
        sorting.directories(&directories);
        sorting.same_contents();
        sorting.finish(&rules)
    }
}

/// An inventory in the making.
#[derive(Default)]
struct Sorting {
    captures: Vec<Capture>,
    /// Problems with files that exist, to be displayed relative to the common folder.
    left_out: Vec<(PathBuf, LeftOut)>,
    problems: Vec<InputProblem>,
    ignored: usize,
    /// The real files met so far, and where.
    met: BTreeMap<PathBuf, PathBuf>,
}

enum LeftOut {
    For(Reason),
    SameFile(PathBuf),
    SameContent(PathBuf),
}

impl Sorting {
    fn candidate(&mut self, candidate: Candidate, remotes: &[Arc<dyn Remote>]) {
        if let Some(first) = self.met.get(&candidate.real) {
            let left_out = LeftOut::SameFile(first.clone());
            return self.left_out.push((candidate.location, left_out));
        }
        self.met.insert(candidate.real.clone(), candidate.location.clone());
        match look(&candidate, remotes) {
            Ok((glimpse, source)) => self.captures.push(Capture { candidate, glimpse, source }),
            Err(Reason::Open(error)) if candidate.searched && is_no_capture(&candidate, &error) => {
                self.ignored += 1;
            }
            Err(reason) => self.left_out.push((candidate.location, LeftOut::For(reason))),
        }
    }

    /// Notes the searched directories without a capture.
    fn directories(&mut self, directories: &[(PathBuf, PathBuf)]) {
        for (real, named) in directories {
            let holds = |capture: &Capture| capture.candidate.location.starts_with(real);
            if !self.captures.iter().any(holds) {
                self.problems.push(InputProblem {
                    path: named.to_string_lossy().into_owned(),
                    reason: Reason::NoCapture,
                });
            }
        }
    }

    /// Keeps one of the files with the same content: the first by path.
    fn same_contents(&mut self) {
        let mut kept: Vec<Capture> = Vec::with_capacity(self.captures.len());
        let mut alike: BTreeMap<(u64, Option<Timestamp>), Vec<PathBuf>> = BTreeMap::new();
        for capture in std::mem::take(&mut self.captures) {
            let location = &capture.candidate.location;
            // Rings are full of files without a frame; that they are alike says nothing.
            if let (Some(digest), Kind::File) = (capture.glimpse.digest, capture.candidate.kind) {
                let alike = alike.entry((digest, capture.glimpse.first)).or_default();
                if let Some(same) = alike.iter().find(|other| same_content(other, location)) {
                    let left_out = LeftOut::SameContent(same.clone());
                    self.left_out.push((location.clone(), left_out));
                    continue;
                }
                alike.push(location.clone());
            }
            kept.push(capture);
        }
        self.captures = kept;
    }

    fn finish(mut self, rules: &Rules) -> Result<Inventory, InputError> {
        let files = self.captures.iter().filter_map(|capture| {
            capture.candidate.is_a_file().then_some(capture.candidate.location.as_path())
        });
        let left_out = self.left_out.iter().map(|(path, _)| path.as_path());
        let folder = common_folder(files.chain(left_out.filter(|path| path.is_absolute())));
        self.note_left_out(&folder);
        if self.captures.is_empty() {
            return Err(InputError::NothingReadable(self.problems));
        }

        let mut ordered: Vec<(Place, Capture)> = self
            .captures
            .into_iter()
            .map(|capture| (place(&capture.candidate, &folder), capture))
            .collect();
        ordered.sort_by(|(place, capture), (other_place, other)| {
            // What has no time comes last.
            let key = |first: Option<Timestamp>| (first.is_none(), first);
            key(capture.glimpse.first)
                .cmp(&key(other.glimpse.first))
                .then_with(|| place.display.cmp(&other_place.display))
        });
        let (places, captures): (Vec<Place>, Vec<Capture>) = ordered.into_iter().unzip();
        let (of_file, points) = group(&places, rules);
        let files = captures
            .into_iter()
            .zip(places)
            .zip(of_file)
            .enumerate()
            .map(|(index, ((capture, place), point))| CaptureFile {
                id: file_id(index),
                display: place.display,
                point,
                format: capture.glimpse.format,
                size: match &capture.source {
                    Source::Remote(remote) => Some(remote.size()),
                    Source::Path => {
                        fs::metadata(&capture.candidate.path).ok().map(|data| data.len())
                    }
                    Source::Stream(_) => None,
                },
                first: capture.glimpse.first,
                path: capture.candidate.path,
                source: capture.source,
            })
            .collect();
        Ok(Inventory { files, points, problems: self.problems, ignored: self.ignored })
    }

    fn note_left_out(&mut self, folder: &Path) {
        for (location, left_out) in std::mem::take(&mut self.left_out) {
            self.problems.push(InputProblem {
                path: relative(&location, folder),
                reason: match left_out {
                    LeftOut::For(reason) => reason,
                    LeftOut::SameFile(other) if other == location => Reason::NamedTwice,
                    LeftOut::SameFile(other) => Reason::SameFile(relative(&other, folder)),
                    LeftOut::SameContent(other) => Reason::SameContent(relative(&other, folder)),
                },
            });
        }
        self.problems.sort();
        self.problems.dedup();
    }
}

/// Looks into a candidate.
fn look(candidate: &Candidate, remotes: &[Arc<dyn Remote>]) -> Result<(Glimpse, Source), Reason> {
    let stream: Box<dyn Read + Send> = match candidate.kind {
        Kind::File => return Ok((glimpse_path(&candidate.path)?, Source::Path)),
        Kind::Remote(place) => {
            let remote = remotes.get(place).ok_or(Reason::Missing)?;
            return Ok((glimpse_remote(remote.as_ref())?, Source::Remote(Arc::clone(remote))));
        }
        Kind::Stream => {
            Box::new(File::open(&candidate.path).map_err(|error| Reason::system(&error))?)
        }
        Kind::Stdin => Box::new(std::io::stdin()),
    };
    Ok(glimpse_stream(stream)?)
}

/// Whether a file of a searched directory is simply something else: notes, a log, a label.
fn is_no_capture(candidate: &Candidate, error: &OpenError) -> bool {
    let name = candidate.location.file_name().unwrap_or_default();
    match error {
        OpenError::Empty | OpenError::NotACapture | OpenError::Unreadable(_) => {
            !looks_like_a_capture(&name.to_string_lossy())
        }
        _ => false,
    }
}

fn place(candidate: &Candidate, folder: &Path) -> Place {
    let full = candidate.location.to_string_lossy().into_owned();
    if !candidate.is_a_file() {
        // The path of a stream (`/dev/fd/63`) says nothing about where it was taken.
        let name = candidate.path.to_string_lossy().into_owned();
        return Place { name: name.clone(), folder: String::new(), display: name, full };
    }
    let display = relative(&candidate.location, folder);
    let (parent, name) = display.rsplit_once('/').unwrap_or(("", &display));
    Place { name: name.to_owned(), folder: parent.to_owned(), display: display.clone(), full }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Compression;
    use crate::capture::testing::{capture, compressed};

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, Vec<u8>)]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for (name, bytes) in files {
                let path = folder.path(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn take(&self, names: &[&str]) -> Result<Inventory, InputError> {
            let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
            Inventory::take(&paths, &[])
        }
    }

    fn summary(inventory: &Inventory) -> Vec<String> {
        let files = inventory.files.iter().map(|file| {
            let point = &inventory.points[usize::from(file.point.0)];
            assert_eq!(inventory.files[file.id.0 as usize].display, file.display);
            format!("{} at {}", file.display, point.name)
        });
        let problems = inventory.problems.iter().map(ToString::to_string);
        files.chain(problems).collect()
    }

    #[test]
    fn a_wrapped_ring_is_read_in_the_order_of_time() {
        let folder = Folder::new(&[
            ("dns.pcap0", capture(300, &[b"new"])),
            ("dns.pcap1", capture(100, &[b"old"])),
            ("dns.pcap2", capture(200, &[b"middle"])),
            ("dns.pcap3", capture(0, &[])),
            ("label.json", b"{}".to_vec()),
        ]);
        let expected =
            ["dns.pcap1 at dns", "dns.pcap2 at dns", "dns.pcap0 at dns", "dns.pcap3 at dns"];
        let searched = folder.take(&[""]).unwrap();
        assert_eq!(summary(&searched), expected);
        assert_eq!(searched.ignored, 1);
        let named = folder.take(&["dns.pcap2", "dns.pcap3", "dns.pcap1", "dns.pcap0"]).unwrap();
        assert_eq!(summary(&named), expected);
        let pattern = folder.take(&["dns.pcap*"]).unwrap();
        assert_eq!(summary(&pattern), expected);
    }

    #[test]
    fn paths_are_relative_to_the_deepest_folder_with_all_inputs() {
        let folder = Folder::new(&[
            ("a/n1/dns.pcap0", capture(1, &[b"1"])),
            ("a/n2/dns.pcap0", capture(2, &[b"2"])),
            ("b/n3/dns.pcap0", capture(3, &[b"3"])),
        ]);
        assert_eq!(summary(&folder.take(&["b"]).unwrap()), ["dns.pcap0 at dns"]);
        assert_eq!(
            summary(&folder.take(&["a/n2", "a/n1/dns.pcap0"]).unwrap()),
            ["n1/dns.pcap0 at n1/dns", "n2/dns.pcap0 at n2/dns"]
        );
    }

    #[test]
    fn one_bad_file_does_not_stop_the_others() {
        let folder = Folder::new(&[
            ("good.pcap", capture(1, &[b"1"])),
            ("empty.pcap", Vec::new()),
            ("cut.pcap", capture(1, &[])[..20].to_vec()),
            ("text.pcap", b"this is no capture".to_vec()),
            ("none/readme.txt", b"nothing here".to_vec()),
        ]);
        let inventory = folder.take(&["*.pcap", "gone.pcap", "*.cap", "none"]).unwrap();
        assert_eq!(summary(&inventory)[0], "good.pcap at good");
        let mut problems: Vec<_> = inventory
            .problems
            .iter()
            .map(|problem| {
                let name = problem.path.rsplit('/').next().unwrap();
                format!("{name}: {}", problem.reason)
            })
            .collect();
        problems.sort();
        assert_eq!(
            problems,
            [
                "*.cap: no file matches this pattern",
                "cut.pcap: cut short inside the file header",
                "empty.pcap: the file is empty",
                "gone.pcap: no such file or directory",
                "none: no capture in this directory",
                "text.pcap: not a pcap or pcapng capture",
            ]
        );
    }

    #[test]
    fn nothing_readable_is_an_error_that_says_why() {
        let folder = Folder::new(&[("empty.pcap", Vec::new())]);
        let error = folder.take(&["empty.pcap"]).unwrap_err().to_string();
        assert_eq!(error, "no capture could be read\n  empty.pcap: the file is empty");
        assert!(matches!(Inventory::take(&[], &[]), Err(InputError::NothingReadable(_))));
    }

    #[test]
    fn the_same_capture_is_read_once_however_it_is_given() {
        let ring = capture(1, &[b"one", b"two", b"three", b"four"]);
        let other = capture(1, &[b"one", b"two", b"three", b"five"]);
        let folder = Folder::new(&[
            ("a.pcap", ring.clone()),
            ("b.pcap", ring.clone()),
            ("c.pcap.gz", compressed(Compression::Gzip, &ring)),
            ("d.pcap", other),
            ("e.pcap", capture(0, &[])),
            ("f.pcap", capture(0, &[])),
        ]);
        let inventory = folder.take(&["d.pcap", "", "*.gz"]).unwrap();
        assert_eq!(
            summary(&inventory),
            [
                "a.pcap at a",
                "d.pcap at d",
                "e.pcap at e",
                "f.pcap at f",
                "b.pcap: the same content as a.pcap, read once",
                "c.pcap.gz: named more than once, read once",
                "c.pcap.gz: the same content as a.pcap, read once",
                "d.pcap: named more than once, read once",
            ]
        );
        assert!(inventory.problems.iter().all(|problem| problem.reason.is_duplicate()));
    }

    #[test]
    fn a_file_can_be_opened_again_and_gives_its_own_id() {
        let folder =
            Folder::new(&[("a.pcap", capture(9, &[b"x"])), ("b.pcap", capture(1, &[b"y"]))]);
        let inventory = folder.take(&[""]).unwrap();
        for _ in 0..2 {
            let mut reader = inventory.files[1].open().unwrap();
            let frame = reader.next_frame().unwrap().unwrap();
            assert_eq!((frame.seen.at.file().0, frame.bytes), (1, &b"x"[..]));
        }
        assert_eq!(inventory.files[1].size, Some(24 + 17));
        fs::remove_file(folder.path("a.pcap")).unwrap();
        let error = inventory.files[1].open().err().unwrap().to_string();
        assert_eq!(error, "a.pcap: no such file or directory");
    }

    #[cfg(unix)]
    #[test]
    fn a_fifo_is_read_once_and_from_its_start() {
        let folder = Folder::new(&[("a.pcap", capture(5, &[b"x"]))]);
        let fifo = folder.path("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let packet = [0x42; 1000];
        let file = compressed(Compression::Gzip, &capture(1, &[&packet[..]; 400]));
        let writer = {
            let fifo = fifo.clone();
            std::thread::spawn(move || fs::write(fifo, file))
        };
        let inventory = folder.take(&["a.pcap", "fifo"]).unwrap();
        let stream = &inventory.files[0];
        assert_eq!((stream.size, stream.path.as_path()), (None, fifo.as_path()));
        let mut reader = stream.open().unwrap();
        while let Some(frame) = reader.next_frame() {
            assert_eq!(frame.unwrap().bytes, packet);
        }
        assert_eq!(reader.stats().frames, 400);
        assert!(stream.open().err().unwrap().to_string().ends_with("only once"));
        writer.join().unwrap().unwrap();
    }
}
