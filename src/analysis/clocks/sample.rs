//! A bounded sample of one capture point's datagrams.
//!
//! A small point is read whole. Of a large one, a few long stretches are read and many short ones
//! between them: whatever the clocks, a long stretch of one point then holds short ones of another,
//! as long as both recorded at that time.

use crate::base::{Map, digest};
use crate::capture::{CaptureFile, Inventory, PointId, Reader};
use crate::flow::Ports;
use crate::packet::{Body, decode};

/// A point of no more bytes is read whole.
const SMALL: u64 = 12 << 20;
/// Long stretches of a large one.
const LONG: u64 = 3;
/// Each is this part of the whole,
const PART: u64 = 100;
/// and no more bytes than this.
const LONGEST: u64 = 48 << 20;
/// Short stretches of a large one: two or three of them in each long one.
const SHORT: u64 = 256;
/// Frames of each.
const FRAMES: u64 = 48;
/// Datagrams that are kept of one point.
const KEPT: usize = 1 << 20;
/// Bytes of a payload that identify it: a question fits in, and a snap length cuts behind it.
const PREFIX: usize = 64;
/// Sightings of one datagram at one point lie this close together, in nanoseconds.
const CLOSE: i64 = 200_000_000;

/// One datagram as one point saw it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// The first and the last sighting, in nanoseconds of the point's own clock.
    pub(super) first: i64,
    pub(super) last: i64,
    /// The largest TTL: what it had on its way in.
    pub(super) ttl: u8,
    /// Whether it is a response.
    pub(super) response: bool,
    /// Whether it was met again at another time: then it is no good.
    ambiguous: bool,
}

/// The datagrams of one point, by what identifies them.
#[derive(Debug, Default)]
pub(super) struct Sample {
    sights: Map<u64, Sight>,
}

impl Sample {
    /// Reads the sample of a point. Streams cannot be read twice, and have none.
    pub(super) fn read(inventory: &Inventory, point: PointId, ports: &Ports) -> Self {
        let mut sample = Self::default();
        let files: Vec<&CaptureFile> =
            inventory.files.iter().filter(|file| file.point == point).collect();
        let sizes: Vec<u64> = files.iter().map(|file| file.size.unwrap_or(0)).collect();
        // What is compressed holds more than it seems to.
        let factor = |file: &&CaptureFile| if file.format.compression.is_some() { 6 } else { 1 };
        let unpacked: u64 = files.iter().zip(&sizes).map(|(file, size)| size * factor(file)).sum();
        let whole: u64 = sizes.iter().sum();
        if unpacked <= SMALL {
            for file in &files {
                sample.stretch(file.open_at(0), u64::MAX, u64::MAX, ports);
            }
            return sample;
        }
        let locate = |offset: u64| {
            let mut before = 0;
            files.iter().zip(&sizes).find_map(|(file, size)| {
                let here = offset - before;
                before += size;
                (here < *size).then_some((*file, here))
            })
        };
        let bytes = (whole / PART).min(LONGEST);
        for nth in 1..=LONG {
            let mut left = bytes;
            let mut offset = whole * nth / (LONG + 1);
            while left > 0
                && let Some((file, here)) = locate(offset)
            {
                let rest = file.size.unwrap_or(0).saturating_sub(here).min(left).max(1);
                sample.stretch(open(file, here), u64::MAX, rest, ports);
                offset += rest;
                left -= rest;
            }
        }
        let mut opened: Option<*const CaptureFile> = None;
        for nth in 0..SHORT {
            let Some((file, here)) = locate(whole / SHORT * nth) else { continue };
            // The beginning of a compressed file is all there is to be had of it.
            let again = opened.replace(std::ptr::from_ref(file)) == Some(std::ptr::from_ref(file));
            if file.format.compression.is_some() && again {
                continue;
            }
            sample.stretch(open(file, here), FRAMES, u64::MAX, ports);
        }
        sample
    }

    /// Takes so many frames, or bytes of frames.
    fn stretch(&mut self, reader: Option<Reader>, frames: u64, bytes: u64, ports: &Ports) {
        let Some(mut reader) = reader else { return };
        let mut taken = 0;
        while taken < bytes && reader.stats().frames < frames && self.sights.len() < KEPT {
            let Some(Ok(frame)) = reader.next_frame() else { return };
            taken += u64::from(frame.wire_len) + 16;
            let Ok(packet) = decode(&frame, PointId(0)) else { continue };
            if let Body::Udp(datagram) = &packet.body
                && ports.concern(datagram.src_port, datagram.dst_port)
                && let Some(flags) = datagram.payload.get(2)
            {
                let response = flags & 0x80 != 0;
                self.sight(
                    key(datagram.payload, datagram.wire_len, packet.via.ip_id),
                    packet.seen.ts.nanos(),
                    packet.via.ttl,
                    response,
                );
            }
        }
    }

    fn sight(&mut self, key: u64, at: i64, ttl: u8, response: bool) {
        let sight = Sight { first: at, last: at, ttl, response, ambiguous: false };
        let known = self.sights.entry(key).or_insert(sight);
        if at.abs_diff(known.first) > CLOSE.unsigned_abs() {
            known.ambiguous = true;
        } else {
            known.first = known.first.min(at);
            known.last = known.last.max(at);
            known.ttl = known.ttl.max(ttl);
        }
    }

    /// The datagrams that both points saw, beyond doubt, in the order of this point's time.
    pub(super) fn common(&self, other: &Self) -> Vec<(Sight, Sight)> {
        let mut pairs: Vec<(Sight, Sight)> = self
            .sights
            .iter()
            .filter_map(|(key, mine)| Some((*mine, *other.sights.get(key)?)))
            .filter(|(mine, its)| !mine.ambiguous && !its.ambiguous)
            .collect();
        pairs.sort_unstable_by_key(|(mine, its)| (mine.first, its.first, mine.last, its.last));
        pairs
    }
}

/// Opens a file at a place, or at its beginning where it cannot be read from there.
fn open(file: &CaptureFile, at: u64) -> Option<Reader> {
    if file.format.compression.is_some() { file.open_at(0) } else { file.open_at(at) }
}

/// What identifies a datagram wherever it is seen: translation changes addresses and nothing of
/// this, and a retransmission has another identification.
fn key(payload: &[u8], length: usize, ip_id: Option<u16>) -> u64 {
    let prefix = payload.get(..payload.len().min(PREFIX)).unwrap_or(payload);
    let rest = (length as u64) << 17 | u64::from(ip_id.map_or(0, |id| u32::from(id) | 1 << 16));
    digest(prefix) ^ rest.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
