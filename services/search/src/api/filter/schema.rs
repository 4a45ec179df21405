//! The filter in the OpenAPI document. The document and the parser use the same table of fields.

use std::borrow::Cow;

use lookalike_vision::{COLOR_TERMS, FORMAT_NAMES};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{Example, ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::{Map, Value, json};

use super::fields::{
    FIELDS, FieldKind, FilterField, MAX_COLORS_OF_IMAGE, MAX_LIST_ENTRIES, describe_operator,
};

/// Characters of a filter in the address of a request.
pub(crate) const MAX_FILTER_TEXT: usize = 16_384;

/// A library in any case, with spaces around it.
const LIBRARY_PATTERN: &str = r"^\s*[A-Za-z0-9_-]{1,64}\s*$";
/// Something besides spaces.
const WORD_PATTERN: &str = r"\S";
/// Relative, without empty parts, `.` and `..`; ends with or without `/`.
const FOLDER_PATTERN: &str =
    r"^(\./+)*((?!\.{1,2}(/|$))[^/\u0000]+(/(?!\.{1,2}(/|$))[^/\u0000]+)*/?)?$";
const PATH_PATTERN: &str = r"^(\./+)*(?!\.{1,2}(/|$))[^/\u0000]+(/(?!\.{1,2}(/|$))[^/\u0000]+)*$";
/// The folders of a prefix are whole; its end is the start of a name.
const PREFIX_PATTERN: &str =
    r"^(\./+)*((?!\.{1,2}/)[^/\u0000]+/)*[^/\u0000]+$|^(\./+)*((?!\.{1,2}/)[^/\u0000]+/)+$";

/// A filter: an object whose fields are parsed when the search begins, because a refusal names the
/// condition at fault, which the parser of the document cannot do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FilterBody(pub Map<String, Value>);

impl Type for FilterBody {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "Filter".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference("Filter".into())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>("Filter".into(), filter_schema);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromJSON for FilterBody {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Object(fields)) => Ok(Self(fields)),
            _ => Err(ParseError::custom(
                "a filter must be an object, such as {\"format\": \"jpeg\"}",
            )),
        }
    }
}

impl ToJSON for FilterBody {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.0.clone()))
    }
}

impl Example for FilterBody {
    fn example() -> Self {
        let filter = json!({
            "library": "shop",
            "folder": "2026/",
            "format": { "in": ["jpeg", "png"] },
            "width": { "gte": 800 },
            "taken_at": { "gte": "2026-01-01", "lt": "2026-07-01" },
            "colors": { "any": ["blue", "white"] },
            "or": [{ "tags": "beach" }, { "camera": { "prefix": "Canon" } }],
            "not": { "tags": { "any": ["draft"] } },
        });
        match filter {
            Value::Object(fields) => Self(fields),
            _ => unreachable!("an object was written above"),
        }
    }
}

