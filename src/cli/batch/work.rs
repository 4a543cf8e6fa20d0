//! One set: its captures analysed, its reports written, and what the index keeps of it.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::find::Entry;
use super::folder::Folder;
use crate::analysis::{Options, Sinks};
use crate::archive::{CaptureSet, Fingerprint, SetRecord, State, Unreadable};
use crate::base::{Lang, Nodes};
use crate::capture::{InputError, Inventory, Location, Remote};
use crate::report::json::{Report, SetName};
use crate::report::{Format, Names, Style, View, trace, write};

/// What is asked for, of every set.
pub(super) struct Asked {
    /// The forms of the reports.
    pub(super) formats: Vec<Format>,
    /// DNS ports beside 53.
    pub(super) ports: Vec<u16>,
    /// Sets whose first folders, so many of them, differ are never joined.
    pub(super) apart: usize,
    /// Who the addresses are.
    pub(super) names: Names,
    /// The language of the reports.
    pub(super) lang: Lang,
    /// Which clients run on which node.
    pub(super) nodes: Nodes,
    /// All of that in words that change with it.
    pub(super) words: String,
}

/// Analyses a set with so many threads and writes its reports.
pub(super) fn analyse(
    set: &CaptureSet<Entry>,
    asked: &Asked,
    threads: usize,
    folder: &Folder,
    progress: &mut dyn FnMut(u64),
) -> Result<State> {
    let (mut paths, mut remotes): (Vec<PathBuf>, Vec<Arc<dyn Remote>>) = (Vec::new(), Vec::new());
    for entry in &set.files {
        match &entry.location {
            Location::File(path) => paths.push(path.clone()),
            Location::Remote(remote) => remotes.push(Arc::clone(remote)),
        }
    }
    let state = |files, reports, found| State {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        asked: asked.words.clone(),
        files,
        reports,
        found,
    };
    let prints = || set.files.iter().map(|entry| entry.print.clone()).collect();
    let inventory = match Inventory::take_with(&paths, &remotes, &[]) {
        Ok(inventory) => inventory,
        Err(error) => {
            let unreadable = Unreadable {
                name: set.name.clone(),
                files: set.files.len() as u64,
                reason: why(&error),
            };
            return Ok(state(prints(), Vec::new(), Err(unreadable)));
        }
    };
    let options = Options {
        ports: asked.ports.clone(),
        threads: NonZero::new(threads),
        nodes: asked.nodes.clone(),
        ..Options::default()
    };
    let analysis = crate::analysis::run(&inventory, &options, Sinks::default(), progress);
    let name = SetName { name: set.name.clone(), scope: scope(&set.name, asked.apart) };
    let mut view = View::of(&analysis).with_names(asked.names.clone()).of_set(name);
    if asked.formats.contains(&Format::Html) {
        let traces = trace(&inventory, &options, &analysis, &mut |_| {});
        view = view.with_ladders(traces.into_iter().map(|trace| trace.ladder).collect());
    }
    let style = Style { lang: asked.lang, ..Style::default() };
    let mut reports = Vec::new();
    for format in &asked.formats {
        let file = format!("{}.{}", set.name, format.ending());
        reports.push(folder.write(&file, |out| write(&view, *format, style, out))?);
    }
    let mut record = SetRecord::of(&Report::of(&view), &set.name);
    let shown = [Format::Html, Format::Markdown, Format::Text, Format::Json];
    let best = shown.into_iter().find(|format| asked.formats.contains(format));
    record.report = best.map(|format| format!("{}.{}", set.name, format.ending()));
    // The last frame of every file is known now.
    let last = |print: &Fingerprint| {
        let read = analysis.files.iter().find(|file| file.path == print.name);
        read.and_then(|file| Some(file.stats.span?.end.to_string()))
    };
    let files = set.files.iter().map(|entry| {
        let print = &entry.print;
        Fingerprint { last: last(print), ..print.clone() }
    });
    Ok(state(files.collect(), reports, Ok(record)))
}

/// The first folders of a set's name.
pub(super) fn scope(name: &str, apart: usize) -> String {
    let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').take(apart).collect::<Vec<_>>().join("/")
}

/// Why nothing could be read, in one line.
fn why(error: &InputError) -> String {
    match error {
        InputError::NothingReadable(problems) if !problems.is_empty() => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_made_of_folders() {
        assert_eq!(scope("prod/n1/dns", 1), "prod");
        assert_eq!(scope("prod/n1/dns", 5), "prod/n1");
        assert_eq!(scope("prod/n1/dns", 0), "");
        assert_eq!(scope("dns", 1), "");
    }
}
