//! One bucket, asked from threads that wait.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use reelvault::backup::{Body, Place};
use reelvault::env::{Entry, File};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::PlaceError;

/// Bytes of a part of a large object, and of what is put in one request. S3 asks for 5 MiB at least; two threads hold two parts each.
const PART_BYTES: u64 = 8 << 20;
/// Objects that are put at once: of each, up to three parts are in memory, and a backup is to stay below 64 MiB.
const COPIERS: usize = 2;
/// The status with which a bucket refuses a range that begins behind the end of an object.
const RANGE_NOT_SATISFIABLE: &str = "416";
/// Most parts of an object: S3 allows 10,000.
const PARTS_MAX: u64 = 9_000;

/// A place in a bucket.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    store: Box<dyn ObjectStore>,
    prefix: Path,
    url: String,
    runtime: Runtime,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({})", self.0.url)
    }
}

impl Bucket {
    /// Names a bucket and a prefix in it.
    ///
    /// # Errors
    /// [`PlaceError`]: a URL that is none, or settings that are missing.
    pub fn new(url: &Url) -> Result<Self, PlaceError> {
        let settings = |cause: String| PlaceError::Settings { url: url.as_str().to_owned(), cause };
        let told = |e: Error| settings(e.to_string());
        let store: Box<dyn ObjectStore> = match url.scheme() {
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
                Box::new(builder.build().map_err(told)?)
            }
            "s3" | "s3a" => {
                let builder = AmazonS3Builder::from_env().with_url(url.as_str());
                Box::new(builder.build().map_err(told)?)
            }
            _ => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
                Box::new(builder.build().map_err(told)?)
            }
        };
        let prefix = Path::from_url_path(url.path()).map_err(|e| settings(e.to_string()))?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| settings(e.to_string()))?;
        let url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self(Arc::new(Inner { store, prefix, url, runtime })))
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.0.prefix.clone(), |path, part| path.join(part))
    }

    fn wait<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> io::Result<T> {
        self.0.runtime.block_on(asked).map_err(translate)
    }

    fn read(&self, name: &str, range: Range<u64>) -> io::Result<Bytes> {
        let from = range.start;
        self.wait(self.0.store.get_range(&self.path(name), range)).map_err(|e| {
            // That nothing stands at the range has no kind of error: only the words have the status, and the length says whether it is that.
            let is_cut = e.to_string().contains(RANGE_NOT_SATISFIABLE)
                && self.length(name).is_ok_and(|bytes| bytes <= from);
            if is_cut { io::ErrorKind::UnexpectedEof.into() } else { e }
        })
    }

    fn put_whole(&self, name: &str, body: &mut dyn Body) -> io::Result<()> {
        let bytes = body.bytes();
        let bytes = next(body, bytes)?;
        self.wait(self.0.store.put(&self.path(name), bytes.into())).map(drop)
    }

    /// Puts an object in parts, one under way while the next is filled.
    fn put_parts(&self, name: &str, body: &mut dyn Body) -> io::Result<()> {
        let total = body.bytes();
        let part_bytes = PART_BYTES.max(total.div_ceil(PARTS_MAX));
        let mut upload = self.wait(self.0.store.put_multipart(&self.path(name)))?;
        let mut parts = || -> io::Result<()> {
            let (mut left, mut under_way) = (total, None);
            while left > 0 {
                let part = next(body, left.min(part_bytes))?;
                left -= part.len() as u64;
                if let Some(before) = under_way.take() {
                    self.arrived(before)?;
                }
                under_way = Some(self.0.runtime.spawn(upload.put_part(part.into())));
            }
            under_way.map_or(Ok(()), |last| self.arrived(last))
        };
        let outcome = parts().and_then(|()| self.wait(upload.complete()).map(drop));
        if outcome.is_err() {
            // What cannot be given up now, the bucket's own rule for unfinished uploads removes.
            let _ = self.wait(upload.abort());
        }
        outcome
    }

    fn arrived(&self, part: tokio::task::JoinHandle<Result<(), Error>>) -> io::Result<()> {
        let joined = self.0.runtime.block_on(part).map_err(io::Error::other)?;
        joined.map_err(translate)
    }
}

fn next(body: &mut dyn Body, bytes: u64) -> io::Result<Bytes> {
    let mut part = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    body.fill(&mut part)?;
    Ok(part.into())
}

/// The kinds of errors that have a meaning for the engine; the rest keeps its words.
fn translate(e: Error) -> io::Error {
    let kind = match &e {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}

impl Place for Bucket {
    fn name(&self) -> String {
        self.0.url.clone()
    }

    fn get(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        let path = self.path(name);
        self.0.runtime.block_on(async {
            let found = self.0.store.get(&path).await.map_err(translate)?;
            if found.meta.size > bytes_max as u64 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(found.bytes().await.map_err(translate)?.to_vec())
        })
    }

    fn open(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Object { bucket: self.clone(), name: name.to_owned(), bytes }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let payload = Bytes::copy_from_slice(bytes).into();
        self.wait(self.0.store.put_opts(&self.path(name), payload, PutMode::Create.into()))
            .map(drop)
    }

    fn put(&self, name: &str, body: &mut dyn Body) -> io::Result<()> {
        match body.bytes() <= PART_BYTES {
            true => self.put_whole(name, body),
            false => self.put_parts(name, body),
        }
    }

    fn copiers(&self) -> usize {
        COPIERS
    }

    fn list(&self, folder: &str, entries_max: usize) -> io::Result<Vec<Entry>> {
        let path = self.path(folder);
        self.wait(async {
            let mut listed = self.0.store.list(Some(&path));
            let mut entries = Vec::new();
            // A page is fetched when it is needed, so a short list is one request.
            while entries.len() < entries_max
                && let Some(found) = listed.try_next().await?
            {
                let name = found.location.filename().unwrap_or_default().to_owned();
                entries.push(Entry { name, bytes: found.size });
            }
            Ok(entries)
        })
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.wait(self.0.store.head(&self.path(name)))?.size)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.wait(self.0.store.delete(&self.path(name))) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// The time at which the bucket says that an object came that was put just now.
    fn now_ms(&self) -> io::Result<u64> {
        let path = self.path("probe/clock");
        let found = self.wait(async {
            self.0.store.put(&path, PutPayload::from_static(b"what time is it")).await?;
            self.0.store.head(&path).await
        })?;
        let _ = self.remove("probe/clock");
        u64::try_from(found.last_modified.timestamp_millis()).map_err(io::Error::other)
    }
}

/// An object of which parts are read, each with one request.
struct Object {
    bucket: Bucket,
    name: String,
    bytes: u64,
}

impl File for Object {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = self.bytes.min(offset.saturating_add(buf.len() as u64));
        if offset >= end {
            return Ok(0);
        }
        let part = self.bucket.read(&self.name, offset..end)?;
        let bytes = part.len().min(buf.len());
        buf[..bytes].copy_from_slice(&part[..bytes]);
        Ok(bytes)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }
}
