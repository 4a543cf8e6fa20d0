//! Rotated pcap files, written as tcpdump -C/-W names them.

use crate::opts::{Link, Opts};
use std::fs::File;
use std::io::Write;

pub struct Out<'a> {
    o: &'a Opts,
    file: Option<File>,
    buf: Vec<u8>,
    index: u32,
    size: u64,
    limit: u64,
    digits: usize,
    last: std::path::PathBuf,
    pub packets: u64,
    pub bytes: u64,
    pub full: bool,
}

const FLUSH: usize = 1 << 20;

impl<'a> Out<'a> {
    pub fn new(o: &'a Opts) -> std::io::Result<Self> {
        std::fs::create_dir_all(&o.out)?;
        let mut out = Out {
            o,
            file: None,
            buf: Vec::with_capacity(FLUSH + (1 << 17)),
            index: 0,
            size: 0,
            limit: (o.mb * 1e6) as u64,
            digits: (o.files - 1).max(1).to_string().len(),
            last: Default::default(),
            packets: 0,
            bytes: 0,
            full: false,
        };
        out.open()?;
        Ok(out)
    }

    fn u32(&mut self, v: u32) {
        let b = if self.o.big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        self.buf.extend_from_slice(&b);
    }

    fn open(&mut self) -> std::io::Result<()> {
        let n = (self.index + self.o.ring_start) % self.o.files;
        self.last = self.o.out.join(format!("{}{n:0w$}", self.o.prefix, w = self.digits));
        self.file = Some(File::create(&self.last)?);
        self.size = 24;
        self.u32(if self.o.nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
        let version: u32 = if self.o.big_endian { 2 << 16 | 4 } else { 4 << 16 | 2 };
        self.u32(version);
        self.u32(0);
        self.u32(0);
        self.u32(self.o.snaplen);
        self.u32(match self.o.link {
            Link::Sll2 => 276,
            Link::Sll => 113,
            Link::En10mb => 1,
        });
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if let Some(f) = &mut self.file {
            f.write_all(&self.buf)?;
        }
        self.bytes += self.buf.len() as u64;
        self.buf.clear();
        Ok(())
    }

    /// One record; `ns` is since the epoch.
    #[inline]
    pub fn record(&mut self, ns: u64, data: &[u8]) -> std::io::Result<()> {
        let cap = data.len().min(self.o.snaplen as usize);
        let frac = (ns % 1_000_000_000) as u32;
        self.u32((ns / 1_000_000_000) as u32);
        self.u32(if self.o.nano { frac } else { frac / 1000 });
        self.u32(cap as u32);
        self.u32(data.len() as u32);
        self.buf.extend_from_slice(&data[..cap]);
        self.size += 16 + cap as u64;
        self.packets += 1;
        if self.buf.len() >= FLUSH {
            self.flush()?;
        }
        if self.size >= self.limit {
            self.flush()?;
            self.index += 1;
            if self.index == self.o.files {
                self.full = true;
                self.file = None;
            } else {
                self.open()?;
            }
        }
        if self.packets == self.o.packets {
            self.full = true;
        }
        Ok(())
    }

    pub fn finish(mut self) -> std::io::Result<(u64, u64, u32)> {
        self.flush()?;
        self.file = None;
        if self.o.cut_last > 0 {
            let f = std::fs::OpenOptions::new().write(true).open(&self.last)?;
            let len = f.metadata()?.len();
            f.set_len(len.saturating_sub(self.o.cut_last))?;
        }
        Ok((self.packets, self.bytes, (self.index + 1).min(self.o.files)))
    }
}
