//! `dnswhy extract`: just the packets that prove one incident, with a comment on each.

use anyhow::{Context, Result, bail};

use super::anonymize;
use super::args::{Cli, Extract};
use super::exit::Exit;
use super::output::{standard_output, write_file};
use super::progress::Meter;
use super::run::{complain, focused, has_streams};
use crate::analysis::{Options, PointAccount, Sinks, run};
use crate::base::words::count;
use crate::capture::Inventory;
use crate::flow::Ports;
use crate::report::{Masked, Picked, Trace, trace, write_pcapng};

/// Extracts what proves the incident that was asked for.
pub(super) fn extract(cli: &Cli, extract: &Extract) -> Result<Exit> {
    let inventory = super::run::take(&extract.input)?;
    if has_streams(&inventory) {
        bail!("a stream can be read only once: write it to a file first, then extract from that");
    }
    let mut options = focused(&extract.input, &extract.focus, &inventory)?;
    let mut known = super::k8s::known(&extract.k8s, cli.quiet)?;
    anonymize::masked(&mut options, &extract.privacy, cli.quiet)?;
    if let Some(mask) = &mut options.mask {
        known = known.masked(mask);
    }
    options.nodes = known.nodes();
    let meter = Meter::new(&inventory, cli.no_progress || cli.quiet);
    let progress = &mut |bytes| meter.read(bytes);
    let analysis = run(&inventory, &options, Sinks::default(), progress);
    let found = analysis.incidents.len();
    let Some(incident) = extract.incident.checked_sub(1).and_then(|i| analysis.incidents.get(i))
    else {
        bail!(
            "there is no incident {}: `dnswhy analyze` finds {} in these captures, counted from 1",
            extract.incident,
            count(found as u64, "incident")
        );
    };
    let mut traces = trace(&inventory, &options, &analysis, progress);
    let trace = traces.swap_remove(extract.incident - 1);
    drop(meter);
    let points: &[_] = if extract.correct_clocks { &analysis.points } else { &[] };
    let wanted = trace.frames.len();
    let packets = pick(&inventory, trace, points, &options)?;
    let rule = incident.cause.rule.id;
    if extract.write.as_os_str() == "-" {
        let mut out = standard_output();
        write_pcapng(&packets, &mut out)?;
        std::io::Write::flush(&mut out)?;
        return Ok(Exit::Done);
    }
    write_file(&extract.write, |out| write_pcapng(&packets, out))?;
    if !cli.quiet {
        if packets.len() < wanted {
            let left_out = count((wanted - packets.len()) as u64, "packet");
            complain(&format!("{left_out} that cannot be masked, such as fragments, are left out"));
        }
        let packets = count(packets.len() as u64, "packet");
        let (incident, path) = (extract.incident, extract.write.display());
        complain(&format!("{packets} that prove incident {incident} ({rule}) are in {path}"));
    }
    Ok(Exit::Done)
}

/// Reads the frames of a trace, in the order of time; corrects the clocks of these points.
///
/// With a mask they are written anew, without their link layer.
fn pick(
    inventory: &Inventory,
    trace: Trace,
    points: &[PointAccount],
    options: &Options,
) -> Result<Vec<Picked>> {
    let ports = Ports::new(options.ports.iter().copied());
    let mut mask = options.mask.clone();
    let mut frames = trace.frames;
    let mut packets = Vec::new();
    for file in &inventory.files {
        let Some(last) = frames.keys().filter(|at| at.file() == file.id).max().copied() else {
            continue;
        };
        let point = usize::from(file.point.0);
        let (name, path) = match (&mask, inventory.points.get(point)) {
            (Some(_), _) => (format!("point-{}", point + 1), format!("file-{}", file.id.0 + 1)),
            (None, Some(point)) => (point.name.clone(), file.display.clone()),
            (None, None) => (String::new(), file.display.clone()),
        };
        let clock = points.get(point).and_then(|point| point.clock.as_ref());
        let mut reader = file.open().context("failed to read the packets again")?;
        while let Some(frame) = reader.next_frame() {
            // Damage was told when the whole was read.
            let Ok(frame) = frame else { continue };
            if let Some(why) = frames.remove(&frame.seen.at) {
                let masked = mask.as_mut().map(|mask| Masked::of(&frame, &ports, mask));
                let (link, wire_len, bytes) = match masked {
                    Some(Some(masked)) => (Masked::LINK, masked.wire_len, masked.bytes),
                    Some(None) => continue,
                    None => (frame.link, frame.wire_len, frame.bytes.to_vec()),
                };
                packets.push(Picked {
                    at: frame.seen.at,
                    ts: clock.map_or(frame.seen.ts, |clock| clock.correct(frame.seen.ts)),
                    interface: (name.clone(), frame.interface),
                    link,
                    wire_len,
                    bytes,
                    why: format!("{why} [{path}:{}]", frame.seen.at.number()),
                });
            }
            if frame.seen.at >= last {
                break;
            }
        }
    }
    packets.sort_by_key(|packet| (packet.ts, packet.at));
    Ok(packets)
}
