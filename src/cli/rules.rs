//! `dnswhy rules`: what each rule means, needs, and cannot tell.

use std::io::{self, Write};

use crate::detect::ALL;

/// Prints the list of rules, or one rule's explanation; false if there is no such rule.
pub(super) fn print(id: Option<&str>, out: &mut dyn Write) -> io::Result<bool> {
    let Some(id) = id else {
        let widest = ALL.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
        for rule in ALL {
            writeln!(out, "{:widest$}  {}", rule.id, rule.title)?;
        }
        return Ok(true);
    };
    let Some(rule) = ALL.iter().find(|rule| rule.id == id) else { return Ok(false) };
    writeln!(out, "{}: {}\n", rule.id, rule.title)?;
    write!(out, "{}", rule.explanation())?;
    writeln!(out, "\nReferences: {}", rule.references.join("; "))?;
    Ok(true)
}
