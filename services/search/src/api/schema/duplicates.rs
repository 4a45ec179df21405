//! Groups of images of which one should be enough.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::image::ImageBody;
use crate::core::duplicates::DuplicateKind;

/// What the images of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "DuplicateKind", rename_all = "snake_case")]
pub(crate) enum DuplicateKindBody {
    /// The files have the same bytes.
    Identical,
    /// The pictures look the same, and at least two of the files differ.
    Near,
}

impl From<DuplicateKindBody> for DuplicateKind {
    fn from(kind: DuplicateKindBody) -> Self {
        match kind {
            DuplicateKindBody::Identical => Self::Identical,
            DuplicateKindBody::Near => Self::Near,
        }
    }
}

impl From<DuplicateKind> for DuplicateKindBody {
    fn from(kind: DuplicateKind) -> Self {
        match kind {
            DuplicateKind::Identical => Self::Identical,
            DuplicateKind::Near => Self::Near,
        }
    }
}

/// An image of a group.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "DuplicateImage", example)]
pub(crate) struct DuplicateImageBody {
    #[oai(flatten)]
    pub image: ImageBody,
    /// Whether this image is the one to keep.
    pub keep: bool,
    /// Short phrases for people, the most important first: why to keep it, or why not. For example
    /// `most pixels (4032 × 3024)`.
    pub reasons: Vec<String>,
}

impl Example for DuplicateImageBody {
    fn example() -> Self {
        Self {
            image: ImageBody::example(),
            keep: true,
            reasons: vec!["most pixels (4032 × 3024)".into()],
        }
    }
}

/// Images of which one should be enough.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "DuplicateGroup", example)]
pub(crate) struct DuplicateGroupBody {
    /// What the images have in common.
    pub kind: DuplicateKindBody,
    /// At least two images, at most 1,000: the one to keep, then the others from the best to the worst.
    /// Further images of the group are listed after some of these have been removed.
    #[oai(validator(min_items = 2))]
    pub images: Vec<DuplicateImageBody>,
    /// Size of all files except the one to keep, in bytes.
    pub reclaimable_bytes: u64,
}

impl Example for DuplicateGroupBody {
    fn example() -> Self {
        let kept = DuplicateImageBody::example();
        let copy = DuplicateImageBody {
            image: ImageBody {
                id: "5b0c3d2f9e8a47b1a6c5d4e3f2019876".into(),
                path: "backup/oak-07.jpg".into(),
                width: 2016,
                height: 1512,
                bytes: 801_220,
                ..kept.image.clone()
            },
            keep: false,
            reasons: vec![
                "fewer pixels (2016 × 1512)".into(),
                "smaller file".into(),
                "named as a copy, or in a folder for copies".into(),
            ],
        };
        Self {
            kind: DuplicateKindBody::Near,
            reclaimable_bytes: copy.image.bytes,
            images: vec![kept, copy],
        }
    }
}

/// A page of groups.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct DuplicateList {
    /// The groups of this page; at most 100.
    #[oai(validator(max_items = 100))]
    pub groups: Vec<DuplicateGroupBody>,
    /// The value of `cursor` for the next page; null on the last page. A page without groups can have one:
    /// `http.duplicates_timeout` and `http.max_duplicate_images` limit the work of a request.
    pub cursor: Option<String>,
    /// The number of images that this request compared with others.
    #[oai(validator(minimum(value = "0")))]
    pub examined: u64,
    /// Milliseconds that the search took.
    #[oai(validator(minimum(value = "0")))]
    pub took_ms: f64,
}

impl Example for DuplicateList {
    fn example() -> Self {
        Self {
            groups: vec![DuplicateGroupBody::example()],
            cursor: Some("af1349b9f5f9a1a6".into()),
            examined: 1204,
            took_ms: 640.1,
        }
    }
}
