//! The golden vector of a collection: its model's vector of one fixed picture. The first embedder
//! stores it, every later one compares its own. An embedder whose device, driver or code changes
//! vectors is refused before it writes any.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use milvus::v2::prelude::AlterCollectionPropertiesRequest;

use crate::{collections::read_properties, error::Error, index::Index};

const GOLDEN_KEY: &str = "lookalike.golden";

/// The numbers of a unit vector are stored in sixteen bits, in this many steps. The error is at most
/// 1.5e-5 in each number and less than 1e-6 in a cosine.
const QUANTIZATION_STEPS: f32 = 32_767.0;

/// If two embedders start over a new collection at the same time, both may write; the next attempt
/// compares with the stored vector.
const MAX_ATTEMPTS: usize = 3;

impl Index {
    /// Compares this process's vector of the golden picture with the collection's, or stores it if
    /// the collection has none. `device` appears in the error.
    ///
    /// # Errors
    /// [`Error::GoldenMismatch`] if the cosine is below `min_cosine`.
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
                // NaN fails the comparison, too.
                if cosine >= min_cosine {
                    // The stored vector stays; this one differs only by rounding.
                    let _ = self.inner.golden_text.set(text);
                    return Ok(());
                }
                return Err(Error::GoldenMismatch {
                    collection: self.collection().to_string(),
                    model: self.model().name.clone(),
                    device: device.to_owned(),
                    cosine,
                    min_cosine,
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
            tracing::info!(%collection, "stored this device's golden vector");
        }
        Err(Error::UnexpectedAnswer {
            call: "admin",
            reason: "the golden vector was written but cannot be read".to_owned(),
        })
    }

    /// Returns the collection's golden vector, if an embedder has stored one.
    pub async fn golden_vector(&self) -> Result<Option<Vec<f32>>, Error> {
        let name = self.collection();
        let properties =
            read_properties(&self.inner.connection, &self.inner.settings, &name).await?;
        let properties = properties.ok_or_else(|| Error::Missing {
            object: format!("collection {name:?}"),
        })?;
        // An unreadable vector counts as missing and is written again.
        Ok(properties
            .get(GOLDEN_KEY)
            .and_then(|text| decode_vector(text, self.model().dimension)))
    }

    /// Returns the property for a collection that is created while this process runs.
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

/// Returns 0 if the dimensions differ or one vector is zero.
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
    fn sixteen_bits_are_precise_enough() {
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
