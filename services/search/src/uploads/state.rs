//! The state of an upload, from the watcher's catalog and the index.

use lookalike_bus::{FileHistory, WatcherReply, WatcherRequest};
use lookalike_index::{IndexedImage, ReadConsistency, RowFilter};

use super::landing::has_content;
use super::permission::find_present_root;
use super::upload_id::UploadId;
use crate::core::files::find_file;
use crate::core::service::SearchService;
use crate::core::watcher_client::{request_watcher, unexpected_reply};
use crate::problem::{Code, Problem};

/// What became of an uploaded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadState {
    /// It is in its library, and will be indexed.
    Landed,
    /// Searches find it.
    Indexed,
    /// It cannot be indexed, or a rule excludes it.
    Failed,
    /// The library does not contain it any more.
    Removed,
}

/// The state of an upload with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadStatus {
    pub state: UploadState,
    /// The id of its image, if the index has one: other operations know only these.
    pub image_id: Option<String>,
    /// Where the picture is now.
    pub path: String,
    /// Why it failed: a code and a sentence.
    pub reason: Option<(String, String)>,
}

impl UploadStatus {
    /// The state directly after the picture was stored.
    pub(crate) fn landed(upload: &UploadId) -> Self {
        Self::new(upload, UploadState::Landed)
    }

    fn new(upload: &UploadId, state: UploadState) -> Self {
        Self {
            state,
            image_id: None,
            path: upload.path.to_string(),
            reason: None,
        }
    }

    fn indexed(row: IndexedImage) -> Self {
        Self {
            state: UploadState::Indexed,
            image_id: Some(row.id),
            path: row.path,
            reason: None,
        }
    }
}

pub(crate) async fn find_upload_status(
    service: &SearchService,
    upload: &UploadId,
) -> Result<UploadStatus, Problem> {
    let request = WatcherRequest::FileHistory {
        id: None,
        path: Some(upload.path.to_string()),
    };
    let history = match request_watcher(service, &upload.library, request).await {
        Ok(WatcherReply::FileHistory(history)) => Ok(history),
        Ok(reply) => Err(unexpected_reply(&upload.library, &reply)),
        Err(problem) => Err(problem),
    };
    let found = match &history {
        Ok(Some(history)) => status_from_history(upload, history),
        Ok(None) | Err(_) => None,
    };
    if let Some(status) = found {
        return Ok(status);
    }
    if let Some(row) = find_row(service, upload, true).await? {
        return Ok(UploadStatus::indexed(row));
    }
    match history {
        // The row is written, and becomes visible soon.
        Ok(Some(history)) if is_catalogued(upload, &history) => Ok(UploadStatus::landed(upload)),
        Ok(_) => find_elsewhere(service, upload).await,
        // Without the watcher, only the disk shows that the picture is there.
        Err(problem) => {
            let (library, path) = (upload.library.as_str(), upload.path.as_str());
            match find_file(service, library, path).await {
                Ok(_) => Ok(UploadStatus::landed(upload)),
                Err(_) => Err(problem),
            }
        }
    }
}

/// Returns the state of a picture that has left its path.
async fn find_elsewhere(
    service: &SearchService,
    upload: &UploadId,
) -> Result<UploadStatus, Problem> {
    if let Some(row) = find_row(service, upload, false).await? {
        return Ok(UploadStatus::indexed(row));
    }
    find_present_root(service, &upload.library).await?;
    // The catalog may be late.
    if is_on_disk(service, upload).await? {
        return Ok(UploadStatus::landed(upload));
    }
    Ok(UploadStatus::new(upload, UploadState::Removed))
}

/// Whether the file at the path has the content of the upload now.
async fn is_on_disk(service: &SearchService, upload: &UploadId) -> Result<bool, Problem> {
    let (library, path) = (upload.library.as_str(), upload.path.as_str());
    let file = match find_file(service, library, path).await {
        Err(problem) if matches!(problem.code, Code::FileGone | Code::OutsideLibrary) => {
            return Ok(false);
        }
        file => file?,
    };
    let content_hash = upload.content_hash;
    let compare = move || has_content(&file.path, file.bytes, &content_hash);
    file.disk.clone().run_blocking(compare).await
}

