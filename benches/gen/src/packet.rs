//! Frames from the link header to the end of the segment.

use crate::opts::Link;

#[derive(Clone, Copy)]
pub struct Side {
    pub ip: u32,
    pub port: u16,
}

pub struct Frame {
    pub link: Link,
    pub v6: bool,
    pub ifindex: u32,
    /// 0 = to us (In), 4 = from us (Out).
    pub direction: u8,
    pub src: Side,
    pub dst: Side,
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

fn sum(mut acc: u64, d: &[u8]) -> u64 {
    let mut c = d.chunks_exact(4);
    for w in &mut c {
        acc += u64::from(u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
    }
    let mut last = [0u8; 4];
    let r = c.remainder();
    last[..r.len()].copy_from_slice(r);
    acc + u64::from(u32::from_be_bytes(last))
}

fn fold(mut acc: u64) -> u16 {
    while acc >> 16 != 0 {
        acc = (acc & 0xffff) + (acc >> 16);
    }
    !(acc as u16)
}

fn v6(ip: u32) -> [u8; 16] {
    let mut a = [0u8; 16];
    a[..6].copy_from_slice(&[0xfd, 0, 0, 0x10, 2, 0x44]);
    a[12..].copy_from_slice(&ip.to_be_bytes());
    a
}

impl Frame {
    /// Link and network header; returns where the transport header starts.
    fn head(&self, out: &mut Vec<u8>, proto: u8, l4_len: usize, ident: u16) -> usize {
        out.clear();
        let et: u16 = if self.v6 { 0x86dd } else { 0x0800 };
        let mac = [0x0a, 0x58, 0x0a, 0xf4, self.ifindex as u8, self.direction];
        match self.link {
            Link::Sll2 => {
                out.extend_from_slice(&et.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&self.ifindex.to_be_bytes());
                out.extend_from_slice(&[0, 1, self.direction, 6]);
                out.extend_from_slice(&mac);
                out.extend_from_slice(&[0, 0]);
            }
            Link::Sll => {
                out.extend_from_slice(&[0, self.direction, 0, 1, 0, 6]);
                out.extend_from_slice(&mac);
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&et.to_be_bytes());
            }
            Link::En10mb => {
                out.extend_from_slice(&[0x0a, 0x58, 0x0a, 0xf4, 0, 1]);
                out.extend_from_slice(&mac);
                out.extend_from_slice(&et.to_be_bytes());
            }
        }
        if self.v6 {
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&(l4_len as u16).to_be_bytes());
            out.extend_from_slice(&[proto, 64]);
            out.extend_from_slice(&v6(self.src.ip));
            out.extend_from_slice(&v6(self.dst.ip));
        } else {
            let at = out.len();
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&((20 + l4_len) as u16).to_be_bytes());
            out.extend_from_slice(&ident.to_be_bytes());
            out.extend_from_slice(&[0x40, 0, 64, proto, 0, 0]);
            out.extend_from_slice(&self.src.ip.to_be_bytes());
            out.extend_from_slice(&self.dst.ip.to_be_bytes());
            let c = fold(sum(0, &out[at..at + 20]));
            out[at + 10..at + 12].copy_from_slice(&c.to_be_bytes());
        }
        out.len()
    }

    fn checksum(&self, out: &[u8], at: usize, proto: u8) -> u16 {
        let mut acc = u64::from(proto) + (out.len() - at) as u64;
        if self.v6 {
            acc = sum(sum(acc, &v6(self.src.ip)), &v6(self.dst.ip));
        } else {
            acc += u64::from(self.src.ip) + u64::from(self.dst.ip);
        }
        fold(sum(acc, &out[at..]))
    }

    pub fn udp(&self, out: &mut Vec<u8>, payload: &[u8], ident: u16) {
        let len = 8 + payload.len();
        let at = self.head(out, 17, len, ident);
        out.extend_from_slice(&self.src.port.to_be_bytes());
        out.extend_from_slice(&self.dst.port.to_be_bytes());
        out.extend_from_slice(&(len as u16).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(payload);
        let c = self.checksum(out, at, 17);
        out[at + 6..at + 8].copy_from_slice(&(if c == 0 { 0xffff } else { c }).to_be_bytes());
    }

    pub fn tcp(
        &self,
        out: &mut Vec<u8>,
        seq: u32,
        ack: u32,
        flags: u8,
        payload: &[u8],
        ident: u16,
    ) {
        let opts: &[u8] =
            if flags & SYN != 0 { &[2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7] } else { &[] };
        let at = self.head(out, 6, 20 + opts.len() + payload.len(), ident);
        out.extend_from_slice(&self.src.port.to_be_bytes());
        out.extend_from_slice(&self.dst.port.to_be_bytes());
        out.extend_from_slice(&seq.to_be_bytes());
        out.extend_from_slice(&ack.to_be_bytes());
        out.extend_from_slice(&[((20 + opts.len()) as u8 / 4) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        out.extend_from_slice(opts);
        out.extend_from_slice(payload);
        let c = self.checksum(out, at, 6);
        out[at + 16..at + 18].copy_from_slice(&c.to_be_bytes());
    }
}
