//! Weights as safetensors store them: named tensors of numbers, widened to single precision.
//!
//! The format is eight bytes of length, a JSON header and the numbers. Reading it here keeps the
//! weights independent of any tensor library: layers are folded on plain numbers first and move
//! to a device afterwards, whichever that is.

use std::collections::HashMap;

use serde::Deserialize;

/// A header beyond this is refused.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Named tensors in single precision, row-major.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Weights {
    /// Reads a safetensors file; tensors that hold no floating-point numbers are left out.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, String> {
        let length = file
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes));
        let length = length
            .filter(|length| *length <= MAX_HEADER_BYTES)
            .ok_or("this is no safetensors file")? as usize;
        let header = file.get(8..8 + length).ok_or("the file is cut short")?;
        let data = &file[8 + length..];
        let header: HashMap<String, serde_json::Value> = serde_json::from_slice(header)
            .map_err(|error| format!("the header is broken: {error}"))?;
        let mut tensors = HashMap::with_capacity(header.len());
        for (name, entry) in header {
            if name == "__metadata__" {
                continue;
            }
            let entry: Entry = serde_json::from_value(entry)
                .map_err(|error| format!("the header of {name} is broken: {error}"))?;
            let [start, end] = entry.data_offsets;
            let raw = data
                .get(start..end)
                .ok_or_else(|| format!("the file is cut short within {name}"))?;
            let Some(numbers) = to_f32(&entry.dtype, raw) else {
                continue;
            };
            let expected = entry
                .shape
                .iter()
                .try_fold(1_usize, |product, side| product.checked_mul(*side));
            if expected != Some(numbers.len()) {
                return Err(format!(
                    "{name} has {} numbers, not {:?}",
                    numbers.len(),
                    entry.shape
                ));
            }
            tensors.insert(name, (entry.shape, numbers));
        }
        Ok(Self { tensors })
    }

    /// The numbers of a tensor that must have this shape.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<&[f32], String> {
        let (found, numbers) = self
            .tensors
            .get(name)
            .ok_or_else(|| format!("{name} is missing"))?;
        if found != shape {
            return Err(format!("{name} has the shape {found:?}, not {shape:?}"));
        }
        Ok(numbers)
    }

    #[cfg(test)]
    pub(crate) fn insert(&mut self, name: &str, shape: &[usize], numbers: Vec<f32>) {
        assert_eq!(shape.iter().product::<usize>(), numbers.len());
        self.tensors
            .insert(name.to_owned(), (shape.to_vec(), numbers));
    }
}

fn to_f32(dtype: &str, raw: &[u8]) -> Option<Vec<f32>> {
    let halves = |widen: fn(u16) -> f32| {
        raw.chunks_exact(2)
            .map(|pair| widen(u16::from_le_bytes([pair[0], pair[1]])))
            .collect()
    };
    Some(match dtype {
        "F32" => raw
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect(),
        "F16" => halves(half_to_f32),
        "BF16" => halves(|bits| f32::from_bits(u32::from(bits) << 16)),
        _ => return None,
    })
}

/// IEEE half precision, exactly.
fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits & 0x3ff));
    match exponent {
        // Zero and subnormal numbers are multiples of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 * f32::powi(2.0, -24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for (bits, expected) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half_to_f32(bits), expected, "{bits:#06x}");
        }
        assert!(half_to_f32(0x7e00).is_nan());
        assert!(half_to_f32(0x8000).is_sign_negative());
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn broken_files_are_refused() {
        let good = file(
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "n": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}}"#,
            &[0; 8],
        );
        let weights = Weights::parse(&good).unwrap();
        assert_eq!(weights.get("a", &[2]).unwrap(), [0.0, 0.0]);
        assert!(weights.get("a", &[1, 2]).unwrap_err().contains("shape"));
        assert!(weights.get("n", &[]).unwrap_err().contains("missing"));
        for length in 0..good.len() {
            assert!(Weights::parse(&good[..length]).is_err(), "{length}");
        }
        for entry in [
            r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [18446744073709551615, 2], "data_offsets": [0, 8]}}"#,
            r#"{"a": 1}"#,
        ] {
            assert!(Weights::parse(&file(entry, &[0; 8])).is_err(), "{entry}");
        }
        assert!(Weights::parse(&[0xff; 64]).is_err());
    }
}
