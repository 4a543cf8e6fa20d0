//! The `dnswhy` program: see the library's documentation.

use std::process::ExitCode;

/// Names, transactions and lookups come and go by the million, in blocks of a few sizes; how its
/// memory is held is set in `.cargo/config.toml`.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    dnswhy::cli::run(std::env::args_os()).into()
}
