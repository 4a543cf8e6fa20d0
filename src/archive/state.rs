//! What is remembered of a set between runs: that it need not be analysed again.
//!
//! A set is the same as long as its files are, what was asked for is, and the tool that analysed
//! it is; and as long as the reports that were written of it still lie there.

use serde::{Deserialize, Serialize};

use super::record::{SetRecord, Unreadable};
use crate::base::Timestamp;

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Its name in the directory of the set.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since the epoch.
    pub modified: i64,
    /// Its first frame.
    pub first: Option<String>,
    /// Its last frame, where it was ever read to its end.
    pub last: Option<String>,
}

impl Fingerprint {
    /// Whether the file that is known as `self` is the one that looks like `now`, as far as that
    /// shows without reading it to its end.
    pub fn is(&self, now: &Self) -> bool {
        (&self.name, self.size, self.modified, &self.first)
            == (&now.name, now.size, now.modified, &now.first)
    }

    /// Whether only the time of the last write differs, as after a copy: then the last frame has
    /// to tell.
    pub fn may_be(&self, now: &Self) -> bool {
        (&self.name, self.size, &self.first) == (&now.name, now.size, &now.first)
            && self.last.is_some()
    }

    /// Its last frame.
    pub fn last(&self) -> Option<Timestamp> {
        self.last.as_deref().and_then(Timestamp::parse)
    }
}

/// A report that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its place in the folder of reports.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What is remembered of one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of the tool that analysed it.
    pub version: String,
    /// What was asked for, in words that change with it.
    pub asked: String,
    /// The files.
    pub files: Vec<Fingerprint>,
    /// The reports.
    pub reports: Vec<Written>,
    /// What the index keeps of it, or why it could not be read.
    pub found: Result<SetRecord, Unreadable>,
}

impl State {
    /// Whether this is what another analysis of these files would say. `last` reads the last frame
    /// of the file at a place, where only that can tell.
    pub fn holds_for(
        &self,
        asked: &str,
        now: &[Fingerprint],
        last: &mut dyn FnMut(usize) -> Option<Timestamp>,
    ) -> bool {
        let same_tool = self.version == env!("CARGO_PKG_VERSION") && self.asked == asked;
        let pairs = || self.files.iter().zip(now);
        same_tool
            && self.files.len() == now.len()
            && pairs().all(|(known, now)| known.is(now) || known.may_be(now))
            && pairs().enumerate().all(|(place, (known, now))| {
                known.is(now) || (known.last().is_some() && known.last() == last(place))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_the_same_while_its_files_are() {
        let at = |seconds| Timestamp::from_parts(seconds, 0);
        let file = |size, modified| Fingerprint {
            name: "dns.pcap0".to_owned(),
            size,
            modified,
            first: Some(at(1).to_string()),
            last: Some(at(9).to_string()),
        };
        let state = State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            asked: "json".to_owned(),
            files: vec![file(10, 5)],
            reports: Vec::new(),
            found: Err(Unreadable::default()),
        };
        let mut reads = 0;
        let mut holds = |asked: &str, now: Vec<Fingerprint>, last: i64| {
            state.holds_for(asked, &now, &mut |_| {
                reads += 1;
                Some(at(last))
            })
        };
        let unread = Fingerprint { last: None, ..file(10, 5) };
        assert!(holds("json", vec![unread.clone()], 0));
        assert!(!holds("html", vec![unread.clone()], 9));
        assert!(!holds("json", vec![unread.clone(), unread.clone()], 9));
        assert!(!holds("json", vec![Fingerprint { size: 11, ..unread.clone() }], 9));
        let copied = Fingerprint { modified: 6, ..unread };
        assert!(holds("json", vec![copied.clone()], 9), "a copy has another time");
        assert!(!holds("json", vec![copied], 8), "and another end is another file");
        assert_eq!(reads, 2);
    }
}
