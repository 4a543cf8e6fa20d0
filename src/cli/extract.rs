//! `dnswhy extract`: just the packets that prove one incident, with a comment on each.

use anyhow::{Context, Result, bail};

use super::args::{Cli, Extract};
use super::exit::Exit;
use super::output::{standard_output, write_file};
use super::progress::Meter;
use super::run::{complain, focused, has_streams};
use crate::analysis::{Sinks, run};
use crate::base::words::count;
use crate::capture::Inventory;
use crate::report::{Picked, Trace, trace, write_pcapng};

/// Extracts what proves the incident that was asked for.
pub(super) fn extract(cli: &Cli, extract: &Extract) -> Result<Exit> {
    let inventory = super::run::take(&extract.input)?;
    if has_streams(&inventory) {
        bail!("a stream can be read only once: write it to a file first, then extract from that");
    }
    let options = focused(&extract.input, &extract.focus, &inventory)?;
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
    let packets = pick(&inventory, trace)?;
    let rule = incident.cause.rule.id;
    if extract.write.as_os_str() == "-" {
        let mut out = standard_output();
        write_pcapng(&packets, &mut out)?;
        std::io::Write::flush(&mut out)?;
        return Ok(Exit::Done);
    }
    write_file(&extract.write, |out| write_pcapng(&packets, out))?;
    if !cli.quiet {
        let packets = count(packets.len() as u64, "packet");
        let (incident, path) = (extract.incident, extract.write.display());
        complain(&format!("{packets} that prove incident {incident} ({rule}) are in {path}"));
    }
    Ok(Exit::Done)
}

/// Reads the frames of a trace, in the order of time.
fn pick(inventory: &Inventory, trace: Trace) -> Result<Vec<Picked>> {
    let mut frames = trace.frames;
    let mut packets = Vec::new();
    for file in &inventory.files {
        let Some(last) = frames.keys().filter(|at| at.file == file.id).max().copied() else {
            continue;
        };
        let mut reader = file.open().context("failed to read the packets again")?;
        while let Some(frame) = reader.next_frame() {
            // Damage was told when the whole was read.
            let Ok(frame) = frame else { continue };
            if let Some(why) = frames.remove(&frame.seen.at) {
                packets.push(Picked {
                    at: frame.seen.at,
                    ts: frame.seen.ts,
                    interface: (file.display.clone(), frame.interface),
                    link: frame.link,
                    wire_len: frame.wire_len,
                    bytes: frame.bytes.to_vec(),
                    why: format!("{why} [{}:{}]", file.display, frame.seen.at.number),
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