fn filter_schema(registry: &mut Registry) -> MetaSchema {
    let mut properties: Vec<(&'static str, MetaSchemaRef)> = Vec::new();
    for field in FIELDS {
        let name = field.schema_name;
        registry.create_schema::<FilterBody, _>(name.into(), |_| operators_schema(field));
        properties.push((field.name, field_schema(field)));
    }
    let filters = |description| MetaSchema {
        description: Some(description),
        nullable: true,
        ..list_of(FilterBody::schema_ref())
    };
    properties.push(("and", inline(filters("All of these filters match."))));
    properties.push((
        "or",
        inline(filters("At least one of these filters matches.")),
    ));
    properties.push((
        "not",
        inline(MetaSchema {
            description: Some("This filter does not match. It has at least one condition."),
            nullable: true,
            any_of: vec![FilterBody::schema_ref()],
            ..MetaSchema::ANY
        }),
    ));
    MetaSchema {
        description: Some(
            "Conditions for images; all of them must hold. A value alone means equality; an object \
             contains operators, all of which must hold. Filters may be nested 5 levels deep, with \
             128 conditions in all. A value that no image can have is refused.",
        ),
        properties,
        example: FilterBody::example().to_json(),
        ..MetaSchema::new("object")
    }
}

/// The schema of a field: a value alone, or an object with operators.
fn field_schema(field: &FilterField) -> MetaSchemaRef {
    let mut any_of = value_schemas(field.kind);
    if matches!(field.kind, FieldKind::Tags | FieldKind::Colors) {
        any_of.push(inline(value_list(field.kind, MAX_LIST_ENTRIES)));
    }
    any_of.push(MetaSchemaRef::Reference(field.schema_name.into()));
    inline(MetaSchema {
        description: Some(field.description),
        nullable: true,
        any_of,
        ..MetaSchema::ANY
    })
}

fn operators_schema(field: &FilterField) -> MetaSchema {
    let operators = field.operators.iter();
    let properties = operators.map(|operator| {
        let schema = match *operator {
            "exists" => MetaSchema::new("boolean"),
            "in" | "any" => value_list(field.kind, list_limit(field.kind, false)),
            "all" => value_list(field.kind, list_limit(field.kind, true)),
            "prefix" => prefix_schema(field.kind),
            _ => single_schema(value_schemas(field.kind)),
        };
        let description = Some(describe_operator(operator));
        let schema = MetaSchema {
            description,
            ..schema
        };
        (*operator, inline(schema))
    });
    MetaSchema {
        description: Some("Operators of a condition; at least one, and all of them must hold."),
        properties: properties.collect(),
        min_properties: Some(1),
        example: Some(operators_example(field.kind)),
        ..MetaSchema::new("object")
    }
}

/// The schemas of one value; it has one of them.
fn value_schemas(kind: FieldKind) -> Vec<MetaSchemaRef> {
    let with_pattern = |pattern: &str| MetaSchema {
        pattern: Some(pattern.into()),
        ..MetaSchema::new("string")
    };
    let schemas = match kind {
        FieldKind::Library => vec![with_pattern(LIBRARY_PATTERN)],
        FieldKind::Folder => vec![MetaSchema {
            max_length: Some(lookalike_index::limits::MAX_PATH_BYTES),
            ..with_pattern(FOLDER_PATTERN)
        }],
        FieldKind::Path => vec![MetaSchema {
            max_length: Some(lookalike_index::limits::MAX_PATH_BYTES),
            ..with_pattern(PATH_PATTERN)
        }],
        FieldKind::Format => vec![enumeration(FORMAT_NAMES)],
        FieldKind::Number { max, .. } => vec![MetaSchema {
            minimum: Some(0.0),
            maximum: Some(max as f64),
            ..MetaSchema::new("integer")
        }],
        FieldKind::Time { .. } => vec![
            MetaSchema::new_with_format("string", "date-time"),
            MetaSchema::new_with_format("string", "date"),
            with_pattern("^[0-9]{4}(-(0[1-9]|1[0-2]))?$"),
        ],
        FieldKind::Camera | FieldKind::Tags => vec![MetaSchema {
            max_length: Some(lookalike_index::limits::MAX_TAG_BYTES),
            ..with_pattern(WORD_PATTERN)
        }],
        FieldKind::Colors => vec![enumeration(&COLOR_TERMS)],
    };
    schemas.into_iter().map(inline).collect()
}

fn prefix_schema(kind: FieldKind) -> MetaSchema {
    match kind {
        FieldKind::Path => MetaSchema {
            max_length: Some(lookalike_index::limits::MAX_PATH_BYTES),
            pattern: Some(PREFIX_PATTERN.into()),
            ..MetaSchema::new("string")
        },
        kind => single_schema(value_schemas(kind)),
    }
}

fn operators_example(kind: FieldKind) -> Value {
    match kind {
        FieldKind::Library => json!({ "in": ["shop", "archive"] }),
        FieldKind::Folder => json!({ "in": ["2025/", "2026/shoes/"] }),
        FieldKind::Path => json!({ "prefix": "2026/IMG_" }),
        FieldKind::Format => json!({ "in": ["jpeg", "png"] }),
        FieldKind::Number { .. } => json!({ "gte": 1000 }),
        FieldKind::Time { .. } => json!({ "gte": "2026-01", "lt": "2026-07" }),
        FieldKind::Camera => json!({ "prefix": "Canon" }),
        FieldKind::Tags => json!({ "all": ["beach", "summer"] }),
        FieldKind::Colors => json!({ "any": ["blue", "white"] }),
    }
}

/// Entries of a list of this kind. No image has `all` of more colours than images have.
pub(super) fn list_limit(kind: FieldKind, is_all: bool) -> usize {
    match kind {
        FieldKind::Colors if is_all => MAX_COLORS_OF_IMAGE,
        _ => MAX_LIST_ENTRIES,
    }
}

fn value_list(kind: FieldKind, max_items: usize) -> MetaSchema {
    MetaSchema {
        max_items: Some(max_items),
        ..list_of(inline(single_schema(value_schemas(kind))))
    }
}

fn list_of(items: MetaSchemaRef) -> MetaSchema {
    MetaSchema {
        items: Some(Box::new(items)),
        min_items: Some(1),
        max_items: Some(MAX_LIST_ENTRIES),
        ..MetaSchema::new("array")
    }
}

fn single_schema(mut schemas: Vec<MetaSchemaRef>) -> MetaSchema {
    match schemas.pop() {
        Some(MetaSchemaRef::Inline(only)) if schemas.is_empty() => *only,
        last => MetaSchema {
            any_of: schemas.into_iter().chain(last).collect(),
            ..MetaSchema::ANY
        },
    }
}

fn enumeration(words: &[&str]) -> MetaSchema {
    MetaSchema {
        enum_items: words.iter().map(|word| json!(word)).collect(),
        ..MetaSchema::new("string")
    }
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}
