//! The golden vector of a collection: what its model makes of one picture that never changes, put
//! there by the first embedder and compared by every later one. An embedder whose device, driver or
//! code moves vectors is refused before it writes any.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use milvus::v2::prelude::AlterCollectionPropertiesRequest;

use crate::{Error, Index, collections::describe};

const GOLDEN: &str = "lookalike.golden";

/// A number of a unit vector is kept in sixteen bits of this many parts: 1.5e-5 at most are lost of
/// each, and less than 1e-6 of a cosine.
const PARTS: f32 = 32_767.0;

/// Two embedders that start over a new collection at once write one after the other; who is second
/// sees the first one's vector then.
const LOOKS: usize = 3;

impl Index {
    /// Compares the vector that this process makes of the golden picture with that of the
    /// collection, or puts it there where none is yet. `device` is for the message.
    ///
    /// # Errors
    /// [`Error::OtherGolden`] when the cosine is below `least`; otherwise as the server says.
    pub async fn keep_golden(&self, vector: &[f32], least: f64, device: &str) -> Result<(), Error> {
        let text = to_text(vector);
        for _ in 0..LOOKS {
            if let Some(kept) = self.golden().await? {
                let cosine = cosine(&kept, vector);
                // Not a number is not near either.
                if cosine >= least {
                    // The first one stays; it is the same but for rounding.
                    let _ = self.inner.golden.set(text);
                    return Ok(());
                }
                return Err(Error::OtherGolden {
                    collection: self.collection().to_string(),
                    model: self.model().name.clone(),
                    device: device.to_owned(),
                    cosine,
                    least,
                });
            }
            let collection = self.collection();
            let properties = HashMap::from([(GOLDEN.to_owned(), text.clone())]);
            self.admin(
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
        Err(Error::Answer {
            call: "admin",
            reason: "the golden vector was written and is not there".to_owned(),
        })
    }

    /// The golden vector of the collection, if an embedder has put one there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn golden(&self) -> Result<Option<Vec<f32>>, Error> {
        let name = self.collection();
        let found = describe(&self.inner.connection, &self.inner.settings, &name).await?;
        let properties = found.ok_or_else(|| Error::Missing {
            what: format!("collection {name:?}"),
        })?;
        // One that can't be read is as none: it is written anew.
        Ok(properties
            .get(GOLDEN)
            .and_then(|text| from_text(text, self.model().dimension)))
    }

    /// For a collection that is made while this process runs.
    pub(crate) fn golden_property(&self) -> Option<(String, String)> {
        let text = self.inner.golden.get()?;
        Some((GOLDEN.to_owned(), text.clone()))
    }
}

fn to_text(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| ((value * PARTS).round() as i16).to_le_bytes())
        .collect();
    STANDARD.encode(bytes)
}

fn from_text(text: &str, dimension: usize) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    if bytes.len() != dimension * 2 {
        return None;
    }
    let numbers = bytes.chunks_exact(2);
    Some(
        numbers
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / PARTS)
            .collect(),
    )
}

/// The cosine of two vectors; 0 where one has no direction or another length.
fn cosine(one: &[f32], other: &[f32]) -> f64 {
    if one.len() != other.len() {
        return 0.0;
    }
    let (mut dot, mut first, mut second) = (0.0, 0.0, 0.0);
    for (a, b) in one.iter().zip(other) {
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
        let text = to_text(&vector);
        assert!(text.len() < 6_000);
        let again = from_text(&text, 2048).unwrap();
        assert!(cosine(&vector, &again) > 0.999_999);
        assert_eq!(from_text(&text, 2047), None);
        assert_eq!(from_text("no base64!", 2048), None);
        assert!(from_text(&to_text(&[1.0, -1.0]), 2).unwrap() == [1.0, -1.0]);
    }
}
