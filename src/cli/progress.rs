//! A progress bar on standard error, if that is a terminal and the work is long.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::capture::Inventory;

/// Input below this is read faster than a bar could be looked at.
const WORTH_IT: u64 = 32 << 20;

/// Shows how much of the input was read.
pub(super) struct Meter(Option<ProgressBar>);

impl Meter {
    /// A meter for this input; it shows nothing if `hidden` or if nobody could see it.
    pub(super) fn new(inventory: &Inventory, hidden: bool) -> Self {
        let all: u64 = inventory.files.iter().filter_map(|file| file.size).sum();
        let streams = inventory.files.iter().any(|file| file.size.is_none());
        if hidden || !std::io::stderr().is_terminal() || (all < WORTH_IT && !streams) {
            return Self(None);
        }
        let bar = if streams { ProgressBar::new_spinner() } else { ProgressBar::new(all) };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let template = if streams {
            "{spinner} {bytes} read, {bytes_per_sec}"
        } else {
            "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    /// Adds bytes read.
    pub(super) fn read(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
