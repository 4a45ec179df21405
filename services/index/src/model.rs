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

impl ModelIdentity {
    pub(crate) fn properties(&self) -> HashMap<String, String> {
        HashMap::from([
            (MODEL.to_owned(), self.name.clone()),
            (CHECKSUM.to_owned(), self.checksum.clone()),
            (PREPROCESSING.to_owned(), self.preprocessing.clone()),
            (DIMENSION.to_owned(), self.dimension.to_string()),
            (SCHEMA.to_owned(), SCHEMA_VERSION.to_string()),
        ])
    }

    /// In what a collection with these properties differs from this model, in words; `None` where
    /// it is this model's.
    pub(crate) fn difference(&self, properties: &HashMap<String, String>) -> Option<String> {
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

    /// The part of a collection's name that names the model: everything outside `[a-z0-9_]` is
    /// `_`, cut where Milvus' limit of 255 could come near.
    pub(crate) fn collection_part(&self) -> String {
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

    fn model() -> ModelIdentity {
        ModelIdentity {
            name: "ResNet-34/timm".into(),
            dimension: 512,
            checksum: "ab12".into(),
            preprocessing: "bicubic 256, crop 224".into(),
        }
    }

    #[test]
    fn names_become_legal() {
        assert_eq!(model().collection_part(), "resnet_34_timm");
    }

    #[test]
    fn a_difference_is_told_in_words() {
        let model = model();
        assert_eq!(model.difference(&model.properties()), None);
        let other = ModelIdentity {
            checksum: "cd34".into(),
            ..model.clone()
        };
        assert_eq!(
            model.difference(&other.properties()).unwrap(),
            "checksum of the weights \"cd34\", not \"ab12\""
        );
        let none = model.difference(&HashMap::new()).unwrap();
        assert!(none.contains("no model") && none.contains("no schema version"));
    }
}
