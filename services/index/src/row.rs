//! Rows as callers know them, their limits, and their way into columns and back.

use std::collections::HashMap;

use milvus::v2::prelude::FieldData;

use crate::{Error, metrics::MilvusCall, schema::field};

/// How much each field takes. Strings are counted in bytes of UTF-8, as Milvus does.
pub mod limits {
    /// An image id: 32 hexadecimal digits.
    pub const ID_BYTES: usize = 32;
    /// A library's name. Longer is refused.
    pub const MAX_LIBRARY_BYTES: usize = 64;
    /// A path. Longer is refused: a shortened path would be another file's.
    pub const MAX_PATH_BYTES: usize = 4096;
    /// A content hash in hexadecimal. Longer is refused.
    pub const MAX_HASH_BYTES: usize = 64;
    /// A format's name. Longer is refused.
    pub const MAX_FORMAT_BYTES: usize = 32;
    /// A camera's name. Longer is cut at a character's border.
    pub const MAX_CAMERA_BYTES: usize = 128;
    /// Tags of one image. What is more is left out.
    pub const MAX_TAGS: usize = 64;
    /// One tag. An empty one is left out; a longer one is cut at a character's border.
    pub const MAX_TAG_BYTES: usize = 128;
    /// Colours of one image. What is more is left out.
    pub const MAX_COLORS: usize = 16;
    /// One colour. An empty one is left out; a longer one is cut at a character's border.
    pub const MAX_COLOR_BYTES: usize = 32;
}

/// What the index knows of one image, without its vector.
///
/// Times are milliseconds since 1970, UTC.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexedImage {
    /// 32 hexadecimal digits; stays with the file through moves and edits.
    pub id: String,
    /// The library it lies in; up to [`limits::MAX_LIBRARY_BYTES`].
    pub library: String,
    /// Relative to the library's root, `/` between parts; up to [`limits::MAX_PATH_BYTES`].
    pub path: String,
    /// BLAKE3 of the bytes, hexadecimal.
    pub content_hash: String,
    /// Of what was observed of this image, in microseconds; only grows.
    pub generation: i64,
    /// Pixels, upright.
    pub width: i32,
    /// Pixels, upright.
    pub height: i32,
    /// Size of the file in bytes.
    pub bytes: i64,
    /// `jpeg`, `png`, …
    pub format: String,
    /// When the picture was taken, where it says so. 1970-01-01 00:00:00.000 sharp, which cameras
    /// without a clock write, is stored as "not known".
    pub taken_at: Option<i64>,
    /// The file's modification time.
    pub modified_at: i64,
    /// When this row was made.
    pub indexed_at: i64,
    /// Maker and model of the camera, or empty; cut to [`limits::MAX_CAMERA_BYTES`].
    pub camera: String,
    /// Words; see [`limits::MAX_TAGS`].
    pub tags: Vec<String>,
    /// Names of the main colours; see [`limits::MAX_COLORS`].
    pub colors: Vec<String>,
}

/// One row: an image and its vector.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexRow {
    /// What is known of the image.
    pub image: IndexedImage,
    /// As many numbers as the model's dimension, of length 1.
    pub vector: Vec<f32>,
}

/// One answer to a search.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexHit {
    /// What was found.
    pub image: IndexedImage,
    /// Cosine of the angle between the two vectors, −1 to 1; higher is more alike.
    pub score: f32,
}

impl IndexedImage {
    /// Refuses what can't be stored and would change its meaning when cut.
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
            return refuse("it has no library".into());
        }
        for (field_name, text, limit) in [
            ("library", &self.library, limits::MAX_LIBRARY_BYTES),
            ("path", &self.path, limits::MAX_PATH_BYTES),
            ("content hash", &self.content_hash, limits::MAX_HASH_BYTES),
            ("format", &self.format, limits::MAX_FORMAT_BYTES),
        ] {
            if text.len() > limit {
                return refuse(format!(
                    "its {field_name} takes {} bytes, and {limit} is the most",
                    text.len()
                ));
            }
        }
        Ok(())
    }
}

/// A vector of this index: the dimension, finite numbers, length 1. Checked on entering, whether
/// to be stored or to be searched by.
pub(crate) fn check_vector(vector: &[f32], dimension: usize) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::InvalidVector { reason });
    if vector.len() != dimension {
        return refuse(format!(
            "it has {} numbers, and the model makes {dimension}",
            vector.len()
        ));
    }
    // A number that is not finite makes the sum infinite or NaN.
    let length = vector
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt();
    if !length.is_finite() {
        return refuse("it holds numbers that are not finite".into());
    }
    if (length - 1.0).abs() >= 1e-3 {
        return refuse(format!("its length is {length}, and must be 1"));
    }
    Ok(())
}

