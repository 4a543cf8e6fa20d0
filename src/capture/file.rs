//! A capture file of the inventory: it can be opened when its turn comes.
//!
//! No handle is held in between, so thousands of files are no matter; only a stream, which cannot be
//! opened twice, is kept open with the bytes that were looked at put back in front.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{FileId, Format, InputProblem, OpenError, PointId, Reader, Reason};
use crate::base::{Timestamp, digest};

/// Frames that are looked at before the analysis.
const FRAMES: u64 = 3;
/// How far to look for a frame with a timestamp.
const FRAMES_WITHOUT_TIME: u64 = 64;

/// A capture file, in its place of the analysed order.
#[derive(Debug)]
pub struct CaptureFile {
    /// Its place in the analysed order.
    pub id: FileId,
    /// Where it is; `-` for standard input.
    pub path: PathBuf,
    /// Its path relative to the deepest folder with all inputs, for people.
    pub display: String,
    /// Where it was taken.
    pub point: PointId,
    /// What it is.
    pub format: Format,
    /// Its size in bytes, as it lies there; `None` for a stream.
    pub size: Option<u64>,
    /// Timestamp of its first frame; `None` without frames or timestamps.
    pub first: Option<Timestamp>,
    pub(super) source: Source,
}

impl CaptureFile {
    /// Opens it. A stream can be opened once.
    ///
    /// # Errors
    /// If the file has gone or changed since the inventory was taken, or is a stream that was read.
    pub fn open(&self) -> Result<Reader, InputProblem> {
        self.open_in_blocks(Reader::BLOCK)
    }

    /// The same, reading so many bytes at once.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in_blocks(&self, block: usize) -> Result<Reader, InputProblem> {
        let problem = |reason| InputProblem { path: self.display.clone(), reason };
        let source: Box<dyn Read + Send> = match &self.source {
            Source::Path => {
                Box::new(File::open(&self.path).map_err(|error| problem(Reason::system(&error)))?)
            }
            Source::Remote(remote) => {
                remote.open().map_err(|error| problem(Reason::system(&error)))?
            }
            Source::Stream(stream) => stream
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .ok_or_else(|| problem(Reason::Consumed))?,
        };
        Reader::open_in_blocks(source, self.id, block).map_err(|error| problem(error.into()))
    }
}

/// A capture that lies elsewhere than in a file system. Who opens it is no matter of this layer.
pub trait Remote: Send + Sync {
    /// Its whole address, such as `s3://bucket/node/dns.pcap0.gz`.
    fn address(&self) -> &str;
    /// Its size in bytes, as it lies there.
    fn size(&self) -> u64;
    /// Opens it, from its start.
    ///
    /// # Errors
    /// If it cannot be reached.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// A capture that can be opened as often as wanted.
#[derive(Clone)]
pub enum Location {
    /// A regular file.
    File(PathBuf),
    /// On another machine.
    Remote(Arc<dyn Remote>),
}

impl Location {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::File(path) => Ok(Box::new(File::open(path)?)),
            Self::Remote(remote) => remote.open(),
        }
    }

    /// The timestamp of its first frame; `None` without frames or timestamps.
    ///
    /// # Errors
    /// If it is no capture that can be read.
    pub fn first_frame(&self) -> Result<Option<Timestamp>, Reason> {
        let source = self.open().map_err(|error| Reason::system(&error))?;
        Ok(glimpse(source)?.first)
    }

    /// The latest timestamp of its frames, for which all of it is read; `None` without any.
    pub fn last_frame(&self) -> Option<Timestamp> {
        let mut reader = Reader::open(self.open().ok()?, FileId(0)).ok()?;
        while reader.next_frame().is_some() {}
        Some(reader.stats().span?.end)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Remote(remote) => f.write_str(remote.address()),
        }
    }
}

/// Where the bytes of a file come from.
pub(super) enum Source {
    /// From its path, as often as wanted.
    Path,
    /// From another machine, as often as wanted.
    Remote(Arc<dyn Remote>),
    /// From a stream, once.
    Stream(Mutex<Option<Box<dyn Read + Send>>>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "Path",
            Self::Remote(_) => "Remote",
            Self::Stream(_) => "Stream",
        })
    }
}

/// What the first frames of a file tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glimpse {
    pub(super) format: Format,
    /// The first timestamp among the first frames.
    pub(super) first: Option<Timestamp>,
    /// A digest of the first frames; `None` without frames.
    pub(super) digest: Option<u64>,
}

/// Looks at the first frames of a regular file.
pub(super) fn glimpse_path(path: &Path) -> Result<Glimpse, Reason> {
    let file = File::open(path).map_err(|error| Reason::system(&error))?;
    Ok(glimpse(Box::new(file))?)
}

/// Looks at the first frames of a capture on another machine.
pub(super) fn glimpse_remote(remote: &dyn Remote) -> Result<Glimpse, Reason> {
    let source = remote.open().map_err(|error| Reason::system(&error))?;
    Ok(glimpse(source)?)
}

/// Looks at the first frames of a stream and gives it back as it was.
pub(super) fn glimpse_stream(source: Box<dyn Read + Send>) -> Result<(Glimpse, Source), OpenError> {
    let shared = Arc::new(Mutex::new(Recorded { source, bytes: Vec::new() }));
    let found = glimpse(Box::new(Recorder(Arc::clone(&shared))))?;
    // The reader that held the other end is gone by now.
    let stream = Arc::into_inner(shared).map(|recorded| {
        let Recorded { source, bytes } =
            recorded.into_inner().unwrap_or_else(PoisonError::into_inner);
        Box::new(Cursor::new(bytes).chain(source)) as Box<dyn Read + Send>
    });
    Ok((found, Source::Stream(Mutex::new(stream))))
}

/// Damage is left to the analysis, which meets it again.
fn glimpse(source: Box<dyn Read + Send>) -> Result<Glimpse, OpenError> {
    let mut reader = Reader::peek(source)?;
    let mut looked_at = Vec::new();
    while let Some(Ok(frame)) = reader.next_frame() {
        looked_at.extend(frame.seen.ts.nanos().to_le_bytes());
        looked_at.extend(frame.bytes);
        let stats = reader.stats();
        let enough = if stats.first.is_some() { FRAMES } else { FRAMES_WITHOUT_TIME };
        if stats.frames >= enough {
            break;
        }
    }
    Ok(Glimpse {
        format: reader.format(),
        first: reader.stats().first,
        digest: (reader.stats().frames > 0).then(|| digest(&looked_at)),
    })
}

/// A stream and what was taken from it. The reader's own limit bounds how much that is.
struct Recorded {
    source: Box<dyn Read + Send>,
    bytes: Vec<u8>,
}

struct Recorder(Arc<Mutex<Recorded>>);

impl Read for Recorder {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = recorded.source.read(space)?;
        recorded.bytes.extend(space.iter().take(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_can_be_opened_and_read_by_any_thread() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>() {}
        shared::<CaptureFile>();
        sent::<Reader>();
    }
}
