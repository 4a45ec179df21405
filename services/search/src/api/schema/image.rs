//! Images in the index.

use poem_openapi::Object;
use poem_openapi::types::Example;

pub(crate) const EXAMPLE_ID: &str = "3ac9aecf0ebba98faed9a9884f264d9d";
pub(crate) const EXAMPLE_HASH: &str =
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

/// An image in the index.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Image", example)]
pub(crate) struct ImageBody {
    /// 32 lower-case hexadecimal digits; stays with the file through moves and edits.
    pub id: String,
    /// The library of the file.
    pub library: String,
    /// The path relative to the root of the library, with `/` as separator.
    pub path: String,
    /// In pixels, after rotation to the upright position.
    pub width: u32,
    /// In pixels, after rotation to the upright position.
    pub height: u32,
    /// `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`, `hdr`, `tga`, `heic`,
    /// `avif` or `jxl`; of a camera raw file, the extension of its format, such as `nef`.
    pub format: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file's bytes, 64 hexadecimal digits.
    pub content_hash: String,
    /// When the picture was taken (RFC 3339; UTC without a zone, midnight without a time), or null.
    pub taken_at: Option<String>,
    /// When the file was last written (RFC 3339).
    pub modified_at: String,
    /// When this version of the file was indexed (RFC 3339).
    pub indexed_at: String,
    /// Manufacturer and model of the camera, or null.
    pub camera: Option<String>,
    /// Keywords; at most 64.
    pub tags: Vec<String>,
    /// Main colours, the largest area first; at most three basic colour terms.
    pub colors: Vec<String>,
    /// The address of a small JPEG, relative to the root of this service.
    pub thumbnail_url: String,
    /// The address of the original file, relative to the root of this service.
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
    /// The images of this page.
    pub images: Vec<ImageBody>,
    /// The value of `cursor` for the next page; null on the last page.
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
