//! The folder of reports: one run at a time, everything in it whole, and what is remembered
//! between runs.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use walkdir::{DirEntry, WalkDir};

use crate::archive::{Index, State, Written};
use crate::cli::output::{LEFT_OVER, write_file};

/// Where a run remembers what it did.
const MEMORY: &str = ".dnswhy";

/// A folder of reports that this run alone writes to.
pub(super) struct Folder {
    path: PathBuf,
    /// Held as long as the folder is; the system frees it however the run ends.
    _lock: File,
}

impl Folder {
    /// Opens the folder, and makes it where there is none.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let memory = path.join(MEMORY);
        let failed = || format!("failed to write to {}", path.display());
        fs::create_dir_all(&memory).with_context(failed)?;
        let at = memory.join("lock");
        let mut lock = File::options().create(true).append(true).open(&at).with_context(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&at).unwrap_or_default();
                bail!(
                    "another run (process {}) is writing to {}: wait for it, or give this one a \
                     folder of its own",
                    holder.trim(),
                    path.display()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        // Who holds it is for the message alone.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let path = fs::canonicalize(path).with_context(failed)?;
        let folder = Self { path, _lock: lock };
        folder.sweep();
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a run that was killed left half written.
    fn sweep(&self) {
        let (prefix, suffix) = LEFT_OVER;
        for path in files(&self.path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(prefix) && name.ends_with(suffix) {
                // If it cannot be removed, it is only in the way.
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Writes one file below the folder, whole or not at all.
    pub(super) fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Written> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("failed to write to {}", folder.display()))?;
        }
        let mut size = 0;
        write_file(&path, |out| {
            let mut counted = Counted { out, size: &mut size };
            fill(&mut counted)
        })?;
        Ok(Written { path: name.to_owned(), size })
    }

    /// What is remembered of a set, if its reports still lie there.
    pub(super) fn recall(&self, set: &str) -> Option<State> {
        let text = fs::read(self.path.join(memory(set))).ok()?;
        let state: State = serde_json::from_slice(&text).ok()?;
        let there = |report: &Written| {
            fs::metadata(self.path.join(&report.path)).is_ok_and(|data| data.len() == report.size)
        };
        state.reports.iter().all(there).then_some(state)
    }

    /// Remembers a set: the last thing that is done for it.
    pub(super) fn remember(&self, set: &str, state: &State) -> Result<()> {
        self.write(&memory(set), |out| {
            serde_json::to_writer(&mut *out, state).map_err(std::io::Error::from)
        })?;
        Ok(())
    }

    /// How many sets are remembered that are not among `known`.
    pub(super) fn forgotten(&self, known: usize) -> usize {
        let remembered = files(&self.path.join(MEMORY));
        let states = remembered.filter(|path| path.extension().is_some_and(|end| end == "json"));
        states.count().saturating_sub(known)
    }

    /// Writes the index in all its forms.
    pub(super) fn write_index(&self, index: &Index) -> Result<()> {
        self.write("index.json", |out| {
            serde_json::to_writer(&mut *out, index).map_err(std::io::Error::from)?;
            writeln!(out)
        })?;
        self.write("index.md", |out| index.write_markdown(out))?;
        self.write("index.html", |out| index.write_html(out))?;
        Ok(())
    }
}

/// All files below a folder, as far as they can be seen.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = WalkDir::new(folder).into_iter().filter_map(Result::ok);
    entries.filter(|entry| !entry.file_type().is_dir()).map(DirEntry::into_path)
}

fn memory(set: &str) -> String {
    format!("{MEMORY}/{set}.json")
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn Write,
    size: &'a mut u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        *self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
