//! Finds the original files. A client names an id, the index has the path, the settings have the root
//! folder: nothing that a client writes ever reaches the file system. Files are only read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lookalike_index::{IndexedImage, ReadConsistency};
use lookalike_proto::{LibraryName, RelativePath};
use lookalike_vision::Limits;

use super::libraries::library_not_configured;
use super::library_disk::LibraryIoPermits;
use super::service::SearchService;
use crate::problem::{Code, Problem};

/// Reads the index row of an image.
pub(crate) async fn find_row(service: &SearchService, id: &str) -> Result<IndexedImage, Problem> {
    let ids = [id.to_owned()];
    let rows = service
        .load_model()
        .index
        .fetch_images(&ids, ReadConsistency::Bounded)
        .await?;
    let image = rows.into_iter().next();
    image.ok_or_else(|| Problem::no_such_image(id))
}

/// A regular file below the root of its library.
pub(crate) struct LocatedFile {
    pub path: PathBuf,
    pub disk: LibraryIoPermits,
    pub bytes: u64,
    /// Milliseconds since 1970.
    modified_ms: i64,
}

impl LocatedFile {
    pub(crate) async fn open_file(&self) -> Result<tokio::fs::File, Problem> {
        let path = self.path.clone();
        let file = self
            .disk
            .run_blocking(move || std::fs::File::open(path))
            .await?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        file.map(tokio::fs::File::from_std).map_err(|error| {
            let (code, reason) = describe_read_error(error);
            Problem::new(code, format!("{name}: {reason}"))
        })
    }

    /// Reads the whole file, which must not be larger than the limits allow. `name` is its path in the library.
    pub(crate) async fn read_bytes(&self, name: &str, limits: &Limits) -> Result<Bytes, Problem> {
        let name_file = |problem: Problem| Problem {
            detail: format!("{name}: {}", problem.detail),
            ..problem
        };
        let checked = limits.check_file_bytes(self.bytes);
        checked.map_err(|error| name_file(error.into()))?;
        let path = self.path.clone();
        let read = self.disk.run_blocking(move || std::fs::read(path)).await?;
        read.map(Bytes::from).map_err(|error| {
            let (code, reason) = describe_read_error(error);
            name_file(Problem::new(code, reason))
        })
    }

    /// Whether the file still has the size and the time of its row, so the hash of the row is its
    /// own. The time of the row may be coarser than that of the disk.
    pub(crate) fn matches_row(&self, row: &IndexedImage) -> bool {
        u64::try_from(row.bytes) == Ok(self.bytes) && self.modified_ms == row.modified_at
    }
}

/// Finds the file at a path that the index or a watcher returned.
pub(crate) async fn find_file(
    service: &SearchService,
    library: &str,
    path: &str,
) -> Result<LocatedFile, Problem> {
    let (root, disk) = LibraryName::new(library)
        .ok()
        .and_then(|library| {
            let (root, disk) = service.find_root(&library)?;
            Some((root.clone(), disk.clone()))
        })
        .ok_or_else(|| library_not_configured(library))?;
    let relative = RelativePath::new(path)
        .map_err(|error| Problem::new(Code::OutsideLibrary, error.to_string()))?;
    let file_disk = disk.clone();
    disk.run_blocking(move || locate_below_root(&root, &relative, file_disk))
        .await?
        .map_err(|(code, reason)| Problem::new(code, format!("{path}: {reason}")))
}

/// Resolves symbolic links in both paths, and accepts only a regular file below the root.
fn locate_below_root(
    root: &Path,
    path: &RelativePath,
    disk: LibraryIoPermits,
) -> Result<LocatedFile, (Code, String)> {
    let root = root.canonicalize().map_err(|error| {
        (
            Code::LibraryUnavailable,
            format!("the folder of its library is unavailable: {error}"),
        )
    })?;
    let path = path
        .join_to(&root)
        .canonicalize()
        .map_err(describe_read_error)?;
    if !path.starts_with(&root) {
        return Err((
            Code::OutsideLibrary,
            "a symbolic link leads out of the library".into(),
        ));
    }
    let metadata = path.metadata().map_err(describe_read_error)?;
    if !metadata.is_file() {
        return Err((Code::FileGone, "it is no longer a regular file".into()));
    }
    let modified = metadata.modified().map_err(describe_read_error)?;
    Ok(LocatedFile {
        path,
        disk,
        bytes: metadata.len(),
        modified_ms: lookalike_chassis::clock::to_nanos(modified).div_euclid(1_000_000),
    })
}

/// Returns why a file cannot be read. A mount that reports errors may be available again soon.
pub(crate) fn describe_read_error(error: std::io::Error) -> (Code, String) {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            (Code::FileGone, "the file no longer exists".into())
        }
        ErrorKind::PermissionDenied => (
            Code::FileGone,
            "this service has no permission to read the file".into(),
        ),
        _ => (
            Code::LibraryUnavailable,
            format!("cannot read the file: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            locate_below_root(&root, &path, LibraryIoPermits::new())
                .map(|file| file.bytes)
                .map_err(|(code, _)| code)
        };
        assert_eq!(code("sub/a.jpg"), Ok(7));
        assert_eq!(code("in"), Ok(7));
        assert_eq!(code("out"), Err(Code::OutsideLibrary));
        assert_eq!(code("sub"), Err(Code::FileGone));
        assert_eq!(code("sub/b.jpg"), Err(Code::FileGone));
        assert_eq!(code("sub/a.jpg/x"), Err(Code::FileGone));
        let missing = locate_below_root(
            &folder.path().join("away"),
            &RelativePath::new("a").unwrap(),
            LibraryIoPermits::new(),
        );
        assert_eq!(missing.err().unwrap().0, Code::LibraryUnavailable);
    }
}
