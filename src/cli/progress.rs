//! A progress bar on standard error, if that is a terminal and the work is long.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Shows how much of many sets was read, and how many of them are done.
pub(super) struct SetsMeter {
    bar: Option<ProgressBar>,
    sets: usize,
    done: AtomicUsize,
}

impl SetsMeter {
    /// A meter for what is still to do; it shows nothing if `hidden` or if nobody could see it.
    pub(super) fn new(bytes: u64, sets: usize, hidden: bool) -> Self {
        let done = AtomicUsize::new(0);
        if hidden || !std::io::stderr().is_terminal() || sets == 0 {
            return Self { bar: None, sets, done };
        }
        let bar = ProgressBar::new(bytes);
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let template = "{bar:30} {msg}, {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(format!("0 of {sets} sets"));
        Self { bar: Some(bar), sets, done }
    }

    /// Adds bytes read.
    pub(super) fn read(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Adds a set that is done.
    pub(super) fn done(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{done} of {} sets", self.sets));
        }
    }
}

impl Drop for SetsMeter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
