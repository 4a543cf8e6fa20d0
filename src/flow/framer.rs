//! Messages out of a TCP stream: each has a length of two bytes before it (RFC 1035 section
//! 4.2.2, RFC 7766 section 8).
//!
//! The stream comes in order, with holes where bytes were never captured. Behind a hole, or
//! where the capture joined the stream in the middle, the next border has to be found: the
//! beginning of a segment that reads like a message, or else any place where a whole message
//! reads to its exact end.

use crate::capture::Seen;
use crate::dns::{begins_message, is_whole_message};
use crate::packet::Via;

/// The length prefix.
const PREFIX: usize = 2;

/// Whole messages that are tried per segment when a border is looked for: bounds the work that
/// bytes made for it can cause.
const TRIES: u8 = 32;

/// Where and when bytes were seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) seen: Seen,
    pub(super) via: Via,
}

/// A message of a stream.
pub(super) struct Piece<'a> {
    /// Its captured bytes, without the length prefix.
    pub(super) bytes: &'a [u8],
    /// Its length on the wire; more than `bytes.len()` when its end was not captured.
    pub(super) wire_len: usize,
    /// Where it ended.
    pub(super) stamp: Stamp,
}

/// The framing of one direction of a connection.
#[derive(Debug)]
pub(super) struct Framer {
    /// The beginning of a message, its prefix included, or bytes that a border is looked for in.
    pending: Vec<u8>,
    mode: Mode,
    /// The borders follow from the stream's first byte and not from a guess.
    sure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The next byte belongs to the message that `pending` begins.
    Aligned,
    /// This many bytes belong to a message that is no longer wanted.
    Skipping(usize),
    /// Where messages begin is not known.
    Searching,
}

impl Framer {
    /// For a stream that the capture joins in the middle.
    pub(super) fn joined() -> Self {
        Self { pending: Vec::new(), mode: Mode::Searching, sure: false }
    }

    /// For a stream of which the first byte comes next.
    pub(super) fn from_start() -> Self {
        Self { mode: Mode::Aligned, sure: true, ..Self::joined() }
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> usize {
        self.pending.capacity()
    }

    /// Forgets what it holds and looks for the next border.
    pub(super) fn abandon(&mut self) {
        *self = Self::joined();
    }

    /// Takes the next bytes of the stream, the payload of one segment.
    pub(super) fn feed(&mut self, bytes: &[u8], stamp: Stamp, out: &mut impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        let mut tries = TRIES;
        while !rest.is_empty() {
            rest = match self.mode {
                Mode::Skipping(left) => {
                    let drop = left.min(rest.len());
                    self.mode =
                        if left > drop { Mode::Skipping(left - drop) } else { Mode::Aligned };
                    rest.get(drop..).unwrap_or_default()
                }
                Mode::Aligned if self.pending.is_empty() => self.direct(rest, stamp, out),
                Mode::Aligned => self.complete(rest, stamp, out),
                Mode::Searching => self.search(rest, &mut tries),
            };
        }
    }

    /// Passes `missing` bytes that were never captured, seen to be missing at `stamp`.
    pub(super) fn hole(&mut self, missing: usize, stamp: Stamp, out: &mut impl FnMut(Piece<'_>)) {
        let mut left = match self.mode {
            Mode::Searching => {
                self.pending = Vec::new();
                return;
            }
            Mode::Skipping(left) => left,
            Mode::Aligned => {
                let pending = std::mem::take(&mut self.pending);
                let Some((length, head)) = split_prefix(&pending) else {
                    self.abandon();
                    return;
                };
                out(Piece { bytes: head, wire_len: length, stamp });
                length.saturating_sub(head.len())
            }
        };
        if missing > left {
            self.abandon();
            return;
        }
        left -= missing;
        self.mode = if left > 0 { Mode::Skipping(left) } else { Mode::Aligned };
        // The prefix may have been a false one; what follows has to read like a message.
        self.sure = false;
    }

    /// Messages that lie whole in one segment, without a copy; keeps what is left over.
    fn direct<'a>(
        &mut self,
        bytes: &'a [u8],
        stamp: Stamp,
        out: &mut impl FnMut(Piece<'_>),
    ) -> &'a [u8] {
        match split_prefix(bytes) {
            Some((length, body)) if body.len() >= length => {
                let (message, rest) = body.split_at_checked(length).unwrap_or((body, &[]));
                if self.accepts(message) {
                    emit(message, stamp, out);
                    rest
                } else {
                    self.abandon();
                    bytes
                }
            }
            _ => {
                self.pending.extend_from_slice(bytes);
                &[]
            }
        }
    }

    /// Adds to the message that was begun; returns what lies behind its end.
    fn complete<'a>(
        &mut self,
        bytes: &'a [u8],
        stamp: Stamp,
        out: &mut impl FnMut(Piece<'_>),
    ) -> &'a [u8] {
        let whole = match split_prefix(&self.pending) {
            Some((length, _)) => PREFIX + length,
            None => PREFIX,
        };
        let wanted = whole.saturating_sub(self.pending.len()).min(bytes.len());
        let (more, rest) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
        self.pending.extend_from_slice(more);
        match split_prefix(&self.pending) {
            Some((length, body)) if body.len() >= length => {
                if self.accepts(body) {
                    emit(body, stamp, out);
                    self.pending = Vec::new();
                } else {
                    self.abandon();
                }
            }
            _ => {}
        }
        rest
    }

