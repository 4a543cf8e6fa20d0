//! `dnswhy merge`: an index over reports and indexes that were made elsewhere.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::folder::Folder;
use super::run::{exit, incidents};
use super::work::scope;
use crate::archive::{Index, SetRecord};
use crate::base::words::count;
use crate::cli::args::{Cli, Merge};
use crate::cli::exit::Exit;
use crate::cli::run::{complain, severity};
use crate::report::json::Report;

/// Merges the reports and indexes that were named.
pub(in crate::cli) fn merge(cli: &Cli, merge: &Merge) -> Result<Exit> {
    let folder = Folder::open(&merge.output)?;
    let mut indexes = Vec::new();
    for path in &merge.reports {
        indexes.push(read(path, folder.path())?);
    }
    let mut index = Index::merge(indexes);
    if let Some(apart) = merge.apart {
        for set in &mut index.sets {
            set.scope = scope(&set.name, apart);
        }
        index = Index::of(index.sets, index.unreadable);
    }
    folder.write_index(&index)?;
    if !cli.quiet {
        complain(&format!(
            "{}, {} could not be read; {}",
            count(index.sets.len() as u64, "set"),
            index.unreadable.len(),
            incidents(&index)
        ));
    }
    Ok(exit(&index, merge.fail_on.map(severity)))
}

/// What every schema begins with.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// A report as an index of its own, or an index; links are seen from `folder`.
fn read(path: &Path, folder: &Path) -> Result<Index> {
    let failed = || format!("failed to read {}", path.display());
    let text = fs::read(path).with_context(failed)?;
    let what = || {
        format!(
            "{} is neither a JSON report nor an index; make one with: dnswhy analyze -o json={} \
             CAPTURE",
            path.display(),
            path.display()
        )
    };
    let head: Head = serde_json::from_slice(&text).with_context(what)?;
    let real = fs::canonicalize(path).with_context(failed)?;
    match head.schema.as_str() {
        crate::report::json::SCHEMA => {
            let report: Report = serde_json::from_slice(&text).with_context(what)?;
            let mut record = SetRecord::of(&report, &name(path));
            let page = real.with_extension("html");
            let shown = if page.is_file() { page } else { real };
            record.report = Some(from(folder, &shown));
            Ok(Index::of(vec![record], Vec::new()))
        }
        crate::archive::SCHEMA => {
            let mut index: Index = serde_json::from_slice(&text).with_context(what)?;
            let base = real.parent().unwrap_or(Path::new("/"));
            for set in &mut index.sets {
                let report = set.report.take();
                set.report = report.map(|report| from(folder, &flat(&base.join(report))));
            }
            Ok(index)
        }
        other => bail!("{}: its schema is {other}", what()),
    }
}

/// The name of a report that has none of its own: its path as it was typed.
fn name(path: &Path) -> String {
    let parts = path.with_extension("");
    let parts: Vec<_> = parts
        .components()
        .filter(|part| !matches!(part, Component::CurDir | Component::RootDir))
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    parts.join("/")
}

/// A path without `..`, as far as names tell.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                flat.pop();
            }
            Component::CurDir => {}
            other => flat.push(other),
        }
    }
    flat
}

/// The way from a folder to a file, both from the root.
fn from(folder: &Path, file: &Path) -> String {
    let (mut here, mut there) = (folder.components().peekable(), file.components().peekable());
    while here.peek().is_some() && here.peek() == there.peek() {
        here.next();
        there.next();
    }
    let up = here.map(|_| "..".to_owned());
    let down = there.map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_seen_from_the_index() {
        assert_eq!(from(Path::new("/r/out"), Path::new("/r/out/a/b.html")), "a/b.html");
        assert_eq!(from(Path::new("/r/out"), Path::new("/r/in/b.html")), "../in/b.html");
        assert_eq!(flat(Path::new("/r/in/../out/./b.html")), Path::new("/r/out/b.html"));
        assert_eq!(name(Path::new("./a/b.json")), "a/b");
    }
}
