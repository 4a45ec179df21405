//! The golden vector of a collection: what its model makes of one picture that never changes, put
//! there by the first embedder and compared by every later one. An embedder whose device, driver or
//! code moves vectors is refused before it writes any.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use milvus::v2::prelude::AlterCollectionPropertiesRequest;

use crate::{Error, Index, collections::read_properties};

const GOLDEN_KEY: &str = "lookalike.golden";

/// A number of a unit vector is kept in sixteen bits of this many parts: 1.5e-5 at most are lost of
/// each, and less than 1e-6 of a cosine.
const QUANTIZATION_STEPS: f32 = 32_767.0;

/// Two embedders that start over a new collection at once write one after the other; who is second
/// sees the first one's vector then.
const MAX_ATTEMPTS: usize = 3;

impl Index {
    /// Compares the vector that this process makes of the golden picture with that of the
    /// collection, or puts it there where none is yet. `device` is for the message.
    ///
    /// # Errors
    /// [`Error::GoldenMismatch`] when the cosine is below `min_cosine`; otherwise as the server says.
    pub async fn verify_or_store_golden(
        &self,
        vector: &[f32],
        min_cosine: f64,
        device: &str,
    ) -> Result<(), Error> {
        let text = encode_vector(vector);
        for _ in 0..MAX_ATTEMPTS {
            if let Some(stored) = self.golden_vector().await? {
                let cosine = cosine_similarity(&stored, vector);
                // Not a number is not near either.
                if cosine >= min_cosine {
                    // The first one stays; it is the same but for rounding.
                    let _ = self.inner.golden_text.set(text);
                    return Ok(());
                }
                return Err(Error::GoldenMismatch {
                    collection: self.collection().to_string(),
                    model: self.model().name.clone(),
                    device: device.to_owned(),
                    cosine,
                    least: min_cosine,
                });
            }
            let collection = self.collection();
            let properties = HashMap::from([(GOLDEN_KEY.to_owned(), text.clone())]);
            self.call_admin(
                &format!("collection {collection:?}"),
                false,
                async |client| {
                    let request = AlterCollectionPropertiesRequest::builder()
                        .collection_name(&*collection)
                        .properties(properties)
                        .build()?;
                    client.alter_collection_properties(request).await
                },
            )
            .await?;
            tracing::info!(%collection, "the index keeps this device's golden vector");
        }
        Err(Error::UnexpectedAnswer {
            call: "admin",
            reason: "the golden vector was written and is not there".to_owned(),
        })
    }

    /// The golden vector of the collection, if an embedder has put one there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn golden_vector(&self) -> Result<Option<Vec<f32>>, Error> {
        let name = self.collection();
        let properties =
            read_properties(&self.inner.connection, &self.inner.settings, &name).await?;
        let properties = properties.ok_or_else(|| Error::Missing {
            what: format!("collection {name:?}"),
        })?;
        // One that can't be read is as none: it is written anew.
        Ok(properties
            .get(GOLDEN_KEY)
            .and_then(|text| decode_vector(text, self.model().dimension)))
    }

    /// For a collection that is made while this process runs.
    pub(crate) fn golden_property(&self) -> Option<(String, String)> {
        let text = self.inner.golden_text.get()?;
        Some((GOLDEN_KEY.to_owned(), text.clone()))
    }
}

fn encode_vector(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| ((value * QUANTIZATION_STEPS).round() as i16).to_le_bytes())
        .collect();
    STANDARD.encode(bytes)
}

fn decode_vector(text: &str, dimension: usize) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    if bytes.len() != dimension * 2 {
        return None;
    }
    let numbers = bytes.chunks_exact(2);
    Some(
        numbers
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / QUANTIZATION_STEPS)
            .collect(),
    )
}

/// The cosine of two vectors; 0 where one has no direction or another length.
fn cosine_similarity(left: &[f32], right: &[f32]) -> f64 {
    if left.len() != right.len() {
        return 0.0;
    }
    let (mut dot, mut first, mut second) = (0.0, 0.0, 0.0);
    for (a, b) in left.iter().zip(right) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        dot += a * b;
        first += a * a;
        second += b * b;
    }
    let length = (first * second).sqrt();
    if length > 0.0 { dot / length } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_enough() {
        let vector: Vec<f32> = (0..2048).map(|n| (n as f32 * 0.7).sin()).collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        let vector: Vec<f32> = vector.iter().map(|x| x / length).collect();
        let text = encode_vector(&vector);
        assert!(text.len() < 6_000);
        let again = decode_vector(&text, 2048).unwrap();
        assert!(cosine_similarity(&vector, &again) > 0.999_999);
        assert_eq!(decode_vector(&text, 2047), None);
        assert_eq!(decode_vector("no base64!", 2048), None);
        assert!(decode_vector(&encode_vector(&[1.0, -1.0]), 2).unwrap() == [1.0, -1.0]);
    }
}
