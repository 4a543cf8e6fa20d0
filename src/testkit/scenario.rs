//! A scenario, and the frames of it.

use std::collections::BTreeMap;

use super::script::Script;
use super::stage::Seeing;
use super::{link, stage};
use crate::base::Timestamp;
use crate::capture::{FileId, Frame, FrameRef, LinkType, Seen};

/// A conversation, and where it was captured.
#[derive(Debug, Clone)]
pub struct Scenario {
    link: LinkType,
    sightings: Vec<Seeing>,
}

/// One frame, made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeFrame {
    /// When the capture says it was seen.
    pub ts: Timestamp,
    /// What its first byte is.
    pub link: LinkType,
    /// The captured bytes.
    pub bytes: Vec<u8>,
    /// Its length on the wire.
    pub orig_len: u32,
    /// The file it is in.
    pub file: FileId,
    /// Its number in that file, from 1.
    pub number: u32,
}

/// Why a text is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scenario line {line}: {reason}")]
pub struct ScenarioError {
    /// The line of the text, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Scenario {
    /// Acts out `text`, which is in the language of the [module](crate::testkit).
    ///
    /// # Panics
    ///
    /// With the line number and the reason if the text is wrong.
    pub fn parse(text: &str) -> Self {
        match Self::try_parse(text) {
            Ok(scenario) => scenario,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`Scenario::parse`], with the error as a value.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, and why.
    pub fn try_parse(text: &str) -> Result<Self, ScenarioError> {
        let wrong = |(line, reason)| ScenarioError { line, reason };
        let script = Script::parse(text).map_err(wrong)?;
        let mut sightings = stage::act(&script).map_err(wrong)?;
        sightings.sort_by_key(|seeing| (seeing.file, seeing.ts));
        Ok(Self { link: script.link, sightings })
    }

    /// All frames in the order of the capture.
    pub fn frames(&self) -> Vec<MadeFrame> {
        self.frames_as(self.link, false)
    }

    /// The same with other link headers, in the byte order of the file.
    pub(super) fn frames_as(&self, link: LinkType, big_endian: bool) -> Vec<MadeFrame> {
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        let frames = self.sightings.iter().map(|seeing| {
            let mut bytes = link::frame(link, &seeing.sighting, big_endian, &seeing.packet);
            let orig_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            bytes.truncate(seeing.cut.unwrap_or(usize::MAX));
            let number = numbers.entry(seeing.file).or_default();
            *number += 1;
            MadeFrame {
                ts: seeing.stamp,
                link,
                bytes,
                orig_len,
                file: FileId(seeing.file),
                number: *number,
            }
        });
        frames.collect()
    }

    /// The link type it was captured with.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }
}

impl MadeFrame {
    /// The frame as the reader of a classic pcap file hands it on.
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            seen: Seen { ts: self.ts, at: FrameRef::new(self.file, self.number) },
            interface: None,
            link: self.link,
            wire_len: self.orig_len,
            bytes: &self.bytes,
        }
    }
}
