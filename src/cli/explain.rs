//! `dnswhy explain`: finds the lookup that a frame belongs to, or one by client, name and time,
//! and tells its story.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::anonymize;
use super::args::{Cli, Explain, StoryFormat};
use super::exit::Exit;
use super::focus::masked_name;
use super::output::style;
use super::progress::Meter;
use super::run::{complain, options};
use crate::analysis::{Analysis, Mask, Options, Sinks, run};
use crate::base::Timestamp;
use crate::capture::{CaptureFile, Frame, Inventory};
use crate::flow::Ports;
use crate::lookup::Lookup;
use crate::report::Masked;
use crate::report::explain::{Found, Scene, Sight, tell, write_story};
use crate::transaction::{Transaction, timing};

/// Questions of servers that are shown beside a lookup.
const MAX_LEGS: usize = 40;
/// A server asks others until its own client has long given up.
const AFTER: Duration = Duration::from_secs(10);

/// Tells the story that was asked for.
pub(super) fn explain(cli: &Cli, explain: &Explain) -> Result<Exit> {
    let (frame, mut captures) = split(&explain.input.captures)?;
    if captures.is_empty() {
        captures.extend(frame.as_ref().map(|(file, _)| file.clone()));
    }
    let mut wanted = Wanted { client: explain.client, name: explain.name.clone(), at: explain.at };
    if frame.is_none() && wanted.is_empty() {
        bail!("which lookup? Name a frame (FILE:FRAME), or use --client, --name or --at");
    }
    let mut inventory = Inventory::take(&captures, &explain.input.point)?;
    if let Some((file, _)) = frame.as_ref().filter(|(file, _)| file.exists())
        && file_named(&inventory, file).is_err()
    {
        captures.push(file.clone());
        inventory = Inventory::take(&captures, &explain.input.point)?;
    }
    let mut options = options(&explain.input);
    let mut known = super::k8s::known(&explain.k8s, cli.quiet)?;
    anonymize::masked(&mut options, &explain.privacy, cli.quiet)?;
    if let Some(mask) = &mut options.mask {
        wanted.mask(mask)?;
        known = known.masked(mask);
    }
    options.nodes = known.nodes();
    let sight = match &frame {
        Some((file, number)) => Some(look(&inventory, file, *number, &options)?),
        None => None,
    };
    let meter = Meter::new(&inventory, cli.no_progress || cli.quiet);
    let picked = pick(&inventory, &options, sight.as_ref(), &wanted, &meter);
    let Picked { analysis, lookup, transaction, fitting } = picked;
    let legs = lookup
        .as_ref()
        .map_or_else(Vec::new, |lookup| legs(&inventory, &options, lookup, &analysis));
    drop(meter);
    let found = match (&lookup, &transaction) {
        (Some(lookup), _) => Found::Lookup(lookup),
        (None, Some(transaction)) => Found::Transaction(transaction),
        (None, None) if sight.is_none() => {
            complain("no lookup of this capture fits");
            return Ok(Exit::Failed);
        }
        (None, None) => Found::Nothing,
    };
    if fitting > 1 && sight.is_none() && !cli.quiet {
        let which = if explain.at.is_some() { "the nearest in time" } else { "the worst" };
        complain(&format!("{fitting} lookups fit: {which} is told"));
    }
    let story = tell(Scene { analysis: &analysis, frame: sight.as_ref(), found, legs: &legs });
    let mut out = BufWriter::new(std::io::stdout().lock());
    match explain.format {
        StoryFormat::Text => write_story(&story, style(cli), &mut out)?,
        StoryFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &story).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// A file, and the number of a frame in it.
type FrameOf = (PathBuf, u32);

/// The frame among what was named, and the captures.
fn split(named: &[PathBuf]) -> Result<(Option<FrameOf>, Vec<PathBuf>)> {
    let mut frame = None;
    let mut captures = Vec::new();
    for path in named {
        let Some(found) = frame_of(path) else {
            captures.push(path.clone());
            continue;
        };
        if frame.replace(found).is_some() {
            bail!("one frame at a time: {} is the second", path.display());
        }
    }
    Ok((frame, captures))
}

/// `FILE:FRAME`, unless there is a file of that very name.
fn frame_of(path: &Path) -> Option<FrameOf> {
    let (file, number) = path.to_str()?.rsplit_once(':')?;
    let number = number.parse().ok()?;
    (!file.is_empty() && !path.exists()).then(|| (PathBuf::from(file), number))
}

/// The file of the inventory that was meant: by its place, or as a report names it.
fn file_named<'i>(inventory: &'i Inventory, named: &Path) -> Result<&'i CaptureFile> {
    let real = named.canonicalize().ok();
    let same = |file: &&CaptureFile| {
        file.path == named || (real.is_some() && file.path.canonicalize().ok() == real)
    };
    if let Some(file) = inventory.files.iter().find(same) {
        return Ok(file);
    }
    if let Some(file) = inventory.files.iter().find(|file| Path::new(&file.display) == named) {
        return Ok(file);
    }
    let shown = |file: &&CaptureFile| Path::new(&file.display).ends_with(named);
    let mut fitting = inventory.files.iter().filter(shown);
    match (fitting.next(), fitting.next()) {
        (Some(file), None) => Ok(file),
        (Some(_), Some(_)) => {
            bail!("{} is the name of several captures: name the folder, too", named.display())
        }
        (None, _) => bail!("{} is none of the captures that are read", named.display()),
    }
}

