//! Uploads and removals.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::{EXAMPLE_HASH, EXAMPLE_ID};

/// The upload of `2026/chairs/oak-07.jpg` to the library `shop`.
pub(crate) const EXAMPLE_UPLOAD_ID: &str =
    "rxNJufX5oaagQE3qNtzJSZvLJcmtwRK3zJqTyuQfMmIEc2hvcDIwMjYvY2hhaXJzL29hay0wNy5qcGc";

/// What became of an uploaded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "UploadState", rename_all = "snake_case")]
pub(crate) enum UploadStateBody {
    /// It is in its library, and will be indexed.
    Landed,
    /// Searches find it.
    Indexed,
    /// It cannot be indexed, or a rule excludes it; `code` and `detail` say why.
    Failed,
    /// The library does not contain it any more.
    Removed,
}

/// An uploaded picture and what became of it.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Upload", example)]
pub(crate) struct UploadResultBody {
    /// The id of the upload.
    pub id: String,
    /// What became of the picture.
    pub state: UploadStateBody,
    /// Whether the request added a file; false if the library had the picture before. Null in
    /// `GET /v1/uploads/{id}`.
    pub created: Option<bool>,
    /// The library of the file.
    pub library: String,
    /// The path of the file relative to the root of the library.
    pub path: String,
    /// BLAKE3 of the file's bytes, 64 hexadecimal digits.
    pub content_hash: String,
    /// The id of the image; null until it is indexed.
    pub image_id: Option<String>,
    /// The address of the image; null while its id is not known.
    pub image_url: Option<String>,
    /// Why it failed, as in `/v1/failures`; otherwise null.
    pub code: Option<String>,
    /// Explains the code in one sentence; otherwise null.
    pub detail: Option<String>,
    /// The address that shows the state of this upload.
    pub upload_url: String,
}

impl Example for UploadResultBody {
    fn example() -> Self {
        Self {
            id: EXAMPLE_UPLOAD_ID.into(),
            state: UploadStateBody::Indexed,
            created: None,
            library: "shop".into(),
            path: "2026/chairs/oak-07.jpg".into(),
            content_hash: EXAMPLE_HASH.into(),
            image_id: Some(EXAMPLE_ID.into()),
            image_url: Some(format!("/v1/images/{EXAMPLE_ID}")),
            code: None,
            detail: None,
            upload_url: format!("/v1/uploads/{EXAMPLE_UPLOAD_ID}"),
        }
    }
}

/// A file that was moved to the trash.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Removal", example)]
pub(crate) struct RemovalBody {
    /// The id of the image, which leaves the index soon.
    pub id: String,
    /// The library from which the file was moved.
    pub library: String,
    /// The path that the file had, relative to the root of the library.
    pub path: String,
    /// The path of the file in the trash, on the machine of the service.
    pub trash_path: String,
}

impl Example for RemovalBody {
    fn example() -> Self {
        Self {
            id: EXAMPLE_ID.into(),
            library: "shop".into(),
            path: "2026/chairs/oak-07.jpg".into(),
            trash_path: format!(
                "/home/kim/.local/share/lookalike/trash/shop/20261201T120000123Z-{EXAMPLE_ID}/\
                 2026/chairs/oak-07.jpg"
            ),
        }
    }
}
