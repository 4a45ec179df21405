//! The result of a search.

use lookalike_vision::Band;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::image::ImageBody;

/// The shape of a cursor; no search accepts it.
pub(crate) const EXAMPLE_SEARCH_CURSOR: &str =
    "qB3f1AEBAI0cWm4yP7aTkQ0b2eS5xUZAAAwAeH0nK1vQmJYAAAAAAwATqg7xGZJk";

/// The meaning of a score, as calibrated for the model. A comparison of the pictures themselves confirms
/// the first three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "Band", rename_all = "snake_case")]
pub(crate) enum BandBody {
    /// The same picture, possibly in another file format.
    SamePicture,
    /// The same picture, turned or mirrored.
    TurnedCopy,
    /// The same picture, edited.
    NearDuplicate,
    VerySimilar,
    Similar,
    NoMatch,
}

impl From<Band> for BandBody {
    fn from(band: Band) -> Self {
        match band {
            Band::Same => Self::SamePicture,
            Band::TurnedCopy => Self::TurnedCopy,
            Band::NearDuplicate => Self::NearDuplicate,
            Band::VerySimilar => Self::VerySimilar,
            Band::Similar => Self::Similar,
            Band::NoMatch => Self::NoMatch,
        }
    }
}

impl From<BandBody> for Band {
    fn from(band: BandBody) -> Self {
        match band {
            BandBody::SamePicture => Self::Same,
            BandBody::TurnedCopy => Self::TurnedCopy,
            BandBody::NearDuplicate => Self::NearDuplicate,
            BandBody::VerySimilar => Self::VerySimilar,
            BandBody::Similar => Self::Similar,
            BandBody::NoMatch => Self::NoMatch,
        }
    }
}

/// Further images that show the same picture as a hit.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "FoldedImages", example)]
pub(crate) struct FoldedBody {
    /// How many images are folded, of those that the search has examined so far.
    #[oai(validator(minimum(value = "1")))]
    pub count: u32,
    /// Their ids in the order of the hits that they would be; at most 100.
    #[oai(validator(max_items = 100))]
    pub ids: Vec<String>,
}

impl Example for FoldedBody {
    fn example() -> Self {
        Self {
            count: 1,
            ids: vec!["3ac94f0b7d2e41a58c6b9e0f1d2a3b4c".into()],
        }
    }
}

/// An image that looks like the query.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Hit", example)]
pub(crate) struct HitBody {
    /// 32 lower-case hexadecimal digits; stays with the file through moves and edits.
    pub id: String,
    /// The library of the file.
    pub library: String,
    /// The path relative to the root of the library, with `/` as separator.
    pub path: String,
    /// Cosine of the angle between the two vectors, −1 to 1; higher is more similar.
    pub score: f64,
    /// The meaning of the score. Null if the model has no calibrated bands, and for queries with
    /// text or several parts, whose scores are on another scale.
    pub band: Option<BandBody>,
    /// The images that are folded into this hit, or null: if there are none, or the search has no `group`.
    pub folded: Option<FoldedBody>,
    /// In pixels, after rotation to the upright position.
    pub width: u32,
    /// In pixels, after rotation to the upright position.
    pub height: u32,
    /// `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`, `hdr`, `tga`, `heic`,
    /// `avif` or `jxl`; of a camera raw file, the extension of its format, such as `nef`.
    pub format: String,
    /// BLAKE3 of the file's bytes, 64 hexadecimal digits.
    pub content_hash: String,
    /// When the picture was taken (RFC 3339; UTC without a zone, midnight without a time), or null.
    pub taken_at: Option<String>,
    /// Keywords; at most 64.
    pub tags: Vec<String>,
    /// Main colours, the largest area first; at most three basic colour terms.
    pub colors: Vec<String>,
    /// The address of a small JPEG, relative to the root of this service.
    pub thumbnail_url: String,
    /// The address of the original file, relative to the root of this service.
    pub content_url: String,
}

impl Example for HitBody {
    fn example() -> Self {
        let image = ImageBody::example();
        Self {
            id: image.id,
            library: image.library,
            path: image.path,
            score: 0.913_27,
            band: Some(BandBody::NearDuplicate),
            folded: Some(FoldedBody::example()),
            width: image.width,
            height: image.height,
            format: image.format,
            content_hash: image.content_hash,
            taken_at: image.taken_at,
            tags: image.tags,
            colors: image.colors,
            thumbnail_url: image.thumbnail_url,
            content_url: image.content_url,
        }
    }
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct SearchAnswer {
    /// The nearest images, without duplicates: first those with the band `same_picture`, then `turned_copy`,
    /// then `near_duplicate`, then all others. Each part is sorted by falling score. Copies come first only
    /// among the nearest images of the first page (at least 64); behind these, only the score counts.
    pub hits: Vec<HitBody>,
    /// The best band of these hits, or null if hits have no bands. `no_match` means that no image looks
    /// similar: there is no hit, or the hits are merely the nearest images.
    pub band: Option<BandBody>,
    /// For the next page: send the same request again, with this `cursor`. Null if there are no further
    /// hits, or if the pages have reached `http.max_search_depth`. The page after a cursor may be empty.
    ///
    /// While the index does not change, the pages together contain each hit once. If it changes, they may
    /// miss an image, but never repeat one.
    pub cursor: Option<String>,
    /// The model that computed the vectors.
    pub model: String,
    /// Milliseconds from the complete request to the hits.
    pub took_ms: f64,
}

impl Example for SearchAnswer {
    fn example() -> Self {
        Self {
            hits: vec![HitBody::example()],
            band: Some(BandBody::NearDuplicate),
            cursor: Some(EXAMPLE_SEARCH_CURSOR.into()),
            model: "lookalike-mini".into(),
            took_ms: 18.4,
        }
    }
}