    /// Whether a message may stand where the borders say: in a stream seen from its first byte
    /// everything does, as for Wireshark; behind a guessed border only what reads like one.
    fn accepts(&self, message: &[u8]) -> bool {
        self.sure || begins_message(message, message.len()) == Some(true)
    }

    /// Looks for a border, with `bytes` as the beginning of a segment; returns those of them
    /// that are still to be read once one is found.
    fn search<'a>(&mut self, bytes: &'a [u8], tries: &mut u8) -> &'a [u8] {
        let earlier = self.pending.len();
        let joined;
        let window = if earlier == 0 {
            bytes
        } else {
            joined = [self.pending.as_slice(), bytes].concat();
            joined.as_slice()
        };
        match find(window, earlier, tries) {
            Find::Border(start) => {
                self.mode = Mode::Aligned;
                self.sure = false;
                if start < earlier {
                    self.pending.drain(..start);
                    return bytes;
                }
                self.pending = Vec::new();
                bytes.get(start - earlier..).unwrap_or_default()
            }
            Find::Perhaps(start) => {
                self.pending = window.get(start..).unwrap_or_default().to_vec();
                &[]
            }
            Find::Nowhere => {
                self.pending = Vec::new();
                &[]
            }
        }
    }
}

enum Find {
    Border(usize),
    /// There may be one here: more bytes will tell.
    Perhaps(usize),
    Nowhere,
}

/// Looks for a border in `window`, in which the latest segment begins at `earlier`.
fn find(window: &[u8], earlier: usize, tries: &mut u8) -> Find {
    let at = |start| window.get(start..).unwrap_or_default();
    // A segment that was too short to judge comes first, then the latest one, then any place.
    for start in [0, earlier] {
        match border(at(start)) {
            Some(true) => return Find::Border(start),
            None => return Find::Perhaps(start),
            Some(false) => {}
        }
    }
    for start in 1..window.len() {
        if border(at(start)) != Some(true) {
            continue;
        }
        if *tries == 0 {
            break;
        }
        *tries -= 1;
        let (length, body) = split_prefix(at(start)).unwrap_or_default();
        if body.get(..length).is_some_and(is_whole_message) {
            return Find::Border(start);
        }
    }
    Find::Nowhere
}

fn emit(message: &[u8], stamp: Stamp, out: &mut impl FnMut(Piece<'_>)) {
    out(Piece { bytes: message, wire_len: message.len(), stamp });
}

fn split_prefix(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (prefix, body) = bytes.split_first_chunk::<PREFIX>()?;
    Some((usize::from(u16::from_be_bytes(*prefix)), body))
}

/// Whether a message, its prefix first, begins with `bytes`; `None` if that needs more of them.
fn border(bytes: &[u8]) -> Option<bool> {
    let (length, body) = split_prefix(bytes)?;
    begins_message(body, length)
}