/// The longest beginning of `text` of at most `limit` bytes that ends at a character's border.
pub(crate) fn truncate_at_char(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

/// An empty list goes as one empty text: the SDK can't read an answer in which Milvus 2.3 gives an
/// empty array (it comes without a type). No tag and no colour is empty.
fn to_text_column(texts: &[String], count: usize, limit: usize) -> Vec<String> {
    let mut list: Vec<String> = texts
        .iter()
        .filter(|text| !text.is_empty())
        .take(count)
        .map(|text| truncate_at_char(text, limit))
        .collect();
    if list.is_empty() {
        list.push(String::new());
    }
    list
}

fn from_text_column(texts: &[String]) -> Vec<String> {
    texts.iter().filter(|t| !t.is_empty()).cloned().collect()
}

/// "Not known" in the column of times taken.
const NO_TIME: i64 = 0;

/// Rows as Milvus takes them, a column for each field.
pub(crate) fn to_columns(rows: &[&IndexRow]) -> Vec<FieldData> {
    let text = |get: fn(&IndexedImage) -> &str| -> Vec<String> {
        rows.iter().map(|r| get(&r.image).to_owned()).collect()
    };
    let int64 = |get: fn(&IndexedImage) -> i64| -> Vec<i64> {
        rows.iter().map(|r| get(&r.image)).collect()
    };
    let int32 = |get: fn(&IndexedImage) -> i32| -> Vec<i32> {
        rows.iter().map(|r| get(&r.image)).collect()
    };
    vec![
        FieldData::varchar(field::ID, text(|i| &i.id)),
        FieldData::varchar(field::LIBRARY, text(|i| &i.library)),
        FieldData::varchar(field::PATH, text(|i| &i.path)),
        FieldData::varchar(field::CONTENT_HASH, text(|i| &i.content_hash)),
        FieldData::int64(field::GENERATION, int64(|i| i.generation)),
        FieldData::float_vector(
            field::VECTOR,
            rows.iter().map(|r| r.vector.clone()).collect(),
        ),
        FieldData::int32(field::WIDTH, int32(|i| i.width)),
        FieldData::int32(field::HEIGHT, int32(|i| i.height)),
        FieldData::int64(field::BYTES, int64(|i| i.bytes)),
        FieldData::varchar(field::FORMAT, text(|i| &i.format)),
        FieldData::int64(field::TAKEN_AT, int64(|i| i.taken_at.unwrap_or(NO_TIME))),
        FieldData::int64(field::MODIFIED_AT, int64(|i| i.modified_at)),
        FieldData::int64(field::INDEXED_AT, int64(|i| i.indexed_at)),
        FieldData::varchar(
            field::CAMERA,
            rows.iter()
                .map(|r| truncate_at_char(&r.image.camera, limits::MAX_CAMERA_BYTES))
                .collect(),
        ),
        FieldData::array_varchar(
            field::TAGS,
            rows.iter()
                .map(|r| to_text_column(&r.image.tags, limits::MAX_TAGS, limits::MAX_TAG_BYTES))
                .collect(),
        ),
        FieldData::array_varchar(
            field::COLORS,
            rows.iter()
                .map(|r| {
                    to_text_column(&r.image.colors, limits::MAX_COLORS, limits::MAX_COLOR_BYTES)
                })
                .collect(),
        ),
    ]
}

/// Columns of one answer, by name.
pub(crate) struct AnswerColumns<'a> {
    call: MilvusCall,
    by_name: HashMap<&'a str, &'a FieldData>,
}

impl<'a> AnswerColumns<'a> {
    pub(crate) fn new(call: MilvusCall, columns: &'a [FieldData]) -> Self {
        Self {
            call,
            by_name: columns.iter().map(|c| (c.name(), c.inner())).collect(),
        }
    }

    fn find_column<T>(
        &self,
        name: &'static str,
        get: impl FnOnce(&'a FieldData) -> Option<&'a [T]>,
    ) -> Result<&'a [T], Error> {
        let column = self.by_name.get(name).copied();
        column.and_then(get).ok_or_else(|| {
            Error::unexpected_answer(self.call, format!("no column {name:?} of its type"))
        })
    }

