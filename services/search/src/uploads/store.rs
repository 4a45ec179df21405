//! Stores a received picture in its library, unless the library has it.

use std::time::Duration;

use lookalike_index::{ReadConsistency, RowFilter};
use lookalike_proto::{LibraryName, RelativePath};

use super::folder_walk::WalkError;
use super::landing::{LandedUpload, LandingError, has_content, land_file};
use super::library_uploads::RecentUploads;
use super::receive::{ReceivedUpload, describe_folder};
use super::storage_problem::storage_problem;
use super::target::{TargetFolder, TargetName};
use super::upload_id::UploadId;
use crate::core::files::find_file;
use crate::core::libraries::library_not_configured;
use crate::core::service::SearchService;
use crate::problem::Problem;

/// Rows of the same content whose files are looked at.
const MAX_COMPARED_ROWS: usize = 20;

/// How long the index may take. Without it, the picture is stored anyway.
const INDEX_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a client wants its picture.
#[derive(Debug)]
pub(crate) struct UploadTarget {
    pub library: LibraryName,
    /// `None`: the root, unless the library has the picture in any folder.
    pub folder: Option<TargetFolder>,
    /// `None`: a name that follows from the content.
    pub name: Option<TargetName>,
}

impl UploadTarget {
    /// Whether the same picture at this path is what the client wants.
    fn accepts(&self, path: &str) -> bool {
        let folder = self.folder.as_ref();
        folder.is_none_or(|folder| folder.is_parent_of(path))
    }
}

/// A picture in its library, and the id of its upload.
#[derive(Debug)]
pub(crate) struct StoredUpload {
    pub id: UploadId,
    /// False if the library had the picture before.
    pub is_new: bool,
}

/// Stores the picture. The same picture in the same folder yields the same id and no second file.
pub(crate) async fn store_upload(
    service: &SearchService,
    target: UploadTarget,
    received: ReceivedUpload,
) -> Result<StoredUpload, Problem> {
    let library = &target.library;
    let uploads = service
        .find_uploads(library)
        .ok_or_else(|| library_not_configured(library.as_str()))?;
    let content_hash = received.staged.content_hash;
    // Before the lock: a slow index must not hold up other uploads.
    let indexed = find_indexed(service, &target, &content_hash.to_string()).await;
    let mut recent = uploads.recent.lock().await;
    let present = match indexed {
        None => find_recent(service, &target, &received, &mut recent).await?,
        indexed => indexed,
    };
    let landed = match present {
        Some(path) => LandedUpload {
            path,
            is_new: false,
        },
        None => land_upload(service, &target, received).await?,
    };
    recent.add(content_hash, landed.path.clone());
    Ok(StoredUpload {
        id: UploadId {
            library: target.library,
            path: landed.path,
            content_hash,
        },
        is_new: landed.is_new,
    })
}

/// Finds the same picture among those that were stored lately.
async fn find_recent(
    service: &SearchService,
    target: &UploadTarget,
    received: &ReceivedUpload,
    recent: &mut RecentUploads,
) -> Result<Option<RelativePath>, Problem> {
    let staged = &received.staged;
    for path in recent.find(&staged.content_hash) {
        if !target.accepts(path.as_str()) {
            continue;
        }
        // It may have been moved or changed since.
        let Ok(file) = find_file(service, target.library.as_str(), path.as_str()).await else {
            continue;
        };
        let (bytes, content_hash) = (staged.bytes, staged.content_hash);
        let compare = move || has_content(&file.path, bytes, &content_hash);
        let disk = service.find_root(&target.library).map(|(_, disk)| disk);
        let is_same = match disk {
            Some(disk) => disk.run_blocking(compare).await?,
            None => false,
        };
        if is_same {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Finds a row with the same content whose file is as the row describes it.
async fn find_indexed(
    service: &SearchService,
    target: &UploadTarget,
    content_hash: &str,
) -> Option<RelativePath> {
    let prefix = target.folder.as_ref().map(TargetFolder::prefix);
    let filter = RowFilter::And(vec![
        RowFilter::Library(vec![target.library.to_string()]),
        RowFilter::ContentHash(vec![content_hash.to_owned()]),
        match prefix.filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => RowFilter::PathPrefix(prefix),
            None => RowFilter::All,
        },
    ]);
    let serving = service.load_model();
    let reading =
        serving
            .index
            .list_images(&filter, None, MAX_COMPARED_ROWS, ReadConsistency::Bounded);
    let rows = match tokio::time::timeout(INDEX_TIMEOUT, reading).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an upload is not compared with the index");
            return None;
        }
        Err(_) => return None,
    };
    for row in rows.into_iter().filter(|row| target.accepts(&row.path)) {
        let file = find_file(service, &row.library, &row.path).await;
        if file.is_ok_and(|file| file.matches_row(&row)) {
            return RelativePath::new(row.path).ok();
        }
    }
    None
}

async fn land_upload(
    service: &SearchService,
    target: &UploadTarget,
    received: ReceivedUpload,
) -> Result<LandedUpload, Problem> {
    let library = target.library.clone();
    let (root, disk) = service
        .find_root(&library)
        .ok_or_else(|| library_not_configured(library.as_str()))?;
    let ReceivedUpload { staged, format } = received;
    let name = match &target.name {
        Some(name) => name.clone(),
        None => TargetName::from_content(&staged.content_hash),
    };
    let name = name.with_extension(format);
    let folder = target.folder.clone().unwrap_or_else(TargetFolder::root);
    let root = root.clone();
    let landing_name = name.clone();
    let landing = move || land_file(staged, &root, &folder, &landing_name);
    let landed = disk.run_blocking(landing).await?;
    landed.map_err(|error| landing_problem(&error, &library, &name))
}

fn landing_problem(error: &LandingError, library: &LibraryName, name: &TargetName) -> Problem {
    let refuse_folder = |detail: String| Problem::invalid_parameter("folder", detail);
    match error {
        LandingError::Io(error) if is_refused_name(error, name) => Problem::invalid_parameter(
            "name",
            format!("the disk of library {library} does not accept this name: {error}"),
        ),
        LandingError::Walk(WalkError::NotAFolder(part)) => refuse_folder(format!(
            "{part} is not a folder of library {library}, but a file or a symbolic link, and links \
             are not followed"
        )),
        LandingError::CrossesDevices => refuse_folder(format!(
            "the folder is on another file system than the root of library {library}: choose \
             another folder, or make it a library of its own"
        )),
        LandingError::TooManyNames => Problem::invalid_parameter(
            "name",
            "files with other contents have this name and all its numbers: choose another name",
        ),
        LandingError::Walk(WalkError::Io(error)) | LandingError::Io(error) => {
            storage_problem(error, &describe_folder(library))
        }
    }
}

/// Some file systems refuse names of more bytes, and those of Windows some characters.
fn is_refused_name(error: &std::io::Error, name: &TargetName) -> bool {
    use std::io::ErrorKind::{InvalidFilename, InvalidInput};
    match error.kind() {
        InvalidFilename => true,
        InvalidInput => name
            .numbered(1)
            .contains(['"', '*', ':', '<', '>', '?', '|']),
        _ => false,
    }
}
