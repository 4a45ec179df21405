//! The conditions for hits.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

/// How recent the data of a response must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "Consistency", rename_all = "snake_case")]
pub(crate) enum ConsistencyBody {
    /// Fast: may miss the writes of the last few seconds.
    Bounded,
    /// Includes every write that completed before this request; waits up to about 200 ms for it.
    Strong,
}

/// Conditions for hits; all of them must hold.
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
    /// Only paths that start with this prefix, byte for byte, relative to the root of the library.
    /// A prefix that ends with `/` selects a folder. At most 4,096 bytes.
    #[oai(validator(max_length = 4096))]
    pub path_prefix: Option<String>,
    /// Only these formats: `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`,
    /// `hdr`, `tga`, `heic`, `avif`, `jxl`, or the extension of a camera raw format, such as `nef`. In any case;
    /// usual file endings and media types work as well: `JPG`, `image/tiff`.
    #[oai(validator(max_items = 16))]
    pub formats: Option<Vec<String>>,
    /// Only images at least this wide, in pixels, after rotation to the upright position.
    pub min_width: Option<u32>,
    /// Only images at least this high, in pixels, after rotation to the upright position.
    pub min_height: Option<u32>,
    /// Only images taken at this time or later: RFC 3339, or a day. Images without a capture time
    /// are excluded.
    pub taken_after: Option<String>,
    /// Only images taken before this time, which must be later than `taken_after`: RFC 3339, or a
    /// day. Images without a capture time are excluded.
    pub taken_before: Option<String>,
    /// Only images with one of these main colours: `black`, `white`, `gray`, `red`, `orange`,
    /// `yellow`, `green`, `blue`, `purple`, `pink`, `brown`. In any case; `grey` is `gray`.
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