    pub(crate) fn text_column(&self, name: &'static str) -> Result<&'a [String], Error> {
        self.find_column(name, FieldData::as_varchar)
    }

    pub(crate) fn number_column(&self, name: &'static str) -> Result<&'a [i64], Error> {
        self.find_column(name, FieldData::as_int64)
    }

    pub(crate) fn vector_column(&self, name: &'static str) -> Result<&'a [Vec<f32>], Error> {
        self.find_column(name, FieldData::as_float_vectors)
    }

    /// The rows of an answer that asked for [`crate::schema::IMAGE_FIELDS`], given their ids.
    pub(crate) fn read_images(&self, ids: &[String]) -> Result<Vec<IndexedImage>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let int32 = |name| self.find_column(name, FieldData::as_int32);
        let lists = |name| self.find_column(name, FieldData::as_array_varchar);
        let (library, path, hash) = (
            self.text_column(field::LIBRARY)?,
            self.text_column(field::PATH)?,
            self.text_column(field::CONTENT_HASH)?,
        );
        let (format, camera) = (
            self.text_column(field::FORMAT)?,
            self.text_column(field::CAMERA)?,
        );
        let (generation, bytes) = (
            self.number_column(field::GENERATION)?,
            self.number_column(field::BYTES)?,
        );
        let (taken, modified, indexed) = (
            self.number_column(field::TAKEN_AT)?,
            self.number_column(field::MODIFIED_AT)?,
            self.number_column(field::INDEXED_AT)?,
        );
        let (width, height) = (int32(field::WIDTH)?, int32(field::HEIGHT)?);
        let (tags, colors) = (lists(field::TAGS)?, lists(field::COLORS)?);
        let lengths = [
            library.len(),
            path.len(),
            hash.len(),
            format.len(),
            camera.len(),
            generation.len(),
            bytes.len(),
            taken.len(),
            modified.len(),
            indexed.len(),
            width.len(),
            height.len(),
            tags.len(),
            colors.len(),
        ];
        if lengths.iter().any(|length| *length != ids.len()) {
            return Err(Error::unexpected_answer(
                self.call,
                "columns of different lengths",
            ));
        }
        Ok((0..ids.len())
            .map(|i| IndexedImage {
                id: ids[i].clone(),
                library: library[i].clone(),
                path: path[i].clone(),
                content_hash: hash[i].clone(),
                generation: generation[i],
                width: width[i],
                height: height[i],
                bytes: bytes[i],
                format: format[i].clone(),
                taken_at: (taken[i] != NO_TIME).then_some(taken[i]),
                modified_at: modified[i],
                indexed_at: indexed[i],
                camera: camera[i].clone(),
                tags: from_text_column(&tags[i]),
                colors: from_text_column(&colors[i]),
            })
            .collect())
    }
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
    fn rows_survive_columns() {
        let rows = [
            IndexRow {
                image: test_image(),
                vector: vec![1.0, 0.0],
            },
            IndexRow {
                image: IndexedImage {
                    taken_at: None,
                    colors: vec!["blue".into(), "grey".into()],
                    ..test_image()
                },
                vector: vec![0.0, 1.0],
            },
        ];
        let columns = to_columns(&[&rows[0], &rows[1]]);
        let back = crate::read::images_from_columns(&columns).unwrap();
        assert_eq!(back, [rows[0].image.clone(), rows[1].image.clone()]);
    }

    #[test]
    fn cameras_and_tags_are_cut_at_characters() {
        let mut row = IndexRow {
            image: test_image(),
            vector: vec![1.0],
        };
        row.image.camera = "é".repeat(100);
        row.image.tags = vec!["t".repeat(200); 100];
        let columns = to_columns(&[&row]);
        let back = crate::read::images_from_columns(&columns).unwrap();
        assert_eq!(back[0].camera, "é".repeat(64));
        assert_eq!(back[0].tags, vec!["t".repeat(128); 64]);
    }

    #[test]
    fn what_would_change_its_meaning_is_refused() {
        test_image().check_fields().unwrap();
        for (change, word) in [
            ((|i| i.id = "xyz".into()) as fn(&mut IndexedImage), "id"),
            (|i| i.id = "z".repeat(32), "id"),
            (|i| i.library = String::new(), "library"),
            (|i| i.path = "é".repeat(2049), "path takes 4098 bytes"),
            (|i| i.format = "f".repeat(33), "format"),
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
