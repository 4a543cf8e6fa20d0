//! What lies in an archive: every file that may be a capture, with its place below all archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::archive::{Facts, Fingerprint};
use crate::capture::{Location, Remote, looks_like_a_capture};

/// A file of an archive.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Entry {
    /// Where it can be read.
    pub(super) location: Location,
    /// What tells this version of it from another.
    pub(super) print: Fingerprint,
}

/// A file as a listing names it: nothing of it was read.
#[derive(Debug)]
pub(in crate::cli) struct Listed {
    /// The parts of its path, from the root of all archives on.
    pub(in crate::cli) path: Vec<String>,
    /// Its size in bytes.
    pub(in crate::cli) size: u64,
    /// When it was last written, in nanoseconds since the epoch.
    pub(in crate::cli) modified: i64,
    /// Where it can be read.
    pub(in crate::cli) location: Location,
    /// Whether it was named, rather than found in a folder.
    pub(in crate::cli) named: bool,
}

/// What was found, and what was wrong with what was named.
#[derive(Debug, Default)]
pub(in crate::cli) struct Listing {
    /// The files.
    pub(in crate::cli) files: Vec<Listed>,
    /// The folders that archives are, as parts of their paths.
    pub(in crate::cli) bases: Vec<Vec<String>>,
    /// What could not be looked at.
    pub(in crate::cli) problems: Vec<String>,
}

/// Lists all files of `archives` but those below `except`.
pub(super) fn list(archives: &[PathBuf], except: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    for archive in archives {
        let text = archive.to_string_lossy();
        if text.contains("://") {
            list_remote(&text, &mut listing).with_context(|| format!("failed to list {text}"))?;
            continue;
        }
        match (fs::metadata(archive), glob::glob(&text)) {
            (Ok(_), _) => listing.add(archive, except),
            (Err(_), Ok(paths)) if text.contains(['*', '?', '[']) => {
                let paths: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
                if paths.is_empty() {
                    listing.problems.push(format!("{text}: no file matches this pattern"));
                }
                for path in &paths {
                    listing.add(path, except);
                }
            }
            (Err(error), _) => listing.problems.push(format!("{text}: {error}")),
        }
    }
    // A file may be named twice, or lie in two of the folders.
    listing.files.sort_by(|one, other| (&one.path, !one.named).cmp(&(&other.path, !other.named)));
    listing.files.dedup_by(|one, other| one.path == other.path);
    Ok(listing)
}

/// Files, patterns and folders here, and captures elsewhere.
type Named = (Vec<PathBuf>, Vec<Arc<dyn Remote>>);

/// Parts what was named into what lies here and the captures that lie elsewhere.
pub(in crate::cli) fn captures(named: &[PathBuf]) -> Result<Named> {
    let is_remote = |path: &&PathBuf| path.to_string_lossy().contains("://");
    let (remote, local): (Vec<&PathBuf>, Vec<&PathBuf>) = named.iter().partition(is_remote);
    let mut listing = Listing::default();
    for address in remote {
        let address = address.to_string_lossy();
        list_remote(&address, &mut listing).with_context(|| format!("failed to list {address}"))?;
    }
    let is_capture = |listed: &&Listed| {
        listed.named || listed.path.last().is_some_and(|name| looks_like_a_capture(name))
    };
    let remotes =
        listing.files.iter().filter(is_capture).filter_map(|listed| match &listed.location {
            Location::Remote(remote) => Some(Arc::clone(remote)),
            Location::File(_) => None,
        });
    Ok((local.into_iter().cloned().collect(), remotes.collect()))
}

#[cfg(feature = "remote")]
fn list_remote(address: &str, listing: &mut Listing) -> Result<()> {
    crate::cli::remote::list(address, listing)
}

#[cfg(not(feature = "remote"))]
fn list_remote(_: &str, _: &mut Listing) -> Result<()> {
    anyhow::bail!("this build reads files only; build it with: cargo build --features remote")
}

impl Listing {
    fn add(&mut self, path: &Path, except: &Path) {
        let Ok(real) = fs::canonicalize(path) else { return };
        if real.is_dir() {
            self.bases.push(parts(&real));
            self.search(&real, except);
        } else {
            // The name counts, not what a link points to.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).unwrap_or_default();
            self.bases.push(parts(&folder));
            self.file(folder.join(path.file_name().unwrap_or_default()), true);
        }
    }

    /// Searches a folder to any depth, without following links to folders, so that it ends.
    fn search(&mut self, folder: &Path, except: &Path) {
        for entry in WalkDir::new(folder).into_iter().filter_entry(|entry| entry.path() != except) {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => self.file(entry.into_path(), false),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
    }

    fn file(&mut self, path: PathBuf, named: bool) {
        let Ok(data) = fs::metadata(&path) else { return };
        // A FIFO or a device may block for ever.
        if !data.is_file() {
            return;
        }
        let modified = data.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        self.files.push(Listed {
            path: parts(&path),
            size: data.len(),
            modified: modified.and_then(|at| i64::try_from(at.as_nanos()).ok()).unwrap_or(0),
            location: Location::File(path),
            named,
        });
    }
}

/// The parts of a path without its root.
fn parts(path: &Path) -> Vec<String> {
    let named = |part: std::path::Component<'_>| match part {
        std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(named).collect()
}

/// How many parts all bases have in common.
fn common(bases: &[Vec<String>]) -> usize {
    let Some(first) = bases.first() else { return 0 };
    let alike = |place: &usize| bases.iter().all(|base| base.get(*place) == first.get(*place));
    (0..first.len()).take_while(alike).count()
}

/// Looks at the first frames of everything listed, with so many threads. What neither is a capture
/// nor is named like one is left out.
pub(super) fn look(listing: &Listing, threads: usize) -> Vec<Facts<Entry>> {
    let root = common(&listing.bases);
    let (next, facts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(listed) = listing.files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(found) = glimpse(listed, root) {
                facts.lock().unwrap_or_else(PoisonError::into_inner).push(found);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    facts.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn glimpse(listed: &Listed, root: usize) -> Option<Facts<Entry>> {
    let (name, folder) = listed.path.split_last()?;
    let first = match listed.location.first_frame() {
        Ok(first) => first,
        Err(_) if listed.named || looks_like_a_capture(name) => None,
        Err(_) => return None,
    };
    let print = Fingerprint {
        name: name.clone(),
        size: listed.size,
        modified: listed.modified,
        first: first.map(|at| at.to_string()),
        last: None,
    };
    Some(Facts {
        folder: folder.get(root..).unwrap_or_default().join("/"),
        name: name.clone(),
        first,
        file: Entry { location: listed.location.clone(), print },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_below_what_all_archives_share() {
        let base = |text: &str| text.split('/').map(ToOwned::to_owned).collect::<Vec<_>>();
        assert_eq!(common(&[base("data/archive")]), 2);
        assert_eq!(common(&[base("data/archive/a"), base("data/archive/b")]), 2);
        assert_eq!(common(&[base("data/archive"), base("data/archive/b")]), 2);
        assert_eq!(common(&[base("data"), base("other")]), 0);
        assert_eq!(common(&[]), 0);
    }
}