/// Looks at one frame by itself.
fn look(inventory: &Inventory, file: &Path, number: u32, options: &Options) -> Result<Sight> {
    let file = file_named(inventory, file)?;
    if file.size.is_none() {
        bail!("{} is a stream, which can be read but once: explain needs a file", file.display);
    }
    let mut reader = file.open().context("failed to read the frame")?;
    let ports = Ports::new(options.ports.iter().copied());
    let mut last = 0;
    while let Some(frame) = reader.next_frame() {
        // Damage is complained about where the whole is read.
        let Ok(frame) = frame else { continue };
        last = frame.seen.at.number();
        if last == number {
            let Some(mask) = &options.mask else {
                return Ok(Sight::of(&frame, file.point, &ports));
            };
            let Some(masked) = Masked::of(&frame, &ports, &mut mask.clone()) else {
                bail!("frame {number} is none that can be masked, such as a fragment");
            };
            let (bytes, wire_len) = (masked.bytes.as_slice(), masked.wire_len);
            let frame = Frame { link: Masked::LINK, wire_len, bytes, ..frame };
            return Ok(Sight::of(&frame, file.point, &ports));
        }
    }
    bail!("{} has no frame {number}: its last one is {last}", file.display)
}

/// Which lookup is meant, where no frame says it.
struct Wanted {
    client: Option<std::net::IpAddr>,
    name: Option<glob::Pattern>,
    at: Option<Timestamp>,
}

impl Wanted {
    /// Looks for what a masked analysis knows them as.
    fn mask(&mut self, mask: &mut Mask) -> Result<()> {
        self.client = self.client.map(|client| mask.address(client));
        self.name = self.name.as_ref().map(|name| masked_name(name, mask)).transpose()?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.client.is_none() && self.name.is_none() && self.at.is_none()
    }

    fn fits(&self, lookup: &Lookup) -> bool {
        let case = glob::MatchOptions { case_sensitive: false, ..glob::MatchOptions::new() };
        self.client.is_none_or(|client| client == lookup.client)
            && self.name.as_ref().is_none_or(|name| {
                let asked = lookup.transactions().map(|asked| &asked.question.name);
                std::iter::once(&lookup.name)
                    .chain(asked)
                    .any(|asked| name.matches_with(&asked.to_string(), case))
            })
    }

    /// The smaller, the more it is meant: near in time, or else failed, or else slow.
    fn rank(&self, lookup: &Lookup) -> (Duration, bool, std::cmp::Reverse<Duration>) {
        let took = lookup.duration().unwrap_or_default();
        let off = self.at.map_or(Duration::ZERO, |at| {
            let end = lookup.start.ts.after(took);
            if at < lookup.start.ts { lookup.start.ts.since(at) } else { at.since(end) }
        });
        (off, !lookup.outcome.is_failure(), std::cmp::Reverse(took))
    }
}

/// What was picked from the capture.
struct Picked {
    analysis: Analysis,
    lookup: Option<Lookup>,
    transaction: Option<Transaction>,
    /// How many lookups fit.
    fitting: u64,
}

/// Keeps the smallest.
struct Least<K, T>(Option<(K, T)>);

impl<K: Ord, T: Clone> Least<K, T> {
    fn offer(&mut self, key: K, item: &T) {
        if self.0.as_ref().is_none_or(|(least, _)| key < *least) {
            self.0 = Some((key, item.clone()));
        }
    }
}

