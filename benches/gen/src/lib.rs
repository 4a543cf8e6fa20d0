//! Event simulation of pods asking a cluster DNS service, seen by `tcpdump -i any` on a node.
//!
//! Every message is emitted once per interface it crosses: up to two copies before DNAT (client and
//! ClusterIP) and up to two after it (client and server pod), a few microseconds apart.
//!
//! The same options give the same bytes. It is the input of the benches, and of tests that need more
//! than a few frames.

mod names;
mod opts;
mod out;
mod packet;
mod rng;
mod sim;

use opts::Opts;
use sim::{Ev, Sim};
use std::cmp::Reverse;
use std::io::Write;

/// Writes captures as `args` say (see [`HELP`]), and returns the true counts as JSON.
///
/// # Errors
/// If an option is not understood, or a file can't be written.
pub fn generate<S: AsRef<str>>(args: &[S]) -> Result<String, String> {
    let o = opts::parse(args.iter().map(|arg| arg.as_ref().to_owned()))?;
    write(&o).map_err(|error| error.to_string())
}

pub use opts::HELP;

fn write(o: &Opts) -> std::io::Result<String> {
    let mut sim = Sim::new(o);
    let mut out = out::Out::new(o)?;
    let start = o.start * 1_000_000_000;
    sim.at(start, Ev::Arrive);
    let mut last = start;
    while let Some(Reverse((t, _, ev))) = sim.heap.pop() {
        match ev {
            Ev::Arrive => sim.arrive(t),
            Ev::Pkt { txn, step, copy } => {
                sim.packet(txn, step, copy);
                sim.release(txn);
                out.record(t, &sim.frame)?;
                last = t;
                if out.full {
                    break;
                }
            }
            Ev::Retry { txn } => {
                sim.retry(txn, t);
                sim.release(txn);
            }
            Ev::Reply { txn } => {
                sim.reply(txn, t);
                sim.release(txn);
            }
            Ev::Done { txn } => {
                sim.done(txn, t);
                sim.release(txn);
            }
        }
    }
    let (packets, bytes, files) = out.finish()?;
    let r = &sim.truth;
    let json = format!(
        "{{\"files\":{files},\"packets\":{packets},\"bytes\":{bytes},\"seconds\":{:.3},\
         \"lookups\":{},\"queries\":{},\"transactions\":{},\"answered\":{},\"unanswered\":{},\
         \"retries\":{},\"noerror\":{},\"servfail\":{},\"nxdomain\":{},\"refused\":{},\
         \"lost_at_dnat\":{},\"silent\":{},\"lost_on_return\":{},\"late\":{},\"tcp\":{},\
         \"truncated\":{},\"upstream\":{}}}",
        (last - start) as f64 / 1e9,
        r.lookups,
        r.queries,
        r.transactions,
        r.answered,
        r.unanswered,
        r.retries,
        r.rcode[0],
        r.rcode[2],
        r.rcode[3],
        r.rcode[5],
        r.lost_at_dnat,
        r.silent,
        r.lost_on_return,
        r.late,
        r.tcp,
        r.truncated,
        r.upstream
    );
    if let Some(p) = &o.truth {
        writeln!(std::fs::File::create(p)?, "{json}")?;
    }
    Ok(json)
}
