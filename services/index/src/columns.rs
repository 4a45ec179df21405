//! Conversion between rows and the columns that Milvus sends and receives.

use std::collections::HashMap;

use milvus::v2::prelude::FieldData;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    error::Error,
    limits,
    metrics::MilvusCall,
    row::{ContentAttributes, IndexRow, IndexedImage},
    schema::field,
};

fn truncate_at_char(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

/// Encodes an empty list as one empty string: Milvus 2.3 returns an empty array without a type,
/// which the SDK cannot read. No tag and no colour is empty.
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

/// Stored in the column `taken_at` for an unknown time.
const NO_TIME: i64 = 0;

/// Converts rows to one column for each field.
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
        FieldData::json(
            field::DYNAMIC,
            rows.iter().map(|r| to_dynamic_object(&r.image)).collect(),
        ),
    ]
}

/// Returns the fields that have no column of their own.
fn to_dynamic_object(image: &IndexedImage) -> Value {
    let mut object = json!({});
    if !image.sketch.is_empty() {
        object[field::SKETCH] = image.sketch.clone().into();
    }
    if let Some(content) = &image.content {
        object[field::CONTENT] = json!(content);
    }
    object
}

/// The fields that have no column of their own. Rows of earlier versions lack them.
#[derive(Default)]
struct DynamicFields {
    sketch: String,
    content: Option<ContentAttributes>,
}

impl DynamicFields {
    fn from_object(object: &Value) -> Self {
        let sketch = object.get(field::SKETCH).and_then(Value::as_str);
        let content = object.get(field::CONTENT);
        Self {
            sketch: sketch.unwrap_or_default().to_owned(),
            content: content.and_then(|content| ContentAttributes::deserialize(content).ok()),
        }
    }
}

/// Columns of one answer from Milvus, by name.
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

    /// Returns the lists of a column, without the empty text that stands for an empty list.
    pub(crate) fn list_column(&self, name: &'static str) -> Result<Vec<Vec<String>>, Error> {
        let lists = self.find_column(name, FieldData::as_array_varchar)?;
        Ok(lists.iter().map(|texts| from_text_column(texts)).collect())
    }

    pub(crate) fn vector_column(&self, name: &'static str) -> Result<&'a [Vec<f32>], Error> {
        self.find_column(name, FieldData::as_float_vectors)
    }

    /// Returns the dynamic fields of `count` rows.
    fn dynamic_fields(&self, count: usize) -> Vec<DynamicFields> {
        let column = self.by_name.get(field::DYNAMIC).copied();
        let objects = column.and_then(FieldData::as_json).unwrap_or_default();
        // Without this check, a shorter column would give rows the fields of others.
        match objects.len() == count {
            true => objects.iter().map(DynamicFields::from_object).collect(),
            false => (0..count).map(|_| DynamicFields::default()).collect(),
        }
    }

    /// Reads images of which only the id and the content hash are known.
    pub(crate) fn read_content_hashes(&self, ids: &[String]) -> Result<Vec<IndexedImage>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let hashes = self.text_column(field::CONTENT_HASH)?;
        if hashes.len() != ids.len() {
            return Err(Error::unexpected_answer(
                self.call,
                "fewer content hashes than ids",
            ));
        }
        let images = ids.iter().zip(hashes).map(|(id, hash)| IndexedImage {
            id: id.clone(),
            content_hash: hash.clone(),
            ..IndexedImage::default()
        });
        Ok(images.collect())
    }

    /// Reads the images of an answer with all [`IMAGE_FIELDS`](crate::schema::IMAGE_FIELDS); `ids`
    /// names the rows in order.
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
        let dynamic = self.dynamic_fields(ids.len());
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
        Ok(dynamic
            .into_iter()
            .enumerate()
            .map(|(i, dynamic)| IndexedImage {
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
                sketch: dynamic.sketch,
                content: dynamic.content,
            })
            .collect())
    }
}

/// Reads the images of an answer to a query for [`IMAGE_FIELDS`](crate::schema::IMAGE_FIELDS).
pub(crate) fn images_from_columns(columns: &[FieldData]) -> Result<Vec<IndexedImage>, Error> {
    // An answer without rows may also lack the columns.
    if columns.iter().all(FieldData::is_empty) {
        return Ok(Vec::new());
    }
    let columns = AnswerColumns::new(MilvusCall::Query, columns);
    columns.read_images(columns.text_column(field::ID)?)
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
    fn rows_survive_a_round_trip_through_columns() {
        let rows = [
            IndexRow {
                image: test_image(),
                vector: vec![1.0, 0.0],
            },
            IndexRow {
                image: IndexedImage {
                    taken_at: None,
                    colors: vec!["blue".into(), "grey".into()],
                    sketch: "AQ-_".into(),
                    content: Some(ContentAttributes {
                        taken_at: None,
                        camera: "quote\"".into(),
                        tags: vec!["inner".into()],
                    }),
                    ..test_image()
                },
                vector: vec![0.0, 1.0],
            },
        ];
        let columns = to_columns(&[&rows[0], &rows[1]]);
        let back = images_from_columns(&columns).unwrap();
        assert_eq!(back, [rows[0].image.clone(), rows[1].image.clone()]);
    }

    #[test]
    fn rows_of_earlier_versions_have_no_dynamic_fields() {
        let row = IndexRow {
            image: IndexedImage {
                sketch: "AQ-_".into(),
                content: Some(ContentAttributes::default()),
                ..test_image()
            },
            vector: vec![1.0],
        };
        let without = IndexedImage {
            sketch: String::new(),
            content: None,
            ..row.image.clone()
        };
        for stored in [
            None,
            Some(vec![]),
            Some(vec![json!({ "other": 1, "content": 5 })]),
        ] {
            let mut columns = to_columns(&[&row]);
            columns.retain(|column| column.name() != field::DYNAMIC);
            columns.extend(stored.map(|values| FieldData::json(field::DYNAMIC, values)));
            assert_eq!(
                images_from_columns(&columns).unwrap(),
                vec![without.clone()]
            );
        }
    }

    #[test]
    fn cameras_and_tags_are_truncated_at_characters() {
        let mut row = IndexRow {
            image: test_image(),
            vector: vec![1.0],
        };
        row.image.camera = "é".repeat(100);
        row.image.tags = vec!["t".repeat(200); 100];
        let columns = to_columns(&[&row]);
        let back = images_from_columns(&columns).unwrap();
        assert_eq!(back[0].camera, "é".repeat(64));
        assert_eq!(back[0].tags, vec!["t".repeat(128); 64]);
    }
}
