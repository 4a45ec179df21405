//! What differs between two images.

/// What can differ between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageDifferenceKind {
    Size,
    Format,
    Crop,
    Mirror,
    Rotation,
    Light,
    Colour,
    Content,
}

/// A difference, described for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageDifference {
    pub kind: ImageDifferenceKind,
    pub detail: String,
}
