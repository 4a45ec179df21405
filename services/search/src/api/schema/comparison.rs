//! The comparison of two images.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::hit::BandBody;
use super::image::ImageBody;
use crate::core::compare::ImageDifferenceKind;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "DifferenceKind", rename_all = "snake_case")]
pub(crate) enum DifferenceKindBody {
    /// The size in pixels of what both show.
    Size,
    /// The file format, or the compression.
    Format,
    /// One picture shows a part of the other.
    Crop,
    /// One picture is mirrored.
    Mirror,
    /// One picture is turned.
    Rotation,
    /// The brightness or the contrast.
    Light,
    /// The colours.
    Colour,
    /// What the pictures show, or a part of it.
    Content,
}

impl From<ImageDifferenceKind> for DifferenceKindBody {
    fn from(kind: ImageDifferenceKind) -> Self {
        match kind {
            ImageDifferenceKind::Size => Self::Size,
            ImageDifferenceKind::Format => Self::Format,
            ImageDifferenceKind::Crop => Self::Crop,
            ImageDifferenceKind::Mirror => Self::Mirror,
            ImageDifferenceKind::Rotation => Self::Rotation,
            ImageDifferenceKind::Light => Self::Light,
            ImageDifferenceKind::Colour => Self::Colour,
            ImageDifferenceKind::Content => Self::Content,
        }
    }
}

/// A difference between two images.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Difference", example)]
pub(crate) struct DifferenceBody {
    /// What differs.
    pub kind: DifferenceKindBody,
    /// The difference in words and numbers, for people. `a` and `b` are the images.
    pub detail: String,
}

impl Example for DifferenceBody {
    fn example() -> Self {
        Self {
            kind: DifferenceKindBody::Crop,
            detail: "b shows the middle 80 % × 75 % of a".into(),
        }
    }
}

/// How the second image lies on the first one.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "OverlayTransform", example)]
pub(crate) struct OverlayTransformBody {
    /// Six numbers a, b, c, d, e, f that map a point (x, y) of the upright first image to the second one:
    /// x′ = a·x + b·y + c and y′ = d·x + e·y + f. Both are in pixels of the original, with the origin at
    /// the outer corner of the top left pixel.
    #[oai(validator(min_items = 6, max_items = 6))]
    pub matrix: Vec<f64>,
    /// Share of the first image that the second one covers, 0 to 1.
    #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
    pub overlap: f64,
}

impl Example for OverlayTransformBody {
    fn example() -> Self {
        Self {
            matrix: vec![0.5, 0.0, -201.6, 0.0, 0.5, -189.0],
            overlap: 0.6,
        }
    }
}

/// The comparison of two images.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct Comparison {
    /// The first image.
    pub a: ImageBody,
    /// The second image.
    pub b: ImageBody,
    /// Cosine of the angle between the two vectors, −1 to 1; higher is more similar.
    #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
    pub score: f64,
    /// The meaning of the score, as of a hit of a search. Null if the model has no calibrated bands.
    pub band: Option<BandBody>,
    /// Whether both files have the same bytes.
    pub same_content: bool,
    /// What differs, in a fixed order; empty if the files have the same bytes.
    pub differences: Vec<DifferenceBody>,
    /// How the second image lies on the first one; null if no position was verified in which both show the
    /// same.
    pub transform: Option<OverlayTransformBody>,
    /// Milliseconds that the comparison took.
    #[oai(validator(minimum(value = "0")))]
    pub took_ms: f64,
}

impl Example for Comparison {
    fn example() -> Self {
        let a = ImageBody::example();
        Self {
            b: ImageBody {
                id: "5b0c3d2f9e8a47b1a6c5d4e3f2019876".into(),
                path: "backup/oak-07.jpg".into(),
                width: 1613,
                height: 1134,
                bytes: 801_220,
                ..a.clone()
            },
            a,
            score: 0.951_2,
            band: Some(BandBody::NearDuplicate),
            same_content: false,
            differences: vec![DifferenceBody::example()],
            transform: Some(OverlayTransformBody::example()),
            took_ms: 84.2,
        }
    }
}
