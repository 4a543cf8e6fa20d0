//! The `dnswhy` program: see the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    dnswhy::cli::run(std::env::args_os()).into()
}
