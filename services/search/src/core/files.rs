//! The original files. A client names an id; the index knows the path, the settings know the
//! root: nothing that a client writes ever reaches the file system.
//!
//! Files are only ever read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lookalike_index::IndexedImage;
use lookalike_proto::{LibraryName, RelativePath};
use poem::http::{StatusCode, header};
use poem::{Body, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::Semaphore;

use crate::core::decode_limiter::BlockingPermit;
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};

/// The row of an image.
pub(crate) async fn find_row(service: &SearchService, id: &str) -> Result<IndexedImage, Problem> {
    let ids = [id.to_owned()];
    let found = service
        .serving()
        .index
        .fetch_images(&ids, lookalike_index::ReadConsistency::Bounded)
        .await?;
    let image = found.into_iter().next();
    image.ok_or_else(|| Problem::no_such_image(id))
}

/// The disk of one library: only so many errands go there at once. Threads can't be called back
/// from a mount that hangs, so it keeps a few of them, and other libraries the rest.
#[derive(Clone)]
pub(crate) struct LibraryDisk(Arc<Semaphore>);

/// Errands at once.
const MAX_BLOCKING_CALLS: usize = 8;

/// How long one waits for another one's end.
const DISK_PERMIT_TIMEOUT: Duration = Duration::from_secs(2);

impl LibraryDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BLOCKING_CALLS)))
    }

    /// Runs what may block, on a thread of its own.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let waiting = Arc::clone(&self.0).acquire_owned();
        let permit = tokio::time::timeout(DISK_PERMIT_TIMEOUT, waiting)
            .await
            .map_err(|_| {
                Problem::new(
                    Code::LibraryUnavailable,
                    "the library's disk does not answer: other requests wait for it already",
                )
            })?
            .expect("the semaphore is never closed");
        BlockingPermit::new(permit).run_blocking(work).await
    }
}

/// A file that was found below its library's root.
pub(crate) struct LocatedFile {
    pub path: PathBuf,
    pub disk: LibraryDisk,
    pub bytes: u64,
    /// Milliseconds since 1970.
    modified_ms: i64,
}

impl LocatedFile {
    /// Opens it.
    pub(crate) async fn open_file(&self) -> Result<tokio::fs::File, Problem> {
        let path = self.path.clone();
        let opened = self
            .disk
            .run_blocking(move || std::fs::File::open(path))
            .await?;
        let shown = self.path.file_name().unwrap_or_default().to_string_lossy();
        opened.map(tokio::fs::File::from_std).map_err(|error| {
            let (code, why) = describe_read_error(error);
            Problem::new(code, format!("{shown}: {why}"))
        })
    }

    /// Whether it still has the size and time of its row, so that the row's hash is its own. The
    /// row's time may be coarser than the disk's.
    fn matches_row(&self, row: &IndexedImage) -> bool {
        u64::try_from(row.bytes) == Ok(self.bytes) && self.modified_ms == row.modified_at
    }
}

/// Finds the file at a path that a row or a watcher told.
pub(crate) async fn find_file(
    service: &SearchService,
    library: &str,
    path: &str,
) -> Result<LocatedFile, Problem> {
    let (root, disk) = LibraryName::new(library)
        .ok()
        .and_then(|library| {
            let root = service.libraries.get(&library)?.clone();
            Some((root, service.disks.get(&library)?.clone()))
        })
        .ok_or_else(|| {
            Problem::new(
                Code::LibraryUnavailable,
                format!("this service does not know the folder of library {library}"),
            )
        })?;
    let shown = path.to_owned();
    let path = RelativePath::new(path)
        .map_err(|error| Problem::new(Code::OutsideLibrary, error.to_string()))?;
    let of_found = disk.clone();
    disk.run_blocking(move || locate_below_root(&root, &path, of_found))
        .await?
        .map_err(|(code, why)| Problem::new(code, format!("{shown}: {why}")))
}

/// Resolves links on both sides, and accepts only a regular file that lies below the root.
fn locate_below_root(
    root: &Path,
    path: &RelativePath,
    disk: LibraryDisk,
) -> Result<LocatedFile, (Code, String)> {
    let root = root.canonicalize().map_err(|error| {
        (
            Code::LibraryUnavailable,
            format!("its library's folder can't be reached: {error}"),
        )
    })?;
    let path = path
        .join_to(&root)
        .canonicalize()
        .map_err(describe_read_error)?;
    if !path.starts_with(&root) {
        return Err((
            Code::OutsideLibrary,
            "a link leads out of the library".into(),
        ));
    }
    let metadata = path.metadata().map_err(describe_read_error)?;
    if !metadata.is_file() {
        return Err((Code::FileGone, "it is no regular file any more".into()));
    }
    let modified = metadata.modified().map_err(describe_read_error)?;
    Ok(LocatedFile {
        path,
        disk,
        bytes: metadata.len(),
        modified_ms: lookalike_chassis::clock::to_nanos(modified).div_euclid(1_000_000),
    })
}

