//! Fields and indexes of a collection.

use std::collections::HashMap;

use milvus::v2::prelude::{
    CollectionSchema, DataType, FieldSchema, IndexParam, IndexType, MetricType,
};

use crate::{limits, settings::Settings};

pub(crate) mod field {
    pub(crate) const ID: &str = "id";
    pub(crate) const LIBRARY: &str = "library";
    pub(crate) const PATH: &str = "path";
    pub(crate) const CONTENT_HASH: &str = "content_hash";
    pub(crate) const GENERATION: &str = "generation";
    pub(crate) const VECTOR: &str = "vector";
    pub(crate) const WIDTH: &str = "width";
    pub(crate) const HEIGHT: &str = "height";
    pub(crate) const BYTES: &str = "bytes";
    pub(crate) const FORMAT: &str = "format";
    pub(crate) const TAKEN_AT: &str = "taken_at";
    pub(crate) const MODIFIED_AT: &str = "modified_at";
    pub(crate) const INDEXED_AT: &str = "indexed_at";
    pub(crate) const CAMERA: &str = "camera";
    pub(crate) const TAGS: &str = "tags";
    pub(crate) const COLORS: &str = "colors";
    /// Key in the dynamic field, so that collections of earlier versions can contain it.
    pub(crate) const SKETCH: &str = "sketch";
    /// Key in the dynamic field: what the content of the file states, if the row has other attributes.
    pub(crate) const CONTENT: &str = "content";
    /// Milvus' name of the dynamic field: a JSON object for each row.
    pub(crate) const DYNAMIC: &str = "$meta";
}

/// All fields of [`crate::IndexedImage`].
pub(crate) const IMAGE_FIELDS: [&str; 17] = [
    field::ID,
    field::LIBRARY,
    field::PATH,
    field::CONTENT_HASH,
    field::GENERATION,
    field::WIDTH,
    field::HEIGHT,
    field::BYTES,
    field::FORMAT,
    field::TAKEN_AT,
    field::MODIFIED_AT,
    field::INDEXED_AT,
    field::CAMERA,
    field::TAGS,
    field::COLORS,
    field::SKETCH,
    field::CONTENT,
];

/// Returns whether the library can be the partition key on a server of this version
/// ("v2.3.5-lite").
///
/// Milvus before 2.4 assigns upserted rows to partitions by another field than the partition key
/// (milvus#30607) and then searches a library's rows only in the right partition: in a trial it
/// found 61 of 1,000. On such servers the library is an ordinary field with an index. A collection
/// keeps its schema, so a later upgrade of the server changes nothing.
pub(crate) fn supports_partition_key(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        .map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= (2, 4),
        // A build without a version number ("master-…") is newer.
        _ => true,
    }
}

pub(crate) fn collection_schema(dimension: usize, partition_key: bool) -> CollectionSchema {
    let text = |name: &str, bytes: usize| {
        FieldSchema::new()
            .name(name)
            .data_type(DataType::VarChar)
            .max_length(bytes as u32)
    };
    let number =
        |name: &str, data_type: DataType| FieldSchema::new().name(name).data_type(data_type);
    let list = |name: &str, capacity: usize, bytes: usize| {
        FieldSchema::new()
            .name(name)
            .data_type(DataType::Array)
            .element_type(DataType::VarChar)
            .max_capacity(capacity as u32)
            .max_length(bytes as u32)
    };
    CollectionSchema::new()
        .description("pictures of lookalike")
        // Later versions can add fields without a new schema.
        .enable_dynamic_field(true)
        .add_field(text(field::ID, limits::ID_BYTES).primary_key(true))
        .add_field(text(field::LIBRARY, limits::MAX_LIBRARY_BYTES).partition_key(partition_key))
        .add_field(text(field::PATH, limits::MAX_PATH_BYTES))
        .add_field(text(field::CONTENT_HASH, limits::MAX_HASH_BYTES))
        .add_field(number(field::GENERATION, DataType::Int64))
        .add_field(
            FieldSchema::new()
                .name(field::VECTOR)
                .data_type(DataType::FloatVector)
                .dimension(dimension as u32),
        )
        .add_field(number(field::WIDTH, DataType::Int32))
        .add_field(number(field::HEIGHT, DataType::Int32))
        .add_field(number(field::BYTES, DataType::Int64))
        .add_field(text(field::FORMAT, limits::MAX_FORMAT_BYTES))
        .add_field(number(field::TAKEN_AT, DataType::Int64))
        .add_field(number(field::MODIFIED_AT, DataType::Int64))
        .add_field(number(field::INDEXED_AT, DataType::Int64))
        .add_field(text(field::CAMERA, limits::MAX_CAMERA_BYTES))
        .add_field(list(field::TAGS, limits::MAX_TAGS, limits::MAX_TAG_BYTES))
        .add_field(list(
            field::COLORS,
            limits::MAX_COLORS,
            limits::MAX_COLOR_BYTES,
        ))
}

/// Returns the indexes of a collection, each named like its field. `Trie` is the only scalar index
/// for text that Milvus has had since 2.3.
pub(crate) fn index_params(settings: &Settings) -> Vec<IndexParam> {
    let text = |name: &str| {
        IndexParam::new()
            .field_name(name)
            .index_name(name)
            .index_type(IndexType::Trie)
    };
    vec![
        IndexParam::new()
            .field_name(field::VECTOR)
            .index_name(field::VECTOR)
            .index_type(IndexType::Hnsw)
            .metric_type(MetricType::Cosine)
            .extra_params(HashMap::from([
                ("M".to_owned(), settings.hnsw_m.to_string()),
                (
                    "efConstruction".to_owned(),
                    settings.hnsw_ef_construction.to_string(),
                ),
            ])),
        text(field::CONTENT_HASH),
        text(field::LIBRARY),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_sound_from_2_4_on() {
        for (version, sound) in [
            ("v2.3.5-lite", false),
            ("v2.3.21", false),
            ("2.2.0", false),
            ("v2.4.0", true),
            ("v2.6.2", true),
            ("v3.0.0-beta", true),
            ("master-20260101-abc", true),
        ] {
            assert_eq!(supports_partition_key(version), sound, "{version}");
        }
    }
}
