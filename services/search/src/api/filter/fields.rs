//! The fields of a filter, each with its operators.

use lookalike_index::{RowFilter, ValueRange};

/// The kind of a field decides how its values are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum FieldKind {
    Library,
    Folder,
    Path,
    Format,
    /// A whole number from 0 to `max`.
    Number {
        max: i64,
        condition: fn(ValueRange) -> RowFilter,
    },
    Time {
        condition: fn(ValueRange) -> RowFilter,
    },
    Camera,
    Tags,
    Colors,
}

/// A field that a filter may contain besides `and`, `or` and `not`.
pub(super) struct FilterField {
    pub name: &'static str,
    pub kind: FieldKind,
    /// The schema of an object with operators, in the OpenAPI document.
    pub schema_name: &'static str,
    pub operators: &'static [&'static str],
    pub description: &'static str,
}

/// Entries of one list.
pub(super) const MAX_LIST_ENTRIES: usize = 64;
/// Filters within filters.
pub(super) const MAX_DEPTH: usize = 5;
/// Conditions of a filter and all filters within it.
pub(super) const MAX_CONDITIONS: usize = 128;
/// Colours of one image.
pub(super) const MAX_COLORS_OF_IMAGE: usize = lookalike_vision::MAX_COLOR_NAMES;

/// The largest whole number that every JSON parser reads exactly.
const MAX_EXACT_NUMBER: i64 = (1 << 53) - 1;

const RANGE: &[&str] = &["gte", "gt", "lte", "lt"];

pub(super) const FIELDS: &[FilterField] = &[
    FilterField {
        name: "library",
        kind: FieldKind::Library,
        schema_name: "LibraryOperators",
        operators: &["in"],
        description: "The library of the file, in any case.",
    },
    FilterField {
        name: "folder",
        kind: FieldKind::Folder,
        schema_name: "FolderOperators",
        operators: &["in"],
        description: "A folder below the root of the library, such as `2026/shoes/`, with everything \
                      below it. An empty text is the root itself.",
    },
    FilterField {
        name: "path",
        kind: FieldKind::Path,
        schema_name: "PathOperators",
        operators: &["in", "prefix"],
        description: "The path of the file, relative to the root of the library.",
    },
    FilterField {
        name: "format",
        kind: FieldKind::Format,
        schema_name: "FormatOperators",
        operators: &["in"],
        description: "The format of the file. Usual file endings and media types are accepted as \
                      well, in any case: `JPG`, `image/tiff`.",
    },
    FilterField {
        name: "width",
        kind: FieldKind::Number {
            max: i32::MAX as i64,
            condition: RowFilter::Width,
        },
        schema_name: "NumberOperators",
        operators: RANGE,
        description: "In pixels, after rotation to the upright position.",
    },
    FilterField {
        name: "height",
        kind: FieldKind::Number {
            max: i32::MAX as i64,
            condition: RowFilter::Height,
        },
        schema_name: "NumberOperators",
        operators: RANGE,
        description: "In pixels, after rotation to the upright position.",
    },
    FilterField {
        name: "bytes",
        kind: FieldKind::Number {
            max: MAX_EXACT_NUMBER,
            condition: RowFilter::Bytes,
        },
        schema_name: "SizeOperators",
        operators: RANGE,
        description: "Size of the file in bytes.",
    },
    FilterField {
        name: "taken_at",
        kind: FieldKind::Time {
            condition: RowFilter::TakenAt,
        },
        schema_name: "CaptureTimeOperators",
        operators: &["gte", "gt", "lte", "lt", "exists"],
        description: "When the picture was taken. An image without a capture time is in no range.",
    },
    FilterField {
        name: "modified_at",
        kind: FieldKind::Time {
            condition: RowFilter::ModifiedAt,
        },
        schema_name: "TimeOperators",
        operators: RANGE,
        description: "When the file was last written.",
    },
    FilterField {
        name: "indexed_at",
        kind: FieldKind::Time {
            condition: RowFilter::IndexedAt,
        },
        schema_name: "TimeOperators",
        operators: RANGE,
        description: "When this version of the file was indexed.",
    },
    FilterField {
        name: "camera",
        kind: FieldKind::Camera,
        schema_name: "CameraOperators",
        operators: &["in", "prefix", "exists"],
        description: "Manufacturer and model of the camera, in the case in which they are stored.",
    },
    FilterField {
        name: "tags",
        kind: FieldKind::Tags,
        schema_name: "TagOperators",
        operators: &["any", "all", "exists"],
        description: "The tags of the image, in the case in which they are stored. A text alone is one \
                      tag; a list alone means `all` of them.",
    },
    FilterField {
        name: "colors",
        kind: FieldKind::Colors,
        schema_name: "ColorOperators",
        operators: &["any", "all", "exists"],
        description: "The main colours of the image, in any case; `grey` is `gray`. A text alone is \
                      one colour; a list alone means `any` of them.",
    },
];

/// Fields that combine filters.
pub(super) const COMBINATIONS: [&str; 3] = ["and", "or", "not"];

/// Describes an operator for the document.
pub(super) fn describe_operator(operator: &str) -> &'static str {
    match operator {
        "in" => "One of these.",
        "prefix" => "Starts with this text, byte for byte.",
        "gte" => "Greater than or equal to this value.",
        "gt" => "Greater than this value.",
        "lte" => "Less than or equal to this value.",
        "lt" => "Less than this value.",
        "any" => "At least one of these.",
        "all" => "All of these.",
        _ => "Whether the image has any value.",
    }
}
