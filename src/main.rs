//! The `dnswhy` program.

fn main() {}