/// Why a file can't be read. A mount that answers with errors may be back soon.
pub(crate) fn describe_read_error(error: std::io::Error) -> (Code, String) {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            (Code::FileGone, "the file is not there any more".into())
        }
        ErrorKind::PermissionDenied => {
            (Code::FileGone, "this service may not read the file".into())
        }
        _ => (
            Code::LibraryUnavailable,
            format!("the file can't be read: {error}"),
        ),
    }
}

/// What a browser may take the file for. Formats that browsers don't show, and everything that
/// is not known, is a download; nothing here can be a page or a script.
fn content_type(format: &str) -> (&'static str, &'static str) {
    match format {
        "jpeg" => ("image/jpeg", "inline"),
        "png" => ("image/png", "inline"),
        "gif" => ("image/gif", "inline"),
        "webp" => ("image/webp", "inline"),
        "bmp" => ("image/bmp", "inline"),
        "ico" => ("image/x-icon", "inline"),
        "tiff" => ("image/tiff", "attachment"),
        "pnm" => ("image/x-portable-anymap", "attachment"),
        _ => ("application/octet-stream", "attachment"),
    }
}

/// `inline; filename*=UTF-8''…`: everything but letters, digits and a few marks is encoded.
pub(crate) fn content_disposition(kind: &str, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut text = format!("{kind}; filename*=UTF-8''");
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                text.push(char::from(byte));
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// Whether the client has this version already (`If-None-Match`).
pub(crate) fn etag_matches(if_none_match: Option<&str>, etag: &str) -> bool {
    if_none_match.is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == etag || tag == "*")
    })
}

/// What part of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum RequestedRange {
    Whole,
    /// First byte and number of bytes.
    Range(u64, u64),
    Unsatisfiable,
}

/// One range of bytes; several at once, or other units, give the whole file, as RFC 9110 allows.
fn parse_range(range: Option<&str>, length: u64) -> RequestedRange {
    let Some((first, last)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return RequestedRange::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (first, last) = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => return RequestedRange::Unsatisfiable,
            Some(suffix) => (length.saturating_sub(suffix), length.saturating_sub(1)),
            None => return RequestedRange::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => (first, length.saturating_sub(1)),
            None => return RequestedRange::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last),
            _ => return RequestedRange::Whole,
        },
    };
    if first >= length {
        return RequestedRange::Unsatisfiable;
    }
    RequestedRange::Range(first, last.min(length - 1) - first + 1)
}

/// What a request for a file says beside its id.
#[derive(Default)]
pub(crate) struct FileConditions {
    pub if_none_match: Option<String>,
    pub if_range: Option<String>,
    pub range: Option<String>,
}

