//! Maximum sizes of the fields of a row. Strings are counted in bytes of UTF-8, as Milvus does.
//!
//! A row with a library, path, hash, format or sketch that is too long is rejected: a truncated one would
//! mean something else. Camera, tags and colours are truncated at a character boundary.

/// Exact length of an image id: 32 hexadecimal digits.
pub const ID_BYTES: usize = 32;
pub const MAX_LIBRARY_BYTES: usize = 64;
pub const MAX_PATH_BYTES: usize = 4096;
/// Content hash in hexadecimal.
pub const MAX_HASH_BYTES: usize = 64;
pub const MAX_FORMAT_BYTES: usize = 32;
pub const MAX_CAMERA_BYTES: usize = 128;
/// Tags of one image; further ones are dropped.
pub const MAX_TAGS: usize = 64;
/// One tag; empty ones are dropped.
pub const MAX_TAG_BYTES: usize = 128;
/// Colours of one image; further ones are dropped.
pub const MAX_COLORS: usize = 16;
/// One colour; empty ones are dropped.
pub const MAX_COLOR_BYTES: usize = 32;
pub const MAX_SKETCH_BYTES: usize = 768;
