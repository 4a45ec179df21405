//! Facets: the numbers of images with each value.

use std::borrow::Cow;

use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{Example, ParseError, ParseFromParameter, ParseResult, Type};

use crate::core::facets::FacetField;

/// A value and how many images have it.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct FacetValue {
    /// The value, as a filter accepts it.
    pub value: String,
    /// The number of images with this value; at least 1.
    #[oai(validator(minimum(value = "1")))]
    pub count: u64,
}

impl Example for FacetValue {
    fn example() -> Self {
        Self {
            value: "jpeg".into(),
            count: 1204,
        }
    }
}

/// The values of one attribute.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct Facet {
    /// The most frequent values, most frequent first; at most `limit`.
    pub values: Vec<FacetValue>,
    /// The number of different values.
    #[oai(validator(minimum(value = "0")))]
    pub distinct: u64,
    /// The number of images without any value.
    #[oai(validator(minimum(value = "0")))]
    pub without: u64,
}

impl Example for Facet {
    fn example() -> Self {
        Self {
            values: vec![FacetValue::example()],
            distinct: 1,
            without: 0,
        }
    }
}

/// The requested attributes; the others are left out.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(example, skip_serializing_if_is_none)]
pub(crate) struct Facets {
    /// Libraries, for the field `library` of a filter.
    pub library: Option<Facet>,
    /// Folders with everything below them, for the field `folder`: an image counts for each folder
    /// around it.
    pub folder: Option<Facet>,
    /// Formats, for the field `format`.
    pub format: Option<Facet>,
    /// Cameras, for the field `camera`.
    pub camera: Option<Facet>,
    /// Main colours, for the field `colors`.
    pub color: Option<Facet>,
    /// Tags, for the field `tags`.
    pub tag: Option<Facet>,
    /// Years such as `2026`, in UTC, for the field `taken_at`.
    pub year: Option<Facet>,
    /// Months such as `2026-11`, in UTC, for the field `taken_at`.
    pub month: Option<Facet>,
}

impl Example for Facets {
    fn example() -> Self {
        Self {
            format: Some(Facet::example()),
            ..Self::default()
        }
    }
}

/// How many of the images that match have each value.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct FacetAnswer {
    /// The values by attribute.
    pub facets: Facets,
    /// The number of images that were counted.
    #[oai(validator(minimum(value = "0")))]
    pub images: u64,
    /// The number of images that match. Approximate if the counts are not complete.
    #[oai(validator(minimum(value = "0")))]
    pub total: u64,
    /// Whether every image and every value was counted. Otherwise the counts are those of a random
    /// sample of `images` of the `total` images: `http.max_facet_images` and `http.facet_timeout`
    /// limit the work of a request.
    pub is_complete: bool,
    /// Milliseconds that counting took.
    #[oai(validator(minimum(value = "0")))]
    pub took_ms: f64,
}

impl Example for FacetAnswer {
    fn example() -> Self {
        Self {
            facets: Facets::example(),
            images: 1204,
            total: 1204,
            is_complete: true,
            took_ms: 18.4,
        }
    }
}

/// A list of attributes, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FacetFields(pub Vec<FacetField>);

impl Type for FacetFields {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "FacetFields".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let names = FacetField::ALL.map(FacetField::name).join("|");
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            pattern: Some(format!("^({names})(,({names}))*$")),
            max_length: Some(MAX_FIELDS_TEXT),
            ..MetaSchema::new("string")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

/// Many times the names of all attributes.
const MAX_FIELDS_TEXT: usize = 256;

impl ParseFromParameter for FacetFields {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        if text.len() > MAX_FIELDS_TEXT {
            let message = format!("must have at most {MAX_FIELDS_TEXT} characters");
            return Err(ParseError::custom(message));
        }
        let mut fields = Vec::new();
        for name in text.split(',') {
            let field = FacetField::ALL
                .into_iter()
                .find(|field| field.name() == name.trim().to_lowercase());
            let Some(field) = field else {
                let known = FacetField::ALL.map(FacetField::name).join(", ");
                return Err(ParseError::custom(format!(
                    "must be a list of these, separated by commas: {known}"
                )));
            };
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        Ok(Self(fields))
    }
}

impl poem_openapi::types::ToJSON for FacetFields {
    fn to_json(&self) -> Option<serde_json::Value> {
        let names: Vec<&str> = self.0.iter().map(|field| field.name()).collect();
        Some(names.join(",").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_listed_with_commas() {
        let parse = |text: &str| FacetFields::parse_from_parameter(text).map(|fields| fields.0);
        assert_eq!(
            parse("format, Tag,format").unwrap(),
            [FacetField::Format, FacetField::Tag]
        );
        let all = FacetField::ALL.map(FacetField::name).join(",");
        assert_eq!(parse(&all).unwrap(), FacetField::ALL);
        for bad in ["", "format,", "size", &"tag,".repeat(100)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
