//! What the command line names: files, patterns, directories and standard input.
//!
//! Patterns are for shells that leave them alone. Directories are searched for regular files to any
//! depth, without following links to directories, so that the search ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::{InputProblem, Reason, Remote};

/// All that could be found, in the order of paths, whatever the order of the arguments.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) candidates: Vec<Candidate>,
    /// The directories that were searched, as they really are, and as they were named.
    pub(super) directories: Vec<(PathBuf, PathBuf)>,
    pub(super) problems: Vec<InputProblem>,
}

/// A file that may be a capture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// Its whole path: the real path of its directory, and its name in it.
    pub(super) location: PathBuf,
    /// The file that this really is, behind all links.
    pub(super) real: PathBuf,
    /// The path by which it was found.
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Whether it was found in a directory, rather than named.
    pub(super) searched: bool,
}

/// How a candidate is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Can be opened as often as wanted.
    File,
    /// A FIFO, or a device: can be read once.
    Stream,
    /// Standard input.
    Stdin,
    /// On another machine, by its place in the list of those.
    Remote(usize),
}

/// Finds the files that `named` stands for, beside those that lie elsewhere.
pub(super) fn find(named: &[PathBuf], remotes: &[Arc<dyn Remote>]) -> Found {
    let mut found = Found::default();
    for (place, remote) in remotes.iter().enumerate() {
        let address = PathBuf::from(remote.address());
        found.candidates.push(Candidate {
            location: address.clone(),
            real: address.clone(),
            path: address,
            kind: Kind::Remote(place),
            searched: false,
        });
    }
    for path in named {
        found.name(path);
    }
    found.candidates.sort();
    found.directories.sort();
    found.directories.dedup();
    found
}

impl Found {
    fn name(&mut self, path: &Path) {
        if path == Path::new("-") {
            return self.candidates.push(Candidate {
                location: path.to_owned(),
                real: path.to_owned(),
                path: path.to_owned(),
                kind: Kind::Stdin,
                searched: false,
            });
        }
        match fs::metadata(path) {
            Ok(_) => self.add(path),
            Err(error) => match path.to_str().filter(|text| text.contains(['*', '?', '['])) {
                Some(pattern) => self.expand(pattern),
                None => self.problem(path, Reason::system(&error)),
            },
        }
    }

    fn expand(&mut self, pattern: &str) {
        let paths = match glob::glob(pattern) {
            Ok(paths) => paths,
            Err(error) => {
                let reason = Reason::BadPattern(error.msg.to_owned());
                return self.problem(Path::new(pattern), reason);
            }
        };
        let mut any = false;
        for path in paths {
            any = true;
            match path {
                Ok(path) => self.add(&path),
                Err(error) => self.problem(error.path(), Reason::system(error.error())),
            }
        }
        if !any {
            self.problem(Path::new(pattern), Reason::NoMatch);
        }
    }

    fn add(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(data) if data.is_dir() => {
                let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                self.directories.push((real, path.to_owned()));
                self.search(path);
            }
            Ok(data) => {
                let kind = if data.is_file() { Kind::File } else { Kind::Stream };
                self.candidates.push(Candidate::at(path, kind, false));
            }
            Err(error) => self.problem(path, Reason::system(&error)),
        }
    }

    /// Searches a directory to any depth, without following links to directories, so that it ends.
    fn search(&mut self, directory: &Path) {
        for entry in WalkDir::new(directory) {
            match entry {
                // A FIFO or device in a directory was not asked for and may block for ever.
                Ok(entry) if fs::metadata(entry.path()).is_ok_and(|data| data.is_file()) => {
                    self.candidates.push(Candidate::at(entry.path(), Kind::File, true));
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(directory);
                    let reason = error
                        .io_error()
                        .map_or_else(|| Reason::System(error.to_string()), Reason::system);
                    self.problem(path, reason);
                }
            }
        }
    }

    fn problem(&mut self, path: &Path, reason: Reason) {
        self.problems.push(InputProblem { path: path.to_string_lossy().into_owned(), reason });
    }
}

impl Candidate {
    /// Whether it can be opened as often as wanted, and its path says where it was taken.
    pub(super) fn is_a_file(&self) -> bool {
        matches!(self.kind, Kind::File | Kind::Remote(_))
    }

    fn at(path: &Path, kind: Kind, searched: bool) -> Self {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let location = match (fs::canonicalize(directory), path.file_name()) {
            (Ok(directory), Some(name)) => directory.join(name),
            _ => path.to_owned(),
        };
        Self {
            real: fs::canonicalize(path).unwrap_or_else(|_| location.clone()),
            location,
            path: path.to_owned(),
            kind,
            searched,
        }
    }
}

/// The deepest folder with all of `files`.
pub(super) fn common_folder<'a>(files: impl IntoIterator<Item = &'a Path>) -> PathBuf {
    let folders: BTreeSet<&Path> = files.into_iter().filter_map(Path::parent).collect();
    let mut folders = folders.into_iter();
    let mut common = folders.next().unwrap_or(Path::new("")).to_owned();
    for folder in folders {
        while !folder.starts_with(&common) && common.pop() {}
    }
    common
}

/// `path` relative to `folder`, with `/` between its parts.
pub(super) fn relative(path: &Path, folder: &Path) -> String {
    let parts: Vec<_> = path
        .strip_prefix(folder)
        .unwrap_or(path)
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_folder_is_the_deepest_one() {
        let common = |paths: &[&str]| common_folder(paths.iter().map(Path::new));
        assert_eq!(common(&["/a/b/x", "/a/b/y"]), Path::new("/a/b"));
        assert_eq!(common(&["/a/bc/x", "/a/b/y", "/a/b/c/z"]), Path::new("/a"));
        assert_eq!(common(&["/a/x", "/b/y"]), Path::new("/"));
        assert_eq!(relative(Path::new("/a/b/c/x"), Path::new("/a")), "b/c/x");
    }
}
