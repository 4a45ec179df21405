//! The model of a collection, stored in the collection's properties.
//!
//! The request that creates a collection also writes the properties, so no collection ever exists
//! without its model's identity.

use std::collections::HashMap;

/// Version of the row fields. A collection of another version is refused like one of another model.
pub const SCHEMA_VERSION: u32 = 1;

const MODEL: &str = "lookalike.model";
const CHECKSUM: &str = "lookalike.checksum";
const PREPROCESSING: &str = "lookalike.preprocessing";
const DIMENSION: &str = "lookalike.dimension";
const SCHEMA: &str = "lookalike.schema";
const SOURCE: &str = "lookalike.source";
const DESCRIPTION: &str = "lookalike.description";

/// Identity of a model. Vectors are comparable only if their identities are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelIdentity {
    /// Name as in `--model`.
    pub name: String,
    pub dimension: usize,
    /// Checksum of the weights, in hexadecimal.
    pub checksum: String,
    /// Fingerprint of resizing, crop, mean and deviation.
    pub preprocessing: String,
}

/// Where a collection's model comes from, for roles that open the collection before the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// Name or folder from which a role can load the model; empty if unknown.
    pub locator: String,
    /// The model's description as JSON, so that queries can be prepared without its folder; empty if
    /// unknown.
    pub description: String,
}

impl ModelSource {
    pub(crate) fn to_properties(&self) -> HashMap<String, String> {
        [(SOURCE, &self.locator), (DESCRIPTION, &self.description)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| (key.to_owned(), text.clone()))
            .collect()
    }

    pub(crate) fn from_properties(properties: &HashMap<String, String>) -> Self {
        let text = |key: &str| properties.get(key).cloned().unwrap_or_default();
        Self {
            locator: text(SOURCE),
            description: text(DESCRIPTION),
        }
    }
}

impl ModelIdentity {
    pub(crate) fn to_properties(&self, source: &ModelSource) -> HashMap<String, String> {
        let mut properties = HashMap::from([
            (MODEL.to_owned(), self.name.clone()),
            (CHECKSUM.to_owned(), self.checksum.clone()),
            (PREPROCESSING.to_owned(), self.preprocessing.clone()),
            (DIMENSION.to_owned(), self.dimension.to_string()),
            (SCHEMA.to_owned(), SCHEMA_VERSION.to_string()),
        ]);
        properties.extend(source.to_properties());
        properties
    }

    /// Returns `None` if the collection was not created by lookalike.
    pub(crate) fn from_properties(properties: &HashMap<String, String>) -> Option<Self> {
        Some(Self {
            name: properties.get(MODEL)?.clone(),
            dimension: properties.get(DIMENSION)?.parse().ok()?,
            checksum: properties.get(CHECKSUM)?.clone(),
            preprocessing: properties.get(PREPROCESSING)?.clone(),
        })
    }

    /// Describes how a collection with these properties differs from this model; `None` if it
    /// belongs to this model.
    pub(crate) fn describe_difference(
        &self,
        properties: &HashMap<String, String>,
    ) -> Option<String> {
        let differences: Vec<String> = [
            ("model", MODEL, self.name.clone()),
            ("checksum of the weights", CHECKSUM, self.checksum.clone()),
            ("preprocessing", PREPROCESSING, self.preprocessing.clone()),
            ("dimension", DIMENSION, self.dimension.to_string()),
            ("schema version", SCHEMA, SCHEMA_VERSION.to_string()),
        ]
        .into_iter()
        .filter_map(|(name, key, expected)| match properties.get(key) {
            Some(actual) if *actual == expected => None,
            Some(actual) => Some(format!("{name} {actual:?}, not {expected:?}")),
            None => Some(format!("no {name}")),
        })
        .collect();
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    pub(crate) fn collection_name(&self, namespace: &str, n: u32) -> String {
        format!("{namespace}_{}_{n}", self.collection_name_part())
    }

    /// Returns whether a collection of this name belongs to this namespace and model. Another
    /// namespace may start with the same letters.
    pub(crate) fn owns_collection(&self, namespace: &str, collection: &str) -> bool {
        let number = collection
            .strip_prefix(namespace)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(|rest| rest.strip_prefix(&self.collection_name_part()))
            .and_then(|rest| rest.strip_prefix('_'));
        number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
        })
    }

    /// Returns the part of a collection's name that names the model. Characters outside `[a-z0-9_]`
    /// become `_`; the part is truncated well below Milvus' limit of 255.
    pub(crate) fn collection_name_part(&self) -> String {
        self.name
            .chars()
            .take(160)
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9' | '_') => c,
                _ => '_',
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_model() -> ModelIdentity {
        ModelIdentity {
            name: "ResNet-34/timm".into(),
            dimension: 512,
            checksum: "ab12".into(),
            preprocessing: "bicubic 256, crop 224".into(),
        }
    }

    #[test]
    fn collection_names_are_legal() {
        assert_eq!(test_model().collection_name_part(), "resnet_34_timm");
        let name = test_model().collection_name("shop", 7);
        assert_eq!(name, "shop_resnet_34_timm_7");
        assert!(test_model().owns_collection("shop", &name));
        for (namespace, name) in [
            ("shop_resnet", "shop_resnet_34_timm_7"),
            ("shop", "shop_b_resnet_34_timm_7"),
            ("shop", "shop_resnet_34_timm_"),
            ("shop", "shop_resnet_34_timm_7b"),
        ] {
            assert!(
                !test_model().owns_collection(namespace, name),
                "{namespace} {name}"
            );
        }
    }

    #[test]
    fn identity_and_source_survive_a_round_trip_through_properties() {
        let source = ModelSource {
            locator: "/models/a".into(),
            description: "{}".into(),
        };
        let properties = test_model().to_properties(&source);
        assert_eq!(
            ModelIdentity::from_properties(&properties),
            Some(test_model())
        );
        assert_eq!(ModelSource::from_properties(&properties), source);
        let properties = test_model().to_properties(&ModelSource::default());
        assert_eq!(
            ModelSource::from_properties(&properties),
            ModelSource::default()
        );
        assert_eq!(ModelIdentity::from_properties(&HashMap::new()), None);
    }

    #[test]
    fn a_difference_is_described() {
        let model = test_model();
        assert_eq!(
            model.describe_difference(&model.to_properties(&ModelSource::default())),
            None
        );
        let other = ModelIdentity {
            checksum: "cd34".into(),
            ..model.clone()
        };
        assert_eq!(
            model
                .describe_difference(&other.to_properties(&ModelSource::default()))
                .unwrap(),
            "checksum of the weights \"cd34\", not \"ab12\""
        );
        let none = model.describe_difference(&HashMap::new()).unwrap();
        assert!(none.contains("no model") && none.contains("no schema version"));
    }
}
