//! Whether two capture files hold the same, perhaps compressed differently.
//!
//! People copy rings while tcpdump still writes, and logrotate leaves `x.pcap` beside `x.pcap.gz`:
//! read twice, every message would look like a copy. Only files whose first frames agree are ever
//! compared, so this reads whole files only where they very likely are the same.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::decompress::decompress;

/// Bytes compared at once.
const PIECE: usize = 64 << 10;

/// Whether both files hold the same bytes, as they are or when decompressed. A file that cannot be
/// read to its end is the same as none.
pub(super) fn same_content(one: &Path, other: &Path) -> bool {
    compare(one, other).unwrap_or(false)
}

fn compare(one: &Path, other: &Path) -> io::Result<bool> {
    let (file, other_file) = (File::open(one)?, File::open(other)?);
    if file.metadata()?.len() == other_file.metadata()?.len()
        && same_bytes(Box::new(file), Box::new(other_file))?
    {
        return Ok(true);
    }
    let (plain, compression) = decompress(Box::new(File::open(one)?))?;
    let (other_plain, other_compression) = decompress(Box::new(File::open(other)?))?;
    if compression.is_none() && other_compression.is_none() {
        return Ok(false);
    }
    same_bytes(plain, other_plain)
}

fn same_bytes(mut one: Box<dyn Read + Send>, mut other: Box<dyn Read + Send>) -> io::Result<bool> {
    let (mut left, mut right) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(PIECE as u64).read_to_end(&mut left)?;
        other.by_ref().take(PIECE as u64).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