/// Whether the catalog has the content of the upload at its path.
fn is_catalogued(upload: &UploadId, history: &FileHistory) -> bool {
    let hash = history.content_hash.as_deref();
    history.state == "indexed" && hash == Some(&upload.content_hash.to_string())
}

/// Returns the state if the catalog alone decides it. Otherwise, the index does: the picture should be
/// there, or left its path.
fn status_from_history(upload: &UploadId, history: &FileHistory) -> Option<UploadStatus> {
    let hash = upload.content_hash.to_string();
    let is_other = |known: &Option<String>| known.as_ref().is_some_and(|known| *known != hash);
    match history.state.as_str() {
        "in_flight" | "settling" => Some(UploadStatus::landed(upload)),
        "failed" | "ignored" if !is_other(&history.content_hash) => Some(UploadStatus {
            reason: Some((history.code.clone(), history.detail.clone())),
            ..UploadStatus::new(upload, UploadState::Failed)
        }),
        _ => None,
    }
}

/// Finds a row with the content of the upload, at its path or anywhere in its library.
async fn find_row(
    service: &SearchService,
    upload: &UploadId,
    is_at_path: bool,
) -> Result<Option<IndexedImage>, Problem> {
    let filter = RowFilter::And(vec![
        RowFilter::Library(vec![upload.library.to_string()]),
        RowFilter::ContentHash(vec![upload.content_hash.to_string()]),
        match is_at_path {
            true => RowFilter::Path(vec![upload.path.to_string()]),
            false => RowFilter::All,
        },
    ]);
    let serving = service.load_model();
    let rows = serving
        .index
        .list_images(&filter, None, 1, ReadConsistency::Bounded)
        .await?;
    Ok(rows.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookalike_proto::{ContentHash, LibraryName, RelativePath};

    fn upload() -> UploadId {
        UploadId {
            library: LibraryName::new("shop").unwrap(),
            path: RelativePath::new("a.jpg").unwrap(),
            content_hash: ContentHash::hash_content(b"a"),
        }
    }

    fn history(state: &str, content: Option<&[u8]>) -> FileHistory {
        FileHistory {
            id: "3ac9aecf0ebba98faed9a9884f264d9d".into(),
            state: state.into(),
            code: "truncated".into(),
            content_hash: content.map(|bytes| ContentHash::hash_content(bytes).to_string()),
            ..FileHistory::default()
        }
    }

    #[test]
    fn the_catalog_decides_what_is_not_indexed() {
        let state = |state: &str, content: Option<&[u8]>| {
            let status = status_from_history(&upload(), &history(state, content));
            status.map(|status| status.state)
        };
        assert_eq!(state("settling", None), Some(UploadState::Landed));
        assert_eq!(state("in_flight", Some(b"old")), Some(UploadState::Landed));
        assert_eq!(state("failed", None), Some(UploadState::Failed));
        assert_eq!(state("failed", Some(b"a")), Some(UploadState::Failed));
        assert_eq!(state("ignored", None), Some(UploadState::Failed));
        // Another file is at the path now.
        assert_eq!(state("failed", Some(b"b")), None);
        for unsure in ["indexed", "missing", "removing"] {
            assert_eq!(state(unsure, Some(b"a")), None, "{unsure}");
        }
        assert!(is_catalogued(&upload(), &history("indexed", Some(b"a"))));
        assert!(!is_catalogued(&upload(), &history("indexed", Some(b"b"))));
        assert!(!is_catalogued(&upload(), &history("missing", Some(b"a"))));
        let failed = status_from_history(&upload(), &history("failed", None)).unwrap();
        assert_eq!(failed.reason, Some(("truncated".into(), String::new())));
        assert_eq!(failed.image_id, None);
    }
}
