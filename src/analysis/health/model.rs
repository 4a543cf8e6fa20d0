//! A rule about the capture itself, and what it has to say.

use super::Facts;
use crate::base::words::{Text, module_docs};

/// One thing to know about the capture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Health {
    /// The rule id, `cap-…`.
    pub rule: &'static str,
    /// What it means for this capture, and how to record one that shows more.
    pub detail: Text,
    /// Whether findings have to be read with it in mind; else it is only for the record.
    pub serious: bool,
}

/// A rule about the capture itself: class `capture`, score 0, judged before anything else counts.
#[derive(Debug)]
pub struct CaptureRule {
    /// The rulebook's id: stable, in reports and tests.
    pub id: &'static str,
    /// A few words for lists.
    pub title: &'static str,
    /// The documents that it follows.
    pub references: &'static [&'static str],
    /// The source of the rule's own file, whose module docs are its explanation.
    pub source: &'static str,
    /// What it has to say, at the end.
    pub(super) judge: fn(&Facts<'_>) -> Vec<Health>,
}

impl CaptureRule {
    /// A few words for lists, in any language.
    pub fn title(&self) -> Text {
        Text::constant(self.title)
    }

    /// What the rule means, needs and cannot tell: its module docs, as Markdown.
    pub fn explanation(&self) -> String {
        module_docs(self.source)
    }

    /// Something that findings have to be read with in mind.
    pub(super) fn caution(&self, detail: Text) -> Health {
        Health { rule: self.id, detail, serious: true }
    }

    /// Something for the record.
    pub(super) fn note(&self, detail: Text) -> Health {
        Health { rule: self.id, detail, serious: false }
    }
}
