//! Captures in object stores and on web servers: `s3://`, `gs://`, `az://`, `https://`.
//!
//! They are read as files are, from their start, as often as wanted, and nothing is copied to disk.
//! Whose keys are used is said where the store's own tools look: in the environment.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, parse_url_opts};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use url::Url;

use super::batch::{Listed, Listing};
use crate::capture::{Location, Remote};

/// The first piece that is fetched of an object: enough for a look at its first frames.
const FIRST: u64 = 64 << 10;
/// No piece is larger. Two are held at once for each file that is being read.
const LARGEST: u64 = 4 << 20;
/// Variables that tell how to reach a store.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Adds the object at `address`, or all objects below it.
pub(super) fn list(address: &str, listing: &mut Listing) -> Result<()> {
    let url = Url::parse(address)?;
    let told = |name: &str| VARIABLES.iter().any(|prefix| name.starts_with(prefix));
    let options = std::env::vars().filter(|(name, _)| told(name));
    let (store, path) = parse_url_opts(&url, options)?;
    let store: Arc<dyn ObjectStore> = Arc::from(store);
    let base = url.host_str().map(ToOwned::to_owned);
    let base: Vec<String> = std::iter::once(format!("{}:", url.scheme())).chain(base).collect();
    let parts = |path: &Path| -> Vec<String> {
        base.iter().cloned().chain(path.parts().map(|part| part.as_ref().to_owned())).collect()
    };
    let runtime = runtime()?;
    let mut add = |meta: &ObjectMeta, named: bool| {
        let path = parts(&meta.location);
        listing.files.push(Listed {
            size: meta.size,
            modified: meta.last_modified.timestamp_nanos_opt().unwrap_or(0),
            location: Location::Remote(Arc::new(Object {
                store: Arc::clone(&store),
                address: path.join("/").replacen(":/", "://", 1),
                path: meta.location.clone(),
                size: meta.size,
            })),
            path,
            named,
        });
    };
    // An address that is an object is that object; else it is a folder.
    let object = if path.as_ref().is_empty() || address.ends_with('/') {
        None
    } else {
        runtime.block_on(store.head(&path)).ok()
    };
    let mut folder = parts(&path);
    if let Some(meta) = object {
        add(&meta, true);
        folder.pop();
    } else {
        let all = store.list(Some(&path)).try_for_each(|meta| {
            add(&meta, false);
            std::future::ready(Ok(()))
        });
        runtime.block_on(all)?;
    }
    listing.bases.push(folder);
    Ok(())
}

/// What talks to the network, made when it is first needed.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let made =
        RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build());
    made.as_ref().map_err(|error| anyhow::anyhow!("{error}")).context("failed to use the network")
}

/// One object.
struct Object {
    store: Arc<dyn ObjectStore>,
    address: String,
    path: Path,
    size: u64,
}

impl Remote for Object {
    fn address(&self) -> &str {
        &self.address
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Pieces {
            store: Arc::clone(&self.store),
            path: self.path.clone(),
            size: self.size,
            next: 0,
            length: FIRST,
            piece: Vec::new(),
            taken: 0,
            ahead: None,
        }))
    }
}

/// An object as a stream, fetched piece by piece; the next one while this one is read.
struct Pieces {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    /// Where the next piece begins that was not asked for yet.
    next: u64,
    length: u64,
    piece: Vec<u8>,
    taken: usize,
    ahead: Option<JoinHandle<object_store::Result<Vec<u8>>>>,
}

impl Pieces {
    /// Asks for the next piece; `None` at the end.
    fn ask(&mut self, runtime: &Runtime) -> Option<JoinHandle<object_store::Result<Vec<u8>>>> {
        if self.next >= self.size {
            return None;
        }
        let range: Range<u64> = self.next..self.size.min(self.next.saturating_add(self.length));
        self.next = range.end;
        self.length = LARGEST.min(self.length * 8);
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        Some(runtime.spawn(async move { Ok(store.get_range(&path, range).await?.to_vec()) }))
    }
}

impl Read for Pieces {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            let runtime = runtime().map_err(io::Error::other)?;
            let is_first = self.next == 0;
            let asked = self.ahead.take();
            let Some(asked) = asked.or_else(|| self.ask(runtime)) else { return Ok(0) };
            // Who looks at the first frames alone wants no more.
            if !is_first {
                self.ahead = self.ask(runtime);
            }
            self.piece = runtime.block_on(asked).map_err(io::Error::other)??;
            self.taken = 0;
        }
        let rest = self.piece.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(space.len());
        if let (Some(space), Some(rest)) = (space.get_mut(..count), rest.get(..count)) {
            space.copy_from_slice(rest);
        }
        self.taken += count;
        Ok(count)
    }
}
