//! The `dnswhy` program: see the library's documentation.

use std::process::ExitCode;

/// Names, transactions and lookups come and go by the million, in blocks of a few sizes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dnswhy::cli::run(std::env::args_os()).into()
}
