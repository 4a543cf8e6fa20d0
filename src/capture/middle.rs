//! Reading from the middle of a capture file: what a sample needs, and the analysis never does.
//!
//! Records carry no marker, so the place where one begins is found by the lengths that follow each
//! other from there. The reader then gets the file's header with those records behind it. Numbers
//! of such frames mean nothing.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};

use super::file::Source;
use super::order::Order;
use super::{CaptureFile, Container, FileId, Reader};

/// Bytes in which a record has to begin, and others behind it.
const SEARCHED: usize = 192 << 10;
/// Bytes in which the header of a pcapng file has to end.
const HEADER: usize = 64 << 10;
/// Records that have to follow each other.
const CHAIN: usize = 4;
/// No link has frames that are longer.
const LONGEST: u32 = 256 << 10;
/// Header of a classic file, and of a record in it.
const CLASSIC: (usize, usize) = (24, 16);
/// Types of the pcapng blocks: a section, its interfaces, and those that hold packets.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKETS: [u32; 2] = [6, 3];
/// Further types that are met between packets: names, statistics, secrets.
const OTHERS: [u32; 3] = [4, 5, 10];

impl CaptureFile {
    /// Reads it from about `offset` bytes on, at a small price. A compressed file can only be read from its
    /// beginning, and a stream not at all: `None`.
    pub fn open_at(&self, offset: u64) -> Option<Reader> {
        if !matches!(self.source, Source::Path) {
            return None;
        }
        let mut file = File::open(&self.path).ok()?;
        if offset == 0 {
            return Reader::glance(Box::new(file), self.id).ok();
        }
        if self.format.compression.is_some() {
            return None;
        }
        let head = read(&mut file, HEADER)?;
        let (order, header) = match self.format.container {
            Container::Pcap => (classic(&head)?, CLASSIC.0),
            Container::PcapNg => blocks(&head)?,
        };
        let aligned = (offset.max(header as u64) - header as u64) / 4 * 4 + header as u64;
        file.seek(SeekFrom::Start(aligned)).ok()?;
        let data = read(&mut file, SEARCHED)?;
        let begins = |at: &usize| match self.format.container {
            Container::Pcap => chain(*at, &data, |at| record(order, &data, at)),
            Container::PcapNg => chain(*at, &data, |at| block(order, &data, at)),
        };
        let step = if self.format.container == Container::Pcap { 1 } else { 4 };
        let at = (0..data.len() / 2).step_by(step).find(begins)?;
        let rest = data.get(at..)?.to_vec();
        let head = head.get(..header)?.to_vec();
        let whole = Cursor::new(head).chain(Cursor::new(rest)).chain(file);
        Reader::glance(Box::new(whole), FileId(self.id.0)).ok()
    }
}

fn read(file: &mut File, bytes: usize) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    file.take(bytes as u64).read_to_end(&mut data).ok()?;
    Some(data)
}

/// Whether records follow each other from `at` on, or to the end of the data.
fn chain(at: usize, data: &[u8], next: impl Fn(usize) -> Option<usize>) -> bool {
    let mut place = at;
    for length in 0..CHAIN {
        match next(place) {
            Some(end) if end <= data.len() => place = end,
            Some(_) => return length > 0,
            None => return length > 1 && place >= data.len(),
        }
    }
    true
}

/// The byte order of the standard form of classic pcap.
fn classic(head: &[u8]) -> Option<Order> {
    match head {
        [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => Some(Order::Little),
        [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xa1, 0xb2, 0x3c, 0x4d, ..] => Some(Order::Big),
        _ => None,
    }
}

/// Where the record that begins at `at` ends, if one can begin there.
fn record(order: Order, data: &[u8], at: usize) -> Option<usize> {
    let fraction = order.u32(data, at + 4)?;
    let captured = order.u32(data, at + 8)?;
    let wire = order.u32(data, at + 12)?;
    let fits = fraction < 1_000_000_000 && captured > 0 && captured <= wire && wire <= LONGEST;
    // A day between two records is no gap that a sample has to pass over.
    let seconds = order.u32(data, at)?;
    let end = at + CLASSIC.1 + usize::try_from(captured).ok()?;
    let near = order.u32(data, end).is_none_or(|next| next.abs_diff(seconds) < 86_400);
    (fits && near).then_some(end)
}

/// The byte order of a pcapng file, and where its packets begin.
fn blocks(head: &[u8]) -> Option<(Order, usize)> {
    let order = match head.get(8..12)? {
        [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
        [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
        _ => return None,
    };
    let mut at = 0;
    loop {
        let kind = order.u32(head, at)?;
        if kind != SECTION && kind != INTERFACE {
            return Some((order, at));
        }
        at = block(order, head, at)?;
    }
}

/// Where the block that begins at `at` ends, if one can begin there.
fn block(order: Order, data: &[u8], at: usize) -> Option<usize> {
    let kind = order.u32(data, at)?;
    let length = order.u32(data, at + 4)?;
    let known =
        PACKETS.contains(&kind) || OTHERS.contains(&kind) || [SECTION, INTERFACE].contains(&kind);
    if !known || !(12..=2 * LONGEST).contains(&length) || length % 4 != 0 {
        return None;
    }
    let end = at + usize::try_from(length).ok()?;
    let again = order.u32(data, end - 4).is_none_or(|again| again == length);
    again.then_some(end)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::capture::Inventory;
    use crate::capture::testing::{LITTLE, capture, compressed};

    /// The bytes of the first frames from `offset` on.
    fn frames(file: &[u8], offset: u64) -> Option<Vec<Vec<u8>>> {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("one.pcap");
        std::fs::write(&path, file).unwrap();
        let inventory = Inventory::take(&[path], &[]).unwrap();
        let mut reader = inventory.files[0].open_at(offset)?;
        let mut frames = Vec::new();
        while let Some(Ok(frame)) = reader.next_frame() {
            frames.push(frame.bytes.to_vec());
        }
        Some(frames)
    }

    fn packets() -> Vec<Vec<u8>> {
        (0..40_u8).map(|n| vec![n ^ 0x5a; 60 + usize::from(n)]).collect()
    }

    #[test]
    fn a_classic_file_is_read_from_the_next_record_on() {
        let packets = packets();
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let file = capture(1, &slices);
        assert_eq!(frames(&file, 0).unwrap(), packets);
        // The first record is 76 bytes long.
        assert_eq!(frames(&file, 24 + 16).unwrap(), packets[1..]);
        assert_eq!(frames(&file, 24 + 76 + 8).unwrap(), packets[2..]);
    }

    #[test]
    fn a_pcapng_file_is_read_from_the_next_block_on() {
        let mut file = LITTLE.section();
        file.extend(LITTLE.interface(1, 65_535, &[]));
        let header = file.len() as u64;
        for packet in packets() {
            file.extend(LITTLE.packet(0, 1_000_000, &packet));
        }
        assert_eq!(frames(&file, 0).unwrap(), packets());
        assert_eq!(frames(&file, header + 5).unwrap(), packets()[1..]);
    }

    #[test]
    fn a_compressed_file_is_read_from_its_beginning_only() {
        let packets = packets();
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let file = compressed(crate::capture::Compression::Gzip, &capture(1, &slices));
        assert_eq!(frames(&file, 0).unwrap().len(), 40);
        assert!(frames(&file, 100).is_none());
    }
}
