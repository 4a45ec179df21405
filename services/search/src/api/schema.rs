//! What goes over the wire as JSON, each field with its unit, limits and an example: the API's
//! document is made from these types.

pub(crate) mod maintenance;
mod query;

use lookalike_vision::Band;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

pub(crate) use query::{QueryPart, SearchRequest};

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum ConsistencyBody {
    /// What the index has at hand: at most a moment behind the last write. The fast one.
    Bounded,
    /// Every write that was answered before this request, for up to some 200 ms of waiting.
    Strong,
}

/// Which images are looked at; everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(
    rename = "Filter",
    deny_unknown_fields,
    example,
    skip_serializing_if_is_none
)]
pub(crate) struct FilterBody {
    /// Only this library: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    pub library: Option<String>,
    /// Only paths that begin with this, byte for byte, relative to the library's root; end it
    /// with `/` to mean a folder. At most 4,096 bytes.
    #[oai(validator(max_length = 4096))]
    pub path_prefix: Option<String>,
    /// Only these formats: `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`,
    /// `hdr`, `tga`.
    #[oai(validator(max_items = 16))]
    pub formats: Option<Vec<String>>,
    /// Only images at least this wide, in pixels, upright.
    pub min_width: Option<u32>,
    /// Only images at least this high, in pixels, upright.
    pub min_height: Option<u32>,
    /// Only images taken at this time or later: RFC 3339, or a day. Images that do not say when
    /// they were taken are left out.
    pub taken_after: Option<String>,
    /// Only images taken before this time: RFC 3339, or a day. Images that do not say when they
    /// were taken are left out.
    pub taken_before: Option<String>,
    /// Only images of one of these main colours: `black`, `white`, `gray`, `red`, `orange`,
    /// `yellow`, `green`, `blue`, `purple`, `pink`, `brown`.
    #[oai(validator(max_items = 16))]
    pub colors: Option<Vec<String>>,
    /// Only images that have all of these tags.
    #[oai(validator(max_items = 64))]
    pub tags: Option<Vec<String>>,
}

impl Example for FilterBody {
    fn example() -> Self {
        Self {
            library: Some("shop".into()),
            path_prefix: Some("2026/".into()),
            formats: Some(vec!["jpeg".into(), "png".into()]),
            min_width: Some(800),
            taken_after: Some("2026-01-01".into()),
            colors: Some(vec!["blue".into()]),
            ..Self::default()
        }
    }
}

/// What a score means, by what was measured of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "Band", rename_all = "snake_case")]
pub(crate) enum BandBody {
    /// The same picture, perhaps stored anew.
    SamePicture,
    /// The same picture, altered.
    NearDuplicate,
    /// Very similar.
    VerySimilar,
    /// Similar.
    Similar,
    /// No good match.
    NoMatch,
}

impl From<Band> for BandBody {
    fn from(band: Band) -> Self {
        match band {
            Band::Same => Self::SamePicture,
            Band::NearDuplicate => Self::NearDuplicate,
            Band::VerySimilar => Self::VerySimilar,
            Band::Similar => Self::Similar,
            Band::NoMatch => Self::NoMatch,
        }
    }
}

pub(crate) const EXAMPLE_ID: &str = "3ac9aecf0ebba98faed9a9884f264d9d";
const EXAMPLE_HASH: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

/// An image that looks like the query.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct HitBody {
    /// 32 lower-case hexadecimal digits; stays with the file through moves and edits.
    pub id: String,
    /// The library that the file lies in.
    pub library: String,
    /// The file, relative to the library's root, with `/` between parts.
    pub path: String,
    /// Cosine of the angle between the two vectors, −1 to 1; higher is more alike, 1 the same.
    pub score: f64,
    /// What the score means. Null where the model has no measured bands, and for questions of
    /// words or of several parts, whose scores are on another scale.
    pub band: Option<BandBody>,
    /// In pixels, upright.
    pub width: u32,
    /// In pixels, upright.
    pub height: u32,
    /// `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`, `hdr` or `tga`.
    pub format: String,
    /// BLAKE3 of the file's bytes, 64 hexadecimal digits.
    pub content_hash: String,
    /// When it was taken (RFC 3339; cameras without a time zone count as UTC), or null.
    pub taken_at: Option<String>,
    /// Words; at most 64.
    pub tags: Vec<String>,
    /// Main colours, the largest first; at most three basic colour terms.
    pub colors: Vec<String>,
    /// A small JPEG, relative to this service's root.
    pub thumbnail_url: String,
    /// The original file, relative to this service's root.
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

