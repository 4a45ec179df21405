//! The original files. A client names an id; the index knows the path, the settings know the
//! root: nothing that a client writes ever reaches the file system.
//!
//! Files are only ever read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lookalike_index::Image;
use lookalike_proto::{Library, RelativePath};
use poem::http::{StatusCode, header};
use poem::{Body, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::Semaphore;

use crate::gate::Turn;
use crate::problem::{Code, Problem};
use crate::service::Service;

/// The row of an image.
pub(crate) async fn row(service: &Service, id: &str) -> Result<Image, Problem> {
    let ids = [id.to_owned()];
    let found = service
        .serving()
        .index
        .get(&ids, lookalike_index::Consistency::Bounded)
        .await?;
    let image = found.into_iter().next();
    image.ok_or_else(|| Problem::no_such_image(id))
}

/// The disk of one library: only so many errands go there at once. Threads can't be called back
/// from a mount that hangs, so it keeps a few of them, and other libraries the rest.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Semaphore>);

/// Errands at once.
const ERRANDS: usize = 8;

/// How long one waits for another one's end.
const PATIENCE: Duration = Duration::from_secs(2);

impl Disk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ERRANDS)))
    }

    /// Runs what may block, on a thread of its own.
    pub(crate) async fn errand<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let waiting = Arc::clone(&self.0).acquire_owned();
        let permit = tokio::time::timeout(PATIENCE, waiting)
            .await
            .map_err(|_| {
                Problem::new(
                    Code::LibraryUnavailable,
                    "the library's disk does not answer: other requests wait for it already",
                )
            })?
            .expect("the semaphore is never closed");
        Turn::with(permit).run(work).await
    }
}

/// A file that was found below its library's root.
pub(crate) struct Found {
    pub path: PathBuf,
    pub disk: Disk,
    pub bytes: u64,
    /// Milliseconds since 1970.
    modified_ms: i64,
}

impl Found {
    /// Opens it.
    pub(crate) async fn open(&self) -> Result<tokio::fs::File, Problem> {
        let path = self.path.clone();
        let opened = self.disk.errand(move || std::fs::File::open(path)).await?;
        let shown = self.path.file_name().unwrap_or_default().to_string_lossy();
        opened.map(tokio::fs::File::from_std).map_err(|error| {
            let (code, why) = gone(error);
            Problem::new(code, format!("{shown}: {why}"))
        })
    }

    /// Whether it still has the size and time of its row, so that the row's hash is its own. The
    /// row's time may be coarser than the disk's.
    fn is_as_in(&self, row: &Image) -> bool {
        u64::try_from(row.bytes) == Ok(self.bytes) && self.modified_ms == row.modified_at
    }
}

/// Finds the file at a path that a row or a watcher told.
pub(crate) async fn find(service: &Service, library: &str, path: &str) -> Result<Found, Problem> {
    let (root, disk) = Library::new(library)
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
    disk.errand(move || locate(&root, &path, of_found))
        .await?
        .map_err(|(code, why)| Problem::new(code, format!("{shown}: {why}")))
}

/// Resolves links on both sides, and accepts only a regular file that lies below the root.
fn locate(root: &Path, path: &RelativePath, disk: Disk) -> Result<Found, (Code, String)> {
    let root = root.canonicalize().map_err(|error| {
        (
            Code::LibraryUnavailable,
            format!("its library's folder can't be reached: {error}"),
        )
    })?;
    let path = path.below(&root).canonicalize().map_err(gone)?;
    if !path.starts_with(&root) {
        return Err((
            Code::OutsideLibrary,
            "a link leads out of the library".into(),
        ));
    }
    let metadata = path.metadata().map_err(gone)?;
    if !metadata.is_file() {
        return Err((Code::FileGone, "it is no regular file any more".into()));
    }
    let modified = metadata.modified().map_err(gone)?;
    Ok(Found {
        path,
        disk,
        bytes: metadata.len(),
        modified_ms: lookalike_chassis::clock::to_nanos(modified).div_euclid(1_000_000),
    })
}

/// Why a file can't be read. A mount that answers with errors may be back soon.
pub(crate) fn gone(error: std::io::Error) -> (Code, String) {
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
pub(crate) fn disposition(kind: &str, path: &str) -> String {
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
pub(crate) fn is_known(if_none_match: Option<&str>, etag: &str) -> bool {
    if_none_match.is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == etag || tag == "*")
    })
}

/// What part of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// First byte and number of bytes.
    Range(u64, u64),
    Unsatisfiable,
}

/// One range of bytes; several at once, or other units, give the whole file, as RFC 9110 allows.
fn part(range: Option<&str>, length: u64) -> Part {
    let Some((first, last)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Part::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (first, last) = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => return Part::Unsatisfiable,
            Some(suffix) => (length.saturating_sub(suffix), length.saturating_sub(1)),
            None => return Part::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => (first, length.saturating_sub(1)),
            None => return Part::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last),
            _ => return Part::Whole,
        },
    };
    if first >= length {
        return Part::Unsatisfiable;
    }
    Part::Range(first, last.min(length - 1) - first + 1)
}

