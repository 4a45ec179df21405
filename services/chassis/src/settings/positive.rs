//! Numbers above 0, for `#[serde(deserialize_with = …)]`: with 0, nothing would ever be done.

use serde::{Deserialize, Deserializer, de::Error as _};

/// Parses a number and refuses 0.
pub fn deserialize_positive<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialOrd,
{
    let value = T::deserialize(deserializer)?;
    if value <= T::default() {
        return Err(D::Error::custom("0 is too small: the smallest is 1"));
    }
    Ok(value)
}
