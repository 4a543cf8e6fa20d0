//! Compressed captures: which compression, by the first bytes, and the plain bytes inside.
//!
//! logrotate and people compress captures after the fact, and names lie (`x.pcap` may be gzip), so
//! only magic bytes count. Everything streams: memory is bounded by the window of the format,
//! however much a file unfolds to. An error in the middle comes after all bytes before it.
//!
//! Magic bytes: gzip RFC 1952 section 2.3, zstd RFC 8878 sections 3.1.1 and 3.1.2 (pzstd begins
//! with a skippable frame), xz file format 2.1.1.1, LZ4 frame format (and its legacy form), bzip2
//! `BZh` with the block size.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// Compressed bytes read at once.
const READ_AHEAD: usize = 64 << 10;

/// Memory that an xz stream may ask for. `xz -9` needs 65 MiB; a header that claims more than this
/// is more likely hostile than real.
const XZ_MEMORY: u64 = 256 << 20;

/// `LZMA_CONCATENATED` of liblzma: one file may hold several streams.
const XZ_CONCATENATED: u32 = 0x08;

/// How a capture is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// gzip, one or more members.
    Gzip,
    /// Zstandard, one or more frames.
    Zstd,
    /// xz, one or more streams.
    Xz,
    /// LZ4 frames.
    Lz4,
    /// bzip2, one or more streams.
    Bzip2,
}

impl Compression {
    /// All of them.
    const ALL: [Self; 5] = [Self::Gzip, Self::Zstd, Self::Xz, Self::Lz4, Self::Bzip2];

    /// The usual ending of a file name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bz2",
        }
    }

    /// `name` without such an ending, if it has one.
    pub(super) fn strip_extension(name: &str) -> &str {
        Self::ALL
            .iter()
            .find_map(|kind| name.strip_suffix(kind.extension())?.strip_suffix('.'))
            .unwrap_or(name)
    }

    fn detect(head: &[u8]) -> Option<Self> {
        Some(match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Self::Xz,
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => return None,
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// The plain bytes of `source`, and how they were compressed if they were.
pub(super) fn decompress(
    mut source: Box<dyn Read + Send>,
) -> io::Result<(Box<dyn Read + Send>, Option<Compression>)> {
    let mut head = Vec::with_capacity(6);
    source.by_ref().take(6).read_to_end(&mut head)?;
    let found = Compression::detect(&head);
    let whole = Cursor::new(head).chain(source);
    let Some(found) = found else {
        return Ok((Box::new(whole), None));
    };
    let buffered = BufReader::with_capacity(READ_AHEAD, whole);
    let plain: Box<dyn Read + Send> = match found {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, XZ_CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(buffered, stream))
        }
        Compression::Lz4 => Box::new(Lz4Frames(lz4_flex::frame::FrameDecoder::new(buffered))),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
    };
    Ok((plain, Some(found)))
}

/// All frames of an LZ4 file: the decoder reports the end of each frame as the end of the data.
struct Lz4Frames<R: BufRead>(lz4_flex::frame::FrameDecoder<R>);

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(space)?;
            if count > 0 || space.is_empty() || self.0.get_mut().fill_buf()?.is_empty() {
                return Ok(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::testing::{Dripping, compressed};

    fn plain(bytes: Vec<u8>) -> (Vec<u8>, Option<Compression>, bool) {
        let (mut source, found) = decompress(Box::new(Dripping::new(bytes, 7))).unwrap();
        let mut all = Vec::new();
        let clean = source.read_to_end(&mut all).is_ok();
        (all, found, clean)
    }

    #[test]
    fn several_members_of_each_compression_are_one_stream() {
        let (one, two) = (b"first ".repeat(5000), b"second".repeat(5000));
        for kind in Compression::ALL {
            let mut file = compressed(kind, &one);
            file.extend(compressed(kind, &two));
            let (all, found, clean) = plain(file);
            assert_eq!(found, Some(kind));
            assert!(clean, "{kind}");
            assert!(all == [one.as_slice(), &two].concat(), "{kind}");
        }
    }

    #[test]
    fn what_came_before_a_cut_is_given() {
        let noise: Vec<u8> =
            (0_u32..200_000).flat_map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()).collect();
        for kind in Compression::ALL {
            let mut file = compressed(kind, &noise);
            file.truncate(file.len() * 9 / 10);
            let (all, _, _) = plain(file);
            assert!(noise.starts_with(&all), "{kind}");
            // These two give whole blocks only, and here there is but one.
            let in_blocks = matches!(kind, Compression::Bzip2 | Compression::Lz4);
            assert!(in_blocks || !all.is_empty(), "{kind}");
        }
    }

    #[test]
    fn plain_bytes_pass_unchanged() {
        assert_eq!(plain(b"BZ".to_vec()), (b"BZ".to_vec(), None, true));
        assert_eq!(plain(Vec::new()), (Vec::new(), None, true));
    }

    #[test]
    fn endings_are_stripped_with_their_dot() {
        assert_eq!(Compression::strip_extension("a.pcap.gz"), "a.pcap");
        assert_eq!(Compression::strip_extension("a.pcapgz"), "a.pcapgz");
    }
}
