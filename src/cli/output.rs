//! Where reports go: standard output, and files that are written whole or not at all.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use super::args::{Cli, Colour};
use crate::report::{Format, Style, View, write};

/// Columns of a report that goes to no terminal.
const PAGE: usize = 100;
/// Narrower or wider lines do nobody a favour.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=160;

/// How the names of files begin and end that are not whole yet.
pub(super) const LEFT_OVER: (&str, &str) = (".dnswhy-", ".partial");

/// One place that a report goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    format: Format,
    /// `None`: standard output.
    file: Option<PathBuf>,
}

/// Where reports go, by `-f` and every `-o`.
pub(super) fn targets(format: Option<Format>, outputs: &[String]) -> Result<Vec<Target>> {
    if outputs.is_empty() {
        return Ok(vec![Target { format: format.unwrap_or(Format::Text), file: None }]);
    }
    let alone = outputs.len() == 1;
    let targets = outputs.iter().map(|output| {
        let (named, file) = split(output);
        let ending = Format::of_file(Path::new(file));
        // One file and an explicit format: that is what was meant, whatever the file is called.
        let implied = if alone { format.or(ending) } else { ending.or(format) };
        let stream = (file == "-").then_some(Format::Text);
        let Some(format) = named.or(implied).or(stream) else {
            bail!(
                "cannot tell the format of '{file}': end it in .txt, .md, .html or .json, or say \
                 FORMAT=FILE, such as -o json={file}"
            );
        };
        Ok(Target { format, file: (file != "-").then(|| PathBuf::from(file)) })
    });
    let targets: Vec<Target> = targets.collect::<Result<_>>()?;
    for (index, target) in targets.iter().enumerate() {
        if targets[..index].iter().any(|other| other.file == target.file) {
            let place =
                target.file.as_ref().map_or("standard output".into(), |f| f.to_string_lossy());
            bail!("two reports cannot go to {place}: give each -o a file of its own");
        }
    }
    Ok(targets)
}

/// `FORMAT=FILE`, where the first part is a format; else all of it is the file.
fn split(output: &str) -> (Option<Format>, &str) {
    match output.split_once('=') {
        Some((name, file)) if !file.is_empty() => match Format::named(name) {
            Some(format) => (Some(format), file),
            None => (None, output),
        },
        _ => (None, output),
    }
}

/// Whether any target wants the packets that prove each incident.
pub(super) fn wants_ladders(targets: &[Target]) -> bool {
    targets.iter().any(|target| target.format == Format::Html)
}

/// Writes every report. All files are complete before the first gets its name.
pub(super) fn deliver(view: &View<'_>, targets: &[Target], style: Style) -> Result<()> {
    let mut finished = Vec::new();
    for target in targets {
        let Some(path) = &target.file else { continue };
        let page = Style { lang: style.lang, ..Style::default() };
        finished.push((staged(path, |out| write(view, target.format, page, out))?, path));
    }
    for (file, path) in finished {
        publish(file, path)?;
    }
    for target in targets.iter().filter(|target| target.file.is_none()) {
        let mut out = standard_output();
        write(view, target.format, style, &mut out)?;
        out.flush()?;
    }
    Ok(())
}

/// Writes one file whole or not at all.
pub(super) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    publish(staged(path, fill)?, path)
}

/// A file with its contents, beside the place where it will lie.
fn staged(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let failed = || format!("failed to write {}", path.display());
    let mut builder = tempfile::Builder::new();
    builder.prefix(LEFT_OVER.0).suffix(LEFT_OVER.1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file; the umask takes from it what it takes from others.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    // Its own name is nothing that anybody typed.
    std::fs::metadata(folder).with_context(failed)?;
    let made = builder.tempfile_in(folder).map_err(|error| io::Error::from(error.kind()));
    let mut file = made.with_context(failed)?;
    let mut out = io::BufWriter::new(file.as_file_mut());
    fill(&mut out).and_then(|()| out.flush()).with_context(failed)?;
    drop(out);
    Ok(file)
}

fn publish(file: NamedTempFile, path: &Path) -> Result<()> {
    let failed = || format!("failed to write {}", path.display());
    // A device or a pipe is written to, never replaced.
    if std::fs::metadata(path).is_ok_and(|known| !known.is_file() && !known.is_dir()) {
        let bytes = std::fs::read(file.path()).with_context(failed)?;
        return std::fs::write(path, bytes).with_context(failed);
    }
    file.persist(path).map_err(|error| error.error).with_context(failed)?;
    Ok(())
}

/// Standard output, in large pieces.
pub(super) fn standard_output() -> io::BufWriter<io::Stdout> {
    io::BufWriter::with_capacity(64 << 10, io::stdout())
}

/// How text looks on standard output.
pub(super) fn style(cli: &Cli) -> Style {
    let terminal = io::stdout().is_terminal();
    let colour = match cli.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never && terminal
        }
    };
    let width = if terminal { columns().unwrap_or(PAGE) } else { PAGE };
    Style { width: width.clamp(*WIDTHS.start(), *WIDTHS.end()), colour, lang: cli.lang.into() }
}

/// What the user says, else what the terminal says.
fn columns() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    said.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(format: Option<Format>, outputs: &[&str]) -> Result<Vec<Format>> {
        let outputs: Vec<String> = outputs.iter().map(ToString::to_string).collect();
        Ok(targets(format, &outputs)?.into_iter().map(|target| target.format).collect())
    }

    #[test]
    fn a_format_is_told_by_prefix_then_option_then_ending() {
        assert_eq!(formats(None, &[]).unwrap(), [Format::Text]);
        assert_eq!(
            formats(None, &["a.html", "json=b.txt", "c.md", "-"]).unwrap(),
            [Format::Html, Format::Json, Format::Markdown, Format::Text]
        );
        assert_eq!(formats(Some(Format::Json), &["a.txt"]).unwrap(), [Format::Json]);
        assert_eq!(
            formats(Some(Format::Json), &["a.txt", "b"]).unwrap(),
            [Format::Text, Format::Json]
        );
    }

    #[test]
    fn an_unclear_or_doubled_target_is_refused_with_advice() {
        let said = formats(None, &["report"]).unwrap_err().to_string();
        assert!(said.contains("-o json=report"), "{said}");
        assert!(formats(None, &["a.md", "json=a.md"]).is_err());
        // A file may have any name, as long as the part before = is no format.
        assert_eq!(formats(None, &["a=b.md"]).unwrap(), [Format::Markdown]);
    }
}