/// What a request for a file says beside its id.
#[derive(Default)]
pub(crate) struct Wanted {
    pub if_none_match: Option<String>,
    pub if_range: Option<String>,
    pub range: Option<String>,
}

/// Answers with the original file of a row, as a stream.
pub(crate) async fn content(
    service: &Service,
    row: &Image,
    wanted: &Wanted,
) -> Result<Response, Problem> {
    let found = find(service, &row.library, &row.path).await?;
    // Of a file that was changed and is not indexed again yet the hash is not known.
    let etag = found
        .is_as_in(row)
        .then(|| format!("\"{}\"", row.content_hash));
    let (media_type, kind) = content_type(&row.format);
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CONTENT_DISPOSITION, disposition(kind, &row.path))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        );
    if let Some(etag) = &etag {
        response = response.header(header::ETAG, etag);
        if is_known(wanted.if_none_match.as_deref(), etag) {
            return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
        }
    }
    // A part of another version would be glued to what the client has of this one.
    let same = wanted.if_range.is_none() || wanted.if_range == etag;
    let range = wanted.range.as_deref().filter(|_| same);
    let failed = |error| {
        let (code, why) = gone(error);
        Problem::new(code, format!("{}: {why}", row.path))
    };
    let (first, length) = match part(range, found.bytes) {
        Part::Whole => (0, found.bytes),
        Part::Range(first, length) => {
            let last = first + length - 1;
            response = response.status(StatusCode::PARTIAL_CONTENT).header(
                header::CONTENT_RANGE,
                format!("bytes {first}-{last}/{}", found.bytes),
            );
            (first, length)
        }
        Part::Unsatisfiable => {
            return Err(Problem::new(
                Code::RangeNotSatisfiable,
                format!("the file has {} bytes", found.bytes),
            ));
        }
    };
    let mut file = found.open().await?;
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
            (None, Part::Whole),
            (Some("bytes=0-9"), Part::Range(0, 10)),
            (Some("bytes=90-"), Part::Range(90, 10)),
            (Some("bytes=-10"), Part::Range(90, 10)),
            (Some("bytes=-1000"), Part::Range(0, 100)),
            (Some("bytes=50-1000"), Part::Range(50, 50)),
            (Some("bytes=100-"), Part::Unsatisfiable),
            (Some("bytes=-0"), Part::Unsatisfiable),
            (Some("bytes=9-0"), Part::Whole),
            (Some("bytes=0-1,5-6"), Part::Whole),
            (Some("pages=0-1"), Part::Whole),
            (Some("bytes=a-b"), Part::Whole),
            (Some("bytes=99999999999999999999-"), Part::Whole),
        ] {
            assert_eq!(part(range, 100), expected, "{range:?}");
        }
        assert_eq!(part(Some("bytes=0-"), 0), Part::Unsatisfiable);
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
            locate(&root, &path, Disk::new())
                .map(|found| found.bytes)
                .map_err(|(code, _)| code)
        };
        assert_eq!(code("sub/a.jpg"), Ok(7));
        assert_eq!(code("in"), Ok(7));
        assert_eq!(code("out"), Err(Code::OutsideLibrary));
        assert_eq!(code("sub"), Err(Code::FileGone));
        assert_eq!(code("sub/b.jpg"), Err(Code::FileGone));
        assert_eq!(code("sub/a.jpg/x"), Err(Code::FileGone));
        let away = locate(
            &folder.path().join("away"),
            &RelativePath::new("a").unwrap(),
            Disk::new(),
        );
        assert_eq!(away.err().unwrap().0, Code::LibraryUnavailable);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_keeps_few_threads() {
        let (disk, other) = (Disk::new(), Disk::new());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let (begun, mut running) = tokio::sync::mpsc::channel(ERRANDS);
        let hanging: Vec<_> = (0..ERRANDS)
            .map(|_| {
                let (disk, begun, wait) = (disk.clone(), begun.clone(), Arc::clone(&wait));
                let hang = move || {
                    begun.blocking_send(()).unwrap();
                    let _ = wait.lock().unwrap().recv();
                };
                tokio::spawn(async move { disk.errand(hang).await })
            })
            .collect();
        for _ in 0..ERRANDS {
            running.recv().await.unwrap();
        }
        // Whoever asked gives up; the threads stay.
        for request in &hanging {
            request.abort();
        }
        let refused = disk.errand(|| ()).await.unwrap_err();
        assert_eq!(refused.code, Code::LibraryUnavailable);
        assert_eq!(other.errand(|| 7).await.unwrap(), 7);
        drop(go);
        // The mount is back: the next one waits no longer than it must.
        while disk.errand(|| ()).await.is_err() {}
    }

    #[test]
    fn names_and_types_are_harmless() {
        assert_eq!(
            disposition("inline", "a/b\"\r\nX: ü.jpg"),
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
        assert!(is_known(Some("\"a\", W/\"b\""), "\"b\""));
        assert!(!is_known(Some("\"a\""), "\"b\""));
        assert!(!is_known(None, "\"b\""));
    }
}
