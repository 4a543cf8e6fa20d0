//! `dnswhy rules`: what each rule means, needs, and cannot tell.

use std::io::{self, Write};

use crate::analysis::CAPTURE_RULES;
use crate::base::Lang;
use crate::base::words::{Text, module_docs, plain, text};
use crate::detect::ALL;
use crate::report::explanation;

/// A rule of either kind: about the network, or about the capture itself.
struct Entry {
    id: &'static str,
    title: Text,
    references: &'static [&'static str],
    source: &'static str,
}

/// All rules, in the order of their ids.
fn entries() -> Vec<Entry> {
    let network = ALL.iter().map(|rule| Entry {
        id: rule.id,
        title: rule.title(),
        references: rule.references,
        source: rule.source,
    });
    let capture = CAPTURE_RULES.iter().map(|rule| Entry {
        id: rule.id,
        title: rule.title(),
        references: rule.references,
        source: rule.source,
    });
    let mut all: Vec<Entry> = network.chain(capture).collect();
    all.sort_by_key(|entry| entry.id);
    all
}

/// Prints the list of rules, or one rule's explanation; false if there is no such rule.
pub(super) fn print(id: Option<&str>, lang: Lang, out: &mut dyn Write) -> io::Result<bool> {
    let entries = entries();
    let Some(id) = id else {
        let widest = entries.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
        for rule in &entries {
            writeln!(out, "{:widest$}  {}", rule.id, rule.title.render(lang))?;
        }
        return Ok(true);
    };
    let Some(rule) = entries.iter().find(|rule| rule.id == id) else { return Ok(false) };
    writeln!(out, "{}: {}\n", rule.id, rule.title.render(lang))?;
    match explanation(rule.id, lang) {
        Some(docs) => write!(out, "{docs}")?,
        None => write!(out, "{}", module_docs(rule.source))?,
    }
    let references = plain(rule.references.join("; "));
    writeln!(out, "\n{}", text!("References: {references}", references).render(lang))?;
    Ok(true)
}
