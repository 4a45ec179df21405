//! Rows as callers know them, their limits, and their way into columns and back.

use std::collections::HashMap;

use milvus::v2::prelude::FieldData;

use crate::{Error, metrics::Call, schema::field};

/// How much each field takes. Strings are counted in bytes of UTF-8, as Milvus does.
pub mod limits {
    /// An image id: 32 hexadecimal digits.
    pub const ID_BYTES: usize = 32;
    /// A library's name. Longer is refused.
    pub const LIBRARY_BYTES: usize = 64;
    /// A path. Longer is refused: a shortened path would be another file's.
    pub const PATH_BYTES: usize = 4096;
    /// A content hash in hexadecimal. Longer is refused.
    pub const HASH_BYTES: usize = 64;
    /// A format's name. Longer is refused.
    pub const FORMAT_BYTES: usize = 32;
    /// A camera's name. Longer is cut at a character's border.
    pub const CAMERA_BYTES: usize = 128;
    /// Tags of one image. What is more is left out.
    pub const TAGS: usize = 64;
    /// One tag. An empty one is left out; a longer one is cut at a character's border.
    pub const TAG_BYTES: usize = 128;
    /// Colours of one image. What is more is left out.
    pub const COLORS: usize = 16;
    /// One colour. An empty one is left out; a longer one is cut at a character's border.
    pub const COLOR_BYTES: usize = 32;
}

/// What the index knows of one image, without its vector.
///
/// Times are milliseconds since 1970, UTC.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    /// 32 hexadecimal digits; stays with the file through moves and edits.
    pub id: String,
    /// The library it lies in; up to [`limits::LIBRARY_BYTES`].
    pub library: String,
    /// Relative to the library's root, `/` between parts; up to [`limits::PATH_BYTES`].
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
    /// Maker and model of the camera, or empty; cut to [`limits::CAMERA_BYTES`].
    pub camera: String,
    /// Words; see [`limits::TAGS`].
    pub tags: Vec<String>,
    /// Names of the main colours; see [`limits::COLORS`].
    pub colors: Vec<String>,
}

/// One row: an image and its vector.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What is known of the image.
    pub image: Image,
    /// As many numbers as the model's dimension, of length 1.
    pub vector: Vec<f32>,
}

/// One answer to a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// What was found.
    pub image: Image,
    /// Cosine of the angle between the two vectors, −1 to 1; higher is more alike.
    pub score: f32,
}