/// Answers with the original file of a row, as a stream.
pub(crate) async fn respond_with_file(
    service: &SearchService,
    row: &IndexedImage,
    wanted: &FileConditions,
) -> Result<Response, Problem> {
    let found = find_file(service, &row.library, &row.path).await?;
    // Of a file that was changed and is not indexed again yet the hash is not known.
    let etag = found
        .matches_row(row)
        .then(|| format!("\"{}\"", row.content_hash));
    let (media_type, kind) = content_type(&row.format);
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(
            header::CONTENT_DISPOSITION,
            content_disposition(kind, &row.path),
        )
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        );
    if let Some(etag) = &etag {
        response = response.header(header::ETAG, etag);
        if etag_matches(wanted.if_none_match.as_deref(), etag) {
            return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
        }
    }
    // A part of another version would be glued to what the client has of this one.
    let same = wanted.if_range.is_none() || wanted.if_range == etag;
    let range = wanted.range.as_deref().filter(|_| same);
    let failed = |error| {
        let (code, why) = describe_read_error(error);
        Problem::new(code, format!("{}: {why}", row.path))
    };
    let (first, length) = match parse_range(range, found.bytes) {
        RequestedRange::Whole => (0, found.bytes),
        RequestedRange::Range(first, length) => {
            let last = first + length - 1;
            response = response.status(StatusCode::PARTIAL_CONTENT).header(
                header::CONTENT_RANGE,
                format!("bytes {first}-{last}/{}", found.bytes),
            );
            (first, length)
        }
        RequestedRange::Unsatisfiable => {
            return Err(Problem::new(
                Code::RangeNotSatisfiable,
                format!("the file has {} bytes", found.bytes),
            ));
        }
    };
    let mut file = found.open_file().await?;
    if first > 0 {
        file.seek(std::io::SeekFrom::Start(first))
            .await
            .map_err(failed)?;
    }
    Ok(response
        .header(header::CONTENT_LENGTH, length.to_string())
        .body(Body::from_async_read(file.take(length))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, expected) in [
            (None, RequestedRange::Whole),
            (Some("bytes=0-9"), RequestedRange::Range(0, 10)),
            (Some("bytes=90-"), RequestedRange::Range(90, 10)),
            (Some("bytes=-10"), RequestedRange::Range(90, 10)),
            (Some("bytes=-1000"), RequestedRange::Range(0, 100)),
            (Some("bytes=50-1000"), RequestedRange::Range(50, 50)),
            (Some("bytes=100-"), RequestedRange::Unsatisfiable),
            (Some("bytes=-0"), RequestedRange::Unsatisfiable),
            (Some("bytes=9-0"), RequestedRange::Whole),
            (Some("bytes=0-1,5-6"), RequestedRange::Whole),
            (Some("pages=0-1"), RequestedRange::Whole),
            (Some("bytes=a-b"), RequestedRange::Whole),
            (Some("bytes=99999999999999999999-"), RequestedRange::Whole),
        ] {
            assert_eq!(parse_range(range, 100), expected, "{range:?}");
        }
        assert_eq!(
            parse_range(Some("bytes=0-"), 0),
            RequestedRange::Unsatisfiable
        );
    }

    #[test]
    fn nothing_outside_the_root_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("sub/a.jpg"), "picture").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("sub/a.jpg", root.join("in")).unwrap();
        let code = |path: &str| {
            let path = RelativePath::new(path).unwrap();
            locate_below_root(&root, &path, LibraryDisk::new())
                .map(|found| found.bytes)
                .map_err(|(code, _)| code)
        };
        assert_eq!(code("sub/a.jpg"), Ok(7));
        assert_eq!(code("in"), Ok(7));
        assert_eq!(code("out"), Err(Code::OutsideLibrary));
        assert_eq!(code("sub"), Err(Code::FileGone));
        assert_eq!(code("sub/b.jpg"), Err(Code::FileGone));
        assert_eq!(code("sub/a.jpg/x"), Err(Code::FileGone));
        let away = locate_below_root(
            &folder.path().join("away"),
            &RelativePath::new("a").unwrap(),
            LibraryDisk::new(),
        );
        assert_eq!(away.err().unwrap().0, Code::LibraryUnavailable);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_keeps_few_threads() {
        let (disk, other) = (LibraryDisk::new(), LibraryDisk::new());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (begun, mut running) = tokio::sync::mpsc::channel(MAX_BLOCKING_CALLS);
        let hanging: Vec<_> = (0..MAX_BLOCKING_CALLS)
            .map(|_| {
                let (disk, begun, wait) = (disk.clone(), begun.clone(), Arc::clone(&wait));
                let hang = move || {
                    begun.blocking_send(()).unwrap();
                    let _ = wait.lock().unwrap().recv();
                };
                tokio::spawn(async move { disk.run_blocking(hang).await })
            })
            .collect();
        for _ in 0..MAX_BLOCKING_CALLS {
            running.recv().await.unwrap();
        }
        // Whoever asked gives up; the threads stay.
        for request in &hanging {
            request.abort();
        }
        let refused = disk.run_blocking(|| ()).await.unwrap_err();
        assert_eq!(refused.code, Code::LibraryUnavailable);
        assert_eq!(other.run_blocking(|| 7).await.unwrap(), 7);
        drop(go);
        // The mount is back: the next one waits no longer than it must.
        while disk.run_blocking(|| ()).await.is_err() {}
    }

    #[test]
    fn names_and_types_are_harmless() {
        assert_eq!(
            content_disposition("inline", "a/b\"\r\nX: ü.jpg"),
            "inline; filename*=UTF-8''b%22%0D%0AX%3A%20%C3%BC.jpg"
        );
        for format in ["svg", "html", "", "text/html"] {
            assert_eq!(
                content_type(format),
                ("application/octet-stream", "attachment")
            );
        }
    }

    #[test]
    fn versions_are_compared() {
        assert!(etag_matches(Some("\"a\", W/\"b\""), "\"b\""));
        assert!(!etag_matches(Some("\"a\""), "\"b\""));
        assert!(!etag_matches(None, "\"b\""));
    }
}