fn pick(
    inventory: &Inventory,
    options: &Options,
    sight: Option<&Sight>,
    wanted: &Wanted,
    meter: &Meter,
) -> Picked {
    let mut by_frame = Least(None);
    let mut by_wish = Least(None);
    let mut transactions = Least(None);
    let mut fitting = 0;
    let mut lookup = |lookup: &Lookup| match sight {
        Some(sight) => {
            if let Some(distance) = sight.distance(lookup) {
                by_frame.offer(distance, lookup);
            }
        }
        None if wanted.fits(lookup) => {
            fitting += 1;
            by_wish.offer(wanted.rank(lookup), lookup);
        }
        None => {}
    };
    let mut transaction = |asked: &Transaction| {
        if let Some(distance) = sight.and_then(|sight| sight.to_question(asked)) {
            transactions.offer(distance, asked);
        }
    };
    let sinks = Sinks { lookups: Some(&mut lookup), transactions: Some(&mut transaction) };
    let analysis = run(inventory, options, sinks, &mut |bytes| meter.read(bytes));
    let (distance, lookup) = match by_frame.0 {
        Some((distance, lookup)) => (Some(distance), Some(lookup)),
        None => (None, by_wish.0.map(|(_, lookup)| lookup)),
    };
    // What holds the frame itself comes before what it is merely tied to.
    let nearer = transactions.0.filter(|(off, _)| distance.is_none_or(|known| *off < known));
    let (transaction, lookup) = match nearer {
        Some((_, transaction)) => (Some(transaction), None),
        None => (None, lookup),
    };
    Picked { analysis, lookup, transaction, fitting }
}

/// What the servers of `lookup` asked others for it meanwhile, and, where its client is a server
/// itself, who asked that one.
fn legs(
    inventory: &Inventory,
    options: &Options,
    lookup: &Lookup,
    analysis: &Analysis,
) -> Vec<(Transaction, bool)> {
    let servers: Vec<std::net::IpAddr> = lookup
        .transactions()
        .flat_map(|asked| {
            let backends = asked.attempts.iter().filter_map(|sent| sent.backend(asked.server));
            backends.chain([asked.responder(), asked.server.ip()])
        })
        .collect();
    let serves = analysis.traffic.servers.get(&lookup.client).is_some_and(|s| s.tally.answered > 0);
    let asks = servers.iter().any(|server| analysis.traffic.clients.contains_key(server));
    let streams = inventory.files.iter().any(|file| file.size.is_none());
    if !(serves || asks) || streams {
        return Vec::new();
    }
    let start = lookup.start.ts.before(timing::DISORDER);
    let end = lookup.end.unwrap_or(lookup.start.ts).after(AFTER);
    let mut found = Vec::new();
    let mut transaction = |asked: &Transaction| {
        let sent = asked.first().ts;
        if !lookup.transactions().any(|step| step.question == asked.question) {
            return;
        }
        let upstream = servers.contains(&asked.client.ip()) && sent >= start && sent <= end;
        let open = sent.after(AFTER) >= lookup.start.ts
            && sent.before(timing::DISORDER) <= lookup.start.ts;
        let downstream = serves && asked.responder() == lookup.client && open;
        if (upstream || downstream) && found.len() < MAX_LEGS {
            found.push((asked.clone(), upstream));
        }
    };
    let sinks = Sinks { lookups: None, transactions: Some(&mut transaction) };
    run(inventory, options, sinks, &mut |_| {});
    found
}

/// An instant as people write it: RFC 3339, or date and time in UTC.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| {
        let civil = text.parse::<jiff::civil::DateTime>()?;
        Ok::<_, jiff::Error>(civil.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
    });
    let expected = "expected a time such as 2022-12-22T20:00:03Z or '2022-12-22 20:00:03' (UTC)";
    let parsed = parsed.map_err(|_| expected.to_owned())?;
    let nanos = i64::try_from(parsed.as_nanosecond()).map_err(|_| expected.to_owned())?;
    Ok(Timestamp::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let expected = Timestamp::from_parts(1_671_739_203, 0);
        assert_eq!(instant("2022-12-22T20:00:03Z"), Ok(expected));
        assert_eq!(instant("2022-12-22 20:00:03"), Ok(expected));
        assert_eq!(instant("2022-12-23T04:00:03+08:00"), Ok(expected));
        assert!(instant("yesterday").is_err());
    }

    #[test]
    fn a_frame_is_told_from_a_file() {
        assert_eq!(frame_of(Path::new("a.pcap:12")), Some((PathBuf::from("a.pcap"), 12)));
        assert_eq!(frame_of(Path::new("a:b.pcap")), None);
        assert_eq!(frame_of(Path::new(":12")), None);
    }
}
