//! Rows as callers use them, and the checks before a row is written.

use serde::{Deserialize, Serialize};

use crate::{error::Error, limits};

/// The attributes of one image, without its vector.
///
/// Times are milliseconds since 1970-01-01, UTC.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexedImage {
    /// 32 hexadecimal digits. The id stays with the file through moves and edits.
    pub id: String,
    /// At most [`limits::MAX_LIBRARY_BYTES`].
    pub library: String,
    /// Relative to the library's root, separated by `/`; at most [`limits::MAX_PATH_BYTES`].
    pub path: String,
    /// BLAKE3 of the file's bytes, in hexadecimal.
    pub content_hash: String,
    /// Version of the observed file state, derived from a time in microseconds; only grows.
    pub generation: i64,
    /// Pixels after applying the EXIF orientation.
    pub width: i32,
    /// Pixels after applying the EXIF orientation.
    pub height: i32,
    /// Size of the file in bytes.
    pub bytes: i64,
    /// `jpeg`, `png`, …
    pub format: String,
    /// Time of the photo, if the file states one. Cameras without a clock write exactly
    /// 1970-01-01 00:00:00.000, which is stored as "unknown".
    pub taken_at: Option<i64>,
    /// Modification time of the file.
    pub modified_at: i64,
    /// Time at which this row was written.
    pub indexed_at: i64,
    /// Maker and model, or empty; truncated to [`limits::MAX_CAMERA_BYTES`].
    pub camera: String,
    /// Keywords; at most [`limits::MAX_TAGS`].
    pub tags: Vec<String>,
    /// Names of the dominant colours; see [`limits::MAX_COLORS`].
    pub colors: Vec<String>,
    /// What the picture looks like, in the encoding of `lookalike-vision`; at most
    /// [`limits::MAX_SKETCH_BYTES`]. Empty in rows that an earlier version wrote.
    pub sketch: String,
    /// What the content of the file states, if `taken_at`, `camera` or `tags` also come from
    /// elsewhere: from folders and sidecars, which other files with this content do not have.
    pub content: Option<ContentAttributes>,
}

/// The attributes that the content of a file states. Other files with this content have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentAttributes {
    /// Milliseconds since 1970.
    pub taken_at: Option<i64>,
    pub camera: String,
    pub tags: Vec<String>,
}

/// One row: the attributes of an image and its vector.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexRow {
    pub image: IndexedImage,
    /// Unit vector of the model's dimension.
    pub vector: Vec<f32>,
}

/// One result of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexHit {
    pub image: IndexedImage,
    /// Cosine of the two vectors, −1 to 1; higher means more similar.
    pub score: f32,
}

/// What a search returns of each hit besides its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HitFields {
    Id,
    /// The id and the content hash.
    ContentHash,
    /// All attributes.
    All,
}

impl IndexedImage {
    /// Returns the attributes that the content of the file states.
    pub fn content_attributes(&self) -> ContentAttributes {
        self.content.clone().unwrap_or_else(|| ContentAttributes {
            taken_at: self.taken_at,
            camera: self.camera.clone(),
            tags: self.tags.clone(),
        })
    }

    /// Rejects fields that would change their meaning if they were truncated.
    pub(crate) fn check_fields(&self) -> Result<(), Error> {
        let refuse = |reason: String| {
            Err(Error::InvalidRow {
                id: self.id.clone(),
                reason,
            })
        };
        if self.id.len() != limits::ID_BYTES || !self.id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return refuse("the id must be 32 hexadecimal digits".into());
        }
        if self.library.is_empty() {
            return refuse("the library is empty".into());
        }
        for (field_name, text, limit) in [
            ("library", &self.library, limits::MAX_LIBRARY_BYTES),
            ("path", &self.path, limits::MAX_PATH_BYTES),
            ("content hash", &self.content_hash, limits::MAX_HASH_BYTES),
            ("format", &self.format, limits::MAX_FORMAT_BYTES),
            ("sketch", &self.sketch, limits::MAX_SKETCH_BYTES),
        ] {
            if text.len() > limit {
                return refuse(format!(
                    "the {field_name} has {} bytes; the limit is {limit}",
                    text.len()
                ));
            }
        }
        Ok(())
    }
}

/// Checks dimension, finite numbers and unit length, for vectors to be stored and for queries.
pub(crate) fn check_vector(vector: &[f32], dimension: usize) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::InvalidVector { reason });
    if vector.len() != dimension {
        return refuse(format!(
            "it has {} numbers, but the model has {dimension}",
            vector.len()
        ));
    }
    // A non-finite number makes the sum infinite or NaN.
    let length = vector
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt();
    if !length.is_finite() {
        return refuse("it contains non-finite numbers".into());
    }
    if (length - 1.0).abs() >= 1e-3 {
        return refuse(format!("its length is {length} instead of 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_image() -> IndexedImage {
        IndexedImage {
            id: "0123456789abcdef0123456789abcdef".into(),
            library: "shop".into(),
            path: "a/b.jpg".into(),
            content_hash: "ab".repeat(32),
            generation: 7,
            format: "jpeg".into(),
            taken_at: Some(-5),
            tags: vec!["red".into()],
            ..IndexedImage::default()
        }
    }

    #[test]
    fn fields_that_cannot_be_truncated_are_rejected() {
        test_image().check_fields().unwrap();
        for (change, word) in [
            ((|i| i.id = "xyz".into()) as fn(&mut IndexedImage), "id"),
            (|i| i.id = "z".repeat(32), "id"),
            (|i| i.library = String::new(), "library"),
            (|i| i.path = "é".repeat(2049), "path has 4098 bytes"),
            (|i| i.format = "f".repeat(33), "format"),
            (|i| i.sketch = "s".repeat(769), "sketch"),
        ] {
            let mut image = test_image();
            change(&mut image);
            let error = image.check_fields().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn vectors_are_checked() {
        check_vector(&[0.6, 0.8], 2).unwrap();
        for bad in [
            vec![1.0],
            vec![0.6, 0.7],
            vec![f32::NAN, 1.0],
            vec![f32::INFINITY, 0.0],
            vec![0.0, 0.0],
        ] {
            assert!(check_vector(&bad, 2).is_err(), "{bad:?}");
        }
    }
}
