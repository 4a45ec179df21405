//! Which model made the vectors of a collection, kept as properties of the collection itself.
//!
//! The properties are written in the very request that creates the collection, so that there is
//! never a moment in which a collection does not know whose it is.

use std::collections::HashMap;

/// Version of the fields below. A collection of another version is refused like one of another
/// model.
pub const SCHEMA_VERSION: u32 = 1;

const MODEL: &str = "lookalike.model";
const CHECKSUM: &str = "lookalike.checksum";
const PREPROCESSING: &str = "lookalike.preprocessing";
const DIMENSION: &str = "lookalike.dimension";
const SCHEMA: &str = "lookalike.schema";
const SOURCE: &str = "lookalike.source";
const DESCRIPTION: &str = "lookalike.description";

/// What makes two vectors comparable: equal identity, comparable vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelIdentity {
    /// Name, as in `--model`.
    pub name: String,
    /// Numbers in a vector.
    pub dimension: usize,
    /// Of the weights, in hexadecimal.
    pub checksum: String,
    /// Resizing, crop, mean and deviation, in any form that differs when they do.
    pub preprocessing: String,
}

/// Where a collection's model comes from: for whoever meets the collection before the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// The model's name or folder, by which a role can load it; empty where nobody said.
    pub locator: String,
    /// The model's own description as JSON, so that a query can be prepared without its folder;
    /// empty where nobody said.
    pub description: String,
}

impl ModelSource {
    /// What somebody said.
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

    /// Whose a collection with these properties is; `None` where it is not one of lookalike's.
    pub(crate) fn from_properties(properties: &HashMap<String, String>) -> Option<Self> {
        Some(Self {
            name: properties.get(MODEL)?.clone(),
            dimension: properties.get(DIMENSION)?.parse().ok()?,
            checksum: properties.get(CHECKSUM)?.clone(),
            preprocessing: properties.get(PREPROCESSING)?.clone(),
        })
    }

    /// In what a collection with these properties differs from this model, in words; `None` where
    /// it is this model's.
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
        .filter_map(|(what, key, wanted)| match properties.get(key) {
            Some(found) if *found == wanted => None,
            Some(found) => Some(format!("{what} {found:?}, not {wanted:?}")),
            None => Some(format!("no {what}")),
        })
        .collect();
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    /// The name of this model's collection number `n`.
    pub(crate) fn collection_name(&self, namespace: &str, n: u32) -> String {
        format!("{namespace}_{}_{n}", self.collection_name_part())
    }

    /// Whether a collection of this name, in this namespace, is one of this model's: another
    /// namespace may begin with the same letters.
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

    /// The part of a collection's name that names the model: everything outside `[a-z0-9_]` is
    /// `_`, cut where Milvus' limit of 255 could come near.
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
    fn names_become_legal() {
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
    fn a_collection_says_whose_it_is_and_where_its_model_is() {
        let origin = ModelSource {
            locator: "/models/a".into(),
            description: "{}".into(),
        };
        let properties = test_model().to_properties(&origin);
        assert_eq!(
            ModelIdentity::from_properties(&properties),
            Some(test_model())
        );
        assert_eq!(ModelSource::from_properties(&properties), origin);
        let properties = test_model().to_properties(&ModelSource::default());
        assert_eq!(
            ModelSource::from_properties(&properties),
            ModelSource::default()
        );
        assert_eq!(ModelIdentity::from_properties(&HashMap::new()), None);
    }

    #[test]
    fn a_difference_is_told_in_words() {
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
