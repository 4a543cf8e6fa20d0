//! Packets as a pcapng file with a comment on each (draft-ietf-opsawg-pcapng).

use std::io::{self, Write};

use crate::base::Timestamp;
use crate::capture::{FrameRef, LinkType};

/// The block types that are written.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Options: a comment on any block; name, resolution of an interface; the writing program.
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const USER_APPLICATION: u16 = 4;
/// Timestamps count nanoseconds.
const NANOSECONDS: u8 = 9;

/// A packet to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// Where it was.
    pub at: FrameRef,
    /// When.
    pub ts: Timestamp,
    /// The capture point and the interface that it was recorded on.
    pub interface: (String, Option<u32>),
    /// What its first byte is.
    pub link: LinkType,
    /// Its length on the wire.
    pub wire_len: u32,
    /// Its captured bytes.
    pub bytes: Vec<u8>,
    /// Why it is there.
    pub why: String,
}

/// Writes the packets in the order given, under the interfaces that they came from.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_pcapng(packets: &[Picked], out: &mut dyn Write) -> io::Result<()> {
    let mut interfaces: Vec<(&(String, Option<u32>), LinkType)> = Vec::new();
    let mut body = vec![];
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend([1, 0, 0, 0]);
    body.extend(u64::MAX.to_le_bytes());
    let program = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    option(&mut body, USER_APPLICATION, program.as_bytes());
    end_of_options(&mut body);
    block(SECTION, &body, out)?;
    for packet in packets {
        let key = (&packet.interface, packet.link);
        if !interfaces.contains(&key) {
            interfaces.push(key);
            interface(packet, out)?;
        }
    }
    for packet in packets {
        let key = (&packet.interface, packet.link);
        let index = interfaces.iter().position(|known| *known == key).unwrap_or(0);
        self::packet(packet, u32::try_from(index).unwrap_or(0), out)?;
    }
    Ok(())
}

fn interface(packet: &Picked, out: &mut dyn Write) -> io::Result<()> {
    let (point, number) = &packet.interface;
    let name = match number {
        Some(number) => format!("{point}, interface {number}"),
        None => point.clone(),
    };
    let mut body = vec![];
    body.extend(packet.link.0.to_le_bytes());
    body.extend([0; 6]);
    option(&mut body, IF_NAME, name.as_bytes());
    option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
    end_of_options(&mut body);
    block(INTERFACE, &body, out)
}

fn packet(packet: &Picked, interface: u32, out: &mut dyn Write) -> io::Result<()> {
    let nanos = u64::try_from(packet.ts.nanos()).unwrap_or(0);
    let captured = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
    let mut body = vec![];
    body.extend(interface.to_le_bytes());
    // The high and the low half, each in the byte order of the section.
    let [a, b, c, d, high @ ..] = nanos.to_le_bytes();
    body.extend(high);
    body.extend([a, b, c, d]);
    body.extend(captured.to_le_bytes());
    body.extend(packet.wire_len.to_le_bytes());
    body.extend(&packet.bytes);
    pad(&mut body);
    option(&mut body, COMMENT, super::escape::terminal(&packet.why).as_bytes());
    end_of_options(&mut body);
    block(PACKET, &body, out)
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX) - 3)];
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(kind: u32, body: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let length = u32::try_from(body.len() + 12).map_err(io::Error::other)?.to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}
