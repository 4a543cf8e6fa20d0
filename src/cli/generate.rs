//! `dnswhy completions` and `dnswhy man`: what a package puts beside the program.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use super::args::Cli;

/// Prints the completions of one shell.
pub(super) fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics where it cannot write; memory takes it all.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dnswhy", &mut script);
    out.write_all(&script)
}

/// Prints the man page, or writes those of all commands into a folder.
pub(super) fn man(folder: Option<&Path>, out: &mut dyn Write) -> io::Result<()> {
    let command = Cli::command().flatten_help(true);
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(Cli::command(), folder)
        }
        None => clap_mangen::Man::new(command).render(&mut &mut *out),
    }
}
