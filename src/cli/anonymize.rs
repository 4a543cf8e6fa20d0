//! `--anonymize[=KEYFILE]`: the key that makes addresses and names strange.

use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::args::Privacy;
use super::focus;
use super::run::complain;
use crate::analysis::{Mask, Options};

/// A key shorter than this could be guessed.
const SHORTEST: usize = 16;

/// Masks what `options` look at, if that was asked for.
pub(super) fn masked(options: &mut Options, privacy: &Privacy, quiet: bool) -> Result<()> {
    let Some(key) = &privacy.anonymize else { return Ok(()) };
    let mut mask = mask(key.as_deref(), quiet)?;
    options.focus = focus::masked(std::mem::take(&mut options.focus), &mut mask)?;
    options.mask = Some(mask);
    Ok(())
}

/// The mask that was asked for: by a key file, which is made if there is none, or by a key that
/// nobody keeps.
fn mask(file: Option<&Path>, quiet: bool) -> Result<Mask> {
    let Some(path) = file else { return Ok(Mask::new(&random())) };
    let failed = || format!("failed to read the key file {}", path.display());
    match std::fs::read(path) {
        Ok(key) if key.trim_ascii().len() < SHORTEST => bail!(
            "the key in {} is too short: {SHORTEST} bytes at least, or name a file that does not \
             exist yet, and a key is made",
            path.display()
        ),
        Ok(key) => Ok(Mask::new(key.trim_ascii())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
            create(path, &key).with_context(|| format!("failed to make {}", path.display()))?;
            if !quiet {
                complain(&format!(
                    "{} is a new key: keep it to get the same names in the next report, and keep \
                     it from those who get the report",
                    path.display()
                ));
            }
            Ok(Mask::new(key.as_bytes()))
        }
        Err(error) => Err(error).with_context(failed),
    }
}

/// A file that only its owner reads.
fn create(path: &Path, key: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(path)?, "{key}")
}

/// Random bytes of the system, which seeds every table of the standard library with them.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&RandomState::new().hash_one(index).to_le_bytes());
    }
    bytes
}