/// The answer to a search.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct SearchAnswer {
    /// The nearest images, best first; each at most once.
    pub hits: Vec<HitBody>,
    /// The band of the best hit; `no_match` also where there is no hit, and null where hits have
    /// none. `no_match`: nothing here looks much like the picture, and the hits are only nearest.
    pub band: Option<BandBody>,
    /// The model whose vectors were compared.
    pub model: String,
    /// Milliseconds from the whole request in memory to the hits.
    pub took_ms: f64,
}

impl Example for SearchAnswer {
    fn example() -> Self {
        Self {
            hits: vec![HitBody::example()],
            band: Some(BandBody::NearDuplicate),
            model: "lookalike-mini".into(),
            took_ms: 18.4,
        }
    }
}

/// An image in the index.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct ImageBody {
    /// 32 lower-case hexadecimal digits; stays with the file through moves and edits.
    pub id: String,
    /// The library that the file lies in.
    pub library: String,
    /// The file, relative to the library's root, with `/` between parts.
    pub path: String,
    /// In pixels, upright.
    pub width: u32,
    /// In pixels, upright.
    pub height: u32,
    /// `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`, `hdr` or `tga`.
    pub format: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file's bytes, 64 hexadecimal digits.
    pub content_hash: String,
    /// When it was taken (RFC 3339; cameras without a time zone count as UTC), or null.
    pub taken_at: Option<String>,
    /// When the file was last written (RFC 3339).
    pub modified_at: String,
    /// When this version of the file came into the index (RFC 3339).
    pub indexed_at: String,
    /// Maker and model of the camera, or null.
    pub camera: Option<String>,
    /// Words; at most 64.
    pub tags: Vec<String>,
    /// Main colours, the largest first; at most three basic colour terms.
    pub colors: Vec<String>,
    /// A small JPEG, relative to this service's root.
    pub thumbnail_url: String,
    /// The original file, relative to this service's root.
    pub content_url: String,
}

impl Example for ImageBody {
    fn example() -> Self {
        Self {
            id: EXAMPLE_ID.into(),
            library: "shop".into(),
            path: "2026/chairs/oak-07.jpg".into(),
            width: 4032,
            height: 3024,
            format: "jpeg".into(),
            bytes: 2_914_312,
            content_hash: EXAMPLE_HASH.into(),
            taken_at: Some("2026-05-02T14:11:09Z".into()),
            modified_at: "2026-05-03T08:00:00Z".into(),
            indexed_at: "2026-05-03T08:00:01Z".into(),
            camera: Some("Canon EOS R5".into()),
            tags: vec![],
            colors: vec!["brown".into(), "white".into()],
            thumbnail_url: format!(
                "/v1/images/{EXAMPLE_ID}/thumbnail?size=320&v={}",
                &EXAMPLE_HASH[..16]
            ),
            content_url: format!("/v1/images/{EXAMPLE_ID}/content"),
        }
    }
}

/// A page of images, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct ImageList {
    /// The images.
    pub images: Vec<ImageBody>,
    /// Give this as `cursor` for the next page; null after the last one.
    pub cursor: Option<String>,
}

impl Example for ImageList {
    fn example() -> Self {
        Self {
            images: vec![ImageBody::example()],
            cursor: Some(EXAMPLE_ID.into()),
        }
    }
}

/// Why a library may lag behind its folder.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct DegradedBody {
    /// A stable name: `root_missing` (gone, or another folder lies there), `mass_delete`,
    /// `unreadable_body`, `watch_limit`, `watch_failed`, `watch_polled`, `standby`, `recovering`, `stuck`,
    /// `no_watcher`, …
    pub reason: String,
    /// One sentence for a person.
    pub detail: String,
    /// Since when (RFC 3339), or null where nobody can tell.
    pub since: Option<String>,
}

