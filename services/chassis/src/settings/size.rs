//! Sizes in bytes such as `"64MiB"`, for `#[serde(with = …)]`.

use bytesize::ByteSize;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

/// Serializes to `"64MiB"` if that is exact, else to `"12345B"`.
pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_size(*bytes))
}

/// Parses `"64MiB"`, `"10 MB"` and `"12345B"`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| D::Error::custom(format!("{text:?} is not a size like \"64MiB\" or \"10MB\"")))
}

/// A size of at least so many bytes, for `#[serde(with = "MinSize::<1>")]`: with less, nothing would
/// ever be done.
pub struct MinSize<const BYTES: u64>;

impl<const BYTES: u64> MinSize<BYTES> {
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(bytes, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let bytes = deserialize(deserializer)?;
        if bytes < BYTES {
            return Err(D::Error::custom(format!(
                "\"{}\" is too small: the smallest is \"{}\"",
                format_size(bytes),
                format_size(BYTES)
            )));
        }
        Ok(bytes)
    }
}

/// Formats a size as `"64MiB"` if that is exact, else as `"12345B"`.
pub fn format_size(bytes: u64) -> String {
    for (unit, name) in [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_exact() {
        for bytes in [0, 1, 1023, 1024, 1025, 64 << 20, (1 << 30) + 1] {
            assert_eq!(
                format_size(bytes).parse::<ByteSize>().unwrap().as_u64(),
                bytes
            );
        }
        assert_eq!(format_size(64 << 20), "64MiB");
    }
}
