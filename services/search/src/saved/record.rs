//! What is stored of a saved search, as JSON.
//!
//! The vector of the query is stored with the model that computed it. Texts, ids and weights are stored
//! as given, and a picture as a small copy, so another model can compute another vector.

use lookalike_vision::{Band, Sketch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::core::hit_bands::QueryPicture;
use crate::core::query::{QueryInput, WeightedPart};

/// Bytes, written in base64.
mod base64_bytes {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

/// One input of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SavedInput {
    /// A small copy of an uploaded picture, as a JPEG file.
    Image {
        #[serde(with = "base64_bytes")]
        jpeg: Vec<u8>,
    },
    Id(String),
    Text(String),
}

/// One part of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedPart {
    pub input: SavedInput,
    /// If negative, matches should look less like this part.
    pub weight: f64,
}

/// How similar a picture must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Threshold {
    /// Cosine, −1 to 1.
    MinScore(f64),
    /// This band or a better one.
    Band(Band),
}

/// What is known of a single picture that is the query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedPicture {
    pub content_hash: String,
    /// The text form of a sketch; empty if it is unknown.
    pub sketch: String,
}

impl SavedPicture {
    pub(crate) fn from_query(picture: &QueryPicture) -> Self {
        Self {
            content_hash: picture.content_hash.clone(),
            sketch: picture
                .sketch
                .as_ref()
                .map(Sketch::to_text)
                .unwrap_or_default(),
        }
    }

    pub(crate) fn to_query(&self) -> QueryPicture {
        QueryPicture {
            content_hash: self.content_hash.clone(),
            sketch: Sketch::from_text(&self.sketch),
        }
    }
}

/// The vector of a query and its model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueryVector {
    pub model: String,
    /// The checksum of the model's weights.
    pub checksum: String,
    /// Little-endian numbers of 4 bytes.
    #[serde(with = "base64_bytes")]
    bytes: Vec<u8>,
    /// Present if the query is a single picture.
    pub picture: Option<SavedPicture>,
}

impl QueryVector {
    pub(crate) fn new(
        model: &str,
        checksum: &str,
        vector: &[f32],
        picture: Option<SavedPicture>,
    ) -> Self {
        Self {
            model: model.to_owned(),
            checksum: checksum.to_owned(),
            bytes: vector
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            picture,
        }
    }

    pub(crate) fn to_vector(&self) -> Vec<f32> {
        let (numbers, _) = self.bytes.as_chunks::<4>();
        numbers
            .iter()
            .map(|number| f32::from_le_bytes(*number))
            .collect()
    }
}

/// Where matches are sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedWebhook {
    pub url: String,
    /// Signs the requests.
    pub secret: String,
}

/// A saved search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedSearchRecord {
    pub name: String,
    pub parts: Vec<SavedPart>,
    /// As given.
    pub filter: Option<Map<String, Value>>,
    pub threshold: Threshold,
    pub webhook: Option<SavedWebhook>,
    pub vector: QueryVector,
    /// When the search was first stored, in nanoseconds since 1970 by the clock of NATS. Absent in the
    /// first version of an entry, whose own time it is.
    pub created_ns: Option<i64>,
}

impl SavedSearchRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("its maps have text keys, and its numbers are finite")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Whether the query is a single picture: bands hold for such queries only.
    pub(crate) fn is_single_image(&self) -> bool {
        match self.parts.as_slice() {
            [part] => !matches!(part.input, SavedInput::Text(_)),
            _ => false,
        }
    }

    /// Returns the ids of images that the matches should look like. They are no matches themselves.
    pub(crate) fn query_ids(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match &part.input {
            SavedInput::Id(id) if part.weight > 0.0 => Some(id.as_str()),
            _ => None,
        })
    }

    /// Returns the parts as those of a search.
    pub(crate) fn to_weighted_parts(&self) -> Result<Vec<WeightedPart>, String> {
        let parts = self.parts.iter().map(|part| {
            let (param, input) = match &part.input {
                SavedInput::Image { jpeg } => {
                    ("query.image", QueryInput::Image(jpeg.clone().into()))
                }
                SavedInput::Id(id) => ("query.id", QueryInput::Id(id.clone())),
                SavedInput::Text(text) => {
                    let text = lookalike_proto::QueryText::new(text);
                    (
                        "query.text",
                        QueryInput::Text(text.map_err(|e| e.to_string())?),
                    )
                }
            };
            Ok(WeightedPart {
                param: param.to_owned(),
                input,
                weight: part.weight,
                region: None,
            })
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_written() {
        let record = SavedSearchRecord {
            name: "red cars".into(),
            parts: vec![
                SavedPart {
                    input: SavedInput::Image { jpeg: vec![0, 255] },
                    weight: 1.0,
                },
                SavedPart {
                    input: SavedInput::Text("a red car".into()),
                    weight: -0.5,
                },
                SavedPart {
                    input: SavedInput::Id("ab".repeat(16)),
                    weight: 0.5,
                },
            ],
            filter: serde_json::from_str(r#"{"format": "jpeg"}"#).unwrap(),
            threshold: Threshold::Band(Band::NearDuplicate),
            webhook: Some(SavedWebhook {
                url: "https://example.com/".into(),
                secret: "s".into(),
            }),
            vector: QueryVector::new("mini", "00", &[0.6, -0.8], None),
            created_ns: None,
        };
        let read = SavedSearchRecord::decode(&record.encode()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.vector.to_vector(), [0.6, -0.8]);
        assert!(!read.is_single_image());
        assert_eq!(read.query_ids().collect::<Vec<_>>(), ["ab".repeat(16)]);
        let parts = read.to_weighted_parts().unwrap();
        assert_eq!(parts[1].weight, -0.5);
    }
}
