//! The fields that every kind of metadata can state.

/// What one block of metadata states. Times are seconds since 1970, UTC.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MetadataFields {
    /// 1 to 8, as EXIF counts them.
    pub orientation: Option<u8>,
    /// When the picture was taken or drawn.
    pub original: Option<i64>,
    /// When it became a file; of a scanned photo, the time of the scan.
    pub digitized: Option<i64>,
    /// When the file was last changed.
    pub modified: Option<i64>,
    pub make: Option<String>,
    pub model: Option<String>,
    /// May contain empty and repeated ones.
    pub keywords: Vec<String>,
}