impl Example for DegradedBody {
    fn example() -> Self {
        Self {
            reason: "root_missing".into(),
            detail: "the folder /mnt/shop is not there; nothing is deleted until it is back".into(),
            since: Some("2026-05-03T08:00:00Z".into()),
        }
    }
}

/// A watched folder and its files, by what became of them.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Library", example)]
pub(crate) struct LibraryBody {
    /// The library's name.
    pub name: String,
    /// Its root folder on the watcher's machine.
    pub root: String,
    /// Regular files below the root: always the sum of the next four.
    pub on_disk: u64,
    /// In the index.
    pub indexed: u64,
    /// Can't be indexed; listed with a reason at `/v1/failures`.
    pub failed: u64,
    /// Not meant to be indexed, with a reason.
    pub ignored: u64,
    /// Seen, and not yet one of the above.
    pub in_flight: u64,
    /// Why it may lag behind its folder; empty in peace.
    pub degraded: Vec<DegradedBody>,
    /// A scan is under way, so the counts still grow.
    pub scanning: bool,
    /// Files settled (indexed, removed or failed) each second, over the last ten seconds.
    pub files_per_second: f64,
}

impl Example for LibraryBody {
    fn example() -> Self {
        Self {
            name: "shop".into(),
            root: "/home/kim/shop".into(),
            on_disk: 1368,
            indexed: 1302,
            failed: 3,
            ignored: 9,
            in_flight: 54,
            degraded: vec![],
            scanning: false,
            files_per_second: 97.5,
        }
    }
}

/// All libraries.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct LibraryList {
    /// By name.
    pub libraries: Vec<LibraryBody>,
}

impl Example for LibraryList {
    fn example() -> Self {
        Self {
            libraries: vec![LibraryBody::example()],
        }
    }
}

/// The model whose vectors are compared.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Model", example)]
pub(crate) struct ModelBody {
    /// Its name.
    pub name: String,
    /// Numbers in a vector.
    pub dimension: u32,
    /// SHA-256 of the weights, 64 hexadecimal digits.
    pub checksum: String,
    /// Whether it has a text side, so that pictures can be found by words.
    pub text: bool,
}

impl Example for ModelBody {
    fn example() -> Self {
        Self {
            name: "lookalike-mini".into(),
            dimension: 384,
            checksum: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
            text: false,
        }
    }
}

/// How fast things go, over the last ten seconds.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Rates", example)]
pub(crate) struct RatesBody {
    /// Files settled (indexed, removed or failed) each second.
    pub files_per_second: f64,
}

impl Example for RatesBody {
    fn example() -> Self {
        Self {
            files_per_second: 97.5,
        }
    }
}

/// What the folders hold and what became of it; the sums of all libraries come first.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct Stats {
    /// Regular files below the roots: always the sum of the next four.
    pub on_disk: u64,
    /// In the index.
    pub indexed: u64,
    /// Can't be indexed; listed with a reason at `/v1/failures`.
    pub failed: u64,
    /// Not meant to be indexed, with a reason.
    pub ignored: u64,
    /// Seen, and not yet one of the above.
    pub in_flight: u64,
    /// Each library, by name.
    pub libraries: Vec<LibraryBody>,
    /// The model in service.
    pub model: ModelBody,
    /// What embeds pictures, in words; several are separated by `; `. Null while no embedder
    /// tells of itself.
    pub device: Option<String>,
    /// An embedder takes no new files in now, because Milvus takes no writes or too many of its
    /// threads hang on a mount; they wait, and none is lost.
    pub intake_paused: bool,
    /// Why this service, or an embedder, still works with another model than the one that was put
    /// in service. Null in peace.
    pub rollover_error: Option<String>,
    /// How fast things go.
    pub rates: RatesBody,
}

impl Example for Stats {
    fn example() -> Self {
        let library = LibraryBody::example();
        Self {
            on_disk: library.on_disk,
            indexed: library.indexed,
            failed: library.failed,
            ignored: library.ignored,
            in_flight: library.in_flight,
            libraries: vec![library],
            model: ModelBody::example(),
            device: Some("cpu: burn flex, 2 threads".into()),
            intake_paused: false,
            rollover_error: None,
            rates: RatesBody::example(),
        }
    }
}