impl Image {
    /// Refuses what can't be stored and would change its meaning when cut.
    pub(crate) fn check(&self) -> Result<(), Error> {
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
        for (what, text, limit) in [
            ("library", &self.library, limits::LIBRARY_BYTES),
            ("path", &self.path, limits::PATH_BYTES),
            ("content hash", &self.content_hash, limits::HASH_BYTES),
            ("format", &self.format, limits::FORMAT_BYTES),
        ] {
            if text.len() > limit {
                return refuse(format!(
                    "its {what} takes {} bytes, and {limit} is the most",
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
pub(crate) fn cut(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

/// An empty list goes as one empty text: the SDK can't read an answer in which Milvus 2.3 gives an
/// empty array (it comes without a type). No tag and no colour is empty.
fn to_list(texts: &[String], count: usize, limit: usize) -> Vec<String> {
    let mut list: Vec<String> = texts
        .iter()
        .filter(|text| !text.is_empty())
        .take(count)
        .map(|text| cut(text, limit))
        .collect();
    if list.is_empty() {
        list.push(String::new());
    }
    list
}

fn from_list(texts: &[String]) -> Vec<String> {
    texts.iter().filter(|t| !t.is_empty()).cloned().collect()
}

/// "Not known" in the column of times taken.
const NO_TIME: i64 = 0;

/// Rows as Milvus takes them, a column for each field.
pub(crate) fn to_columns(rows: &[&Row]) -> Vec<FieldData> {
    let text = |get: fn(&Image) -> &str| -> Vec<String> {
        rows.iter().map(|r| get(&r.image).to_owned()).collect()
    };
    let int64 =
        |get: fn(&Image) -> i64| -> Vec<i64> { rows.iter().map(|r| get(&r.image)).collect() };
    let int32 =
        |get: fn(&Image) -> i32| -> Vec<i32> { rows.iter().map(|r| get(&r.image)).collect() };
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
                .map(|r| cut(&r.image.camera, limits::CAMERA_BYTES))
                .collect(),
        ),
        FieldData::array_varchar(
            field::TAGS,
            rows.iter()
                .map(|r| to_list(&r.image.tags, limits::TAGS, limits::TAG_BYTES))
                .collect(),
        ),
        FieldData::array_varchar(
            field::COLORS,
            rows.iter()
                .map(|r| to_list(&r.image.colors, limits::COLORS, limits::COLOR_BYTES))
                .collect(),
        ),
    ]
}

/// Columns of one answer, by name.
pub(crate) struct Columns<'a> {
    call: Call,
    by_name: HashMap<&'a str, &'a FieldData>,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(call: Call, columns: &'a [FieldData]) -> Self {
        Self {
            call,
            by_name: columns.iter().map(|c| (c.name(), c.inner())).collect(),
        }
    }

    fn column<T>(
        &self,
        name: &'static str,
        get: impl FnOnce(&'a FieldData) -> Option<&'a [T]>,
    ) -> Result<&'a [T], Error> {
        let column = self.by_name.get(name).copied();
        column
            .and_then(get)
            .ok_or_else(|| Error::answer(self.call, format!("no column {name:?} of its type")))
    }

    pub(crate) fn texts(&self, name: &'static str) -> Result<&'a [String], Error> {
        self.column(name, FieldData::as_varchar)
    }

    pub(crate) fn numbers(&self, name: &'static str) -> Result<&'a [i64], Error> {
        self.column(name, FieldData::as_int64)
    }

    pub(crate) fn vectors(&self, name: &'static str) -> Result<&'a [Vec<f32>], Error> {
        self.column(name, FieldData::as_float_vectors)
    }

    /// The rows of an answer that asked for [`crate::schema::IMAGE_FIELDS`], given their ids.
    pub(crate) fn images(&self, ids: &[String]) -> Result<Vec<Image>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let int32 = |name| self.column(name, FieldData::as_int32);
        let lists = |name| self.column(name, FieldData::as_array_varchar);
        let (library, path, hash) = (
            self.texts(field::LIBRARY)?,
            self.texts(field::PATH)?,
            self.texts(field::CONTENT_HASH)?,
        );
        let (format, camera) = (self.texts(field::FORMAT)?, self.texts(field::CAMERA)?);
        let (generation, bytes) = (
            self.numbers(field::GENERATION)?,
            self.numbers(field::BYTES)?,
        );
        let (taken, modified, indexed) = (
            self.numbers(field::TAKEN_AT)?,
            self.numbers(field::MODIFIED_AT)?,
            self.numbers(field::INDEXED_AT)?,
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
            return Err(Error::answer(self.call, "columns of different lengths"));
        }
        Ok((0..ids.len())
            .map(|i| Image {
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
                tags: from_list(&tags[i]),
                colors: from_list(&colors[i]),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            id: "0123456789abcdef0123456789abcdef".into(),
            library: "shop".into(),
            path: "a/b.jpg".into(),
            content_hash: "ab".repeat(32),
            generation: 7,
            format: "jpeg".into(),
            taken_at: Some(-5),
            tags: vec!["red".into()],
            ..Image::default()
        }
    }

    #[test]
    fn rows_survive_columns() {
        let rows = [
            Row {
                image: image(),
                vector: vec![1.0, 0.0],
            },
            Row {
                image: Image {
                    taken_at: None,
                    colors: vec!["blue".into(), "grey".into()],
                    ..image()
                },
                vector: vec![0.0, 1.0],
            },
        ];
        let columns = to_columns(&[&rows[0], &rows[1]]);
        let back = crate::read::images(&columns).unwrap();
        assert_eq!(back, [rows[0].image.clone(), rows[1].image.clone()]);
    }

    #[test]
    fn cameras_and_tags_are_cut_at_characters() {
        let mut row = Row {
            image: image(),
            vector: vec![1.0],
        };
        row.image.camera = "é".repeat(100);
        row.image.tags = vec!["t".repeat(200); 100];
        let columns = to_columns(&[&row]);
        let back = crate::read::images(&columns).unwrap();
        assert_eq!(back[0].camera, "é".repeat(64));
        assert_eq!(back[0].tags, vec!["t".repeat(128); 64]);
    }

    #[test]
    fn what_would_change_its_meaning_is_refused() {
        image().check().unwrap();
        for (change, word) in [
            ((|i| i.id = "xyz".into()) as fn(&mut Image), "id"),
            (|i| i.id = "z".repeat(32), "id"),
            (|i| i.library = String::new(), "library"),
            (|i| i.path = "é".repeat(2049), "path takes 4098 bytes"),
            (|i| i.format = "f".repeat(33), "format"),
        ] {
            let mut image = image();
            change(&mut image);
            let error = image.check().unwrap_err().to_string();
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
