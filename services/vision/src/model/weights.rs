//! Weights as safetensors store them: named tensors of numbers, read as single precision.
//!
//! The format is eight bytes of length, a JSON header and the numbers. Reading it here keeps the
//! weights independent of any tensor library: layers are folded on plain numbers first and move
//! to a device afterwards, whichever that is. A tensor is widened only when it is asked for, so a
//! large model lies in memory once as a file and once on its device, not three times.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use serde::Deserialize;

/// A header beyond this is refused.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Named tensors, row-major.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    file: Cow<'static, [u8]>,
    tensors: HashMap<String, StoredTensor>,
    #[cfg(test)]
    made: made::TestTensors,
}

/// Where a tensor's numbers lie in the file.
#[derive(Debug)]
struct StoredTensor {
    kind: FloatType,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
enum FloatType {
    F32,
    F16,
    BF16,
}

#[derive(Deserialize)]
struct HeaderEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Weights {
    /// Reads a safetensors file; tensors that hold no floating-point numbers are left out.
    pub(crate) fn from_safetensors(file: impl Into<Cow<'static, [u8]>>) -> Result<Self, String> {
        let file = file.into();
        let length = file
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes));
        let length = length
            .filter(|length| *length <= MAX_HEADER_BYTES)
            .ok_or("this is no safetensors file")? as usize;
        let header = file.get(8..8 + length).ok_or("the file is cut short")?;
        let data_start = 8 + length;
        let header: HashMap<String, serde_json::Value> = serde_json::from_slice(header)
            .map_err(|error| format!("the header is broken: {error}"))?;
        let mut tensors = HashMap::with_capacity(header.len());
        for (name, entry) in header {
            if name == "__metadata__" {
                continue;
            }
            let entry: HeaderEntry = serde_json::from_value(entry)
                .map_err(|error| format!("the header of {name} is broken: {error}"))?;
            let [start, end] = entry.data_offsets;
            let raw = file[data_start..]
                .get(start..end)
                .ok_or_else(|| format!("the file is cut short within {name}"))?;
            let kind = match entry.dtype.as_str() {
                "F32" => FloatType::F32,
                "F16" => FloatType::F16,
                "BF16" => FloatType::BF16,
                _ => continue,
            };
            let expected = entry
                .shape
                .iter()
                .try_fold(kind.width(), |product, side| product.checked_mul(*side));
            if expected != Some(raw.len()) {
                return Err(format!(
                    "{name} has {} numbers, not {:?}",
                    raw.len() / kind.width(),
                    entry.shape
                ));
            }
            let stored = StoredTensor {
                kind,
                shape: entry.shape,
                bytes: data_start + start..data_start + end,
            };
            tensors.insert(name, stored);
        }
        Ok(Self {
            file,
            tensors,
            #[cfg(test)]
            made: made::TestTensors::default(),
        })
    }

    /// The numbers of a tensor that must have this shape.
    pub(crate) fn read_tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        #[cfg(test)]
        if let Some(made) = self.made.find_tensor(name, shape) {
            return made;
        }
        let stored = self
            .tensors
            .get(name)
            .ok_or_else(|| format!("{name} is missing"))?;
        check_shape(name, &stored.shape, shape)?;
        Ok(stored.kind.widen(&self.file[stored.bytes.clone()]))
    }

    /// The shape of a tensor, where its size is for the weights to say.
    pub(crate) fn tensor_shape(&self, name: &str) -> Result<&[usize], String> {
        #[cfg(test)]
        if let Some(shape) = self.made.find_shape(name) {
            return Ok(shape);
        }
        self.tensors
            .get(name)
            .map(|stored| stored.shape.as_slice())
            .ok_or_else(|| format!("{name} is missing"))
    }
}

fn check_shape(name: &str, found: &[usize], wanted: &[usize]) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{name} has the shape {found:?}, not {wanted:?}"))
}

impl FloatType {
    /// Bytes of a number.
    fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    fn widen(self, raw: &[u8]) -> Vec<f32> {
        let halves = |widen: fn(u16) -> f32| {
            raw.chunks_exact(2)
                .map(|pair| widen(u16::from_le_bytes([pair[0], pair[1]])))
                .collect()
        };
        match self {
            Self::F32 => raw
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect(),
            Self::F16 => halves(half_to_f32),
            Self::BF16 => halves(|bits| f32::from_bits(u32::from(bits) << 16)),
        }
    }
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

/// Weights that tests make instead of reading them.
#[cfg(test)]
mod made {
    use super::{HashMap, Weights, check_shape};

    /// A tensor's numbers from its name and shape.
    type Formula = fn(&str, &[usize]) -> Vec<f32>;

    #[derive(Debug, Default)]
    pub(super) struct TestTensors {
        tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
        /// Makes any tensor that is asked for.
        formula: Option<Formula>,
    }

    impl TestTensors {
        pub(super) fn find_tensor(
            &self,
            name: &str,
            shape: &[usize],
        ) -> Option<Result<Vec<f32>, String>> {
            if let Some((found, numbers)) = self.tensors.get(name) {
                return Some(check_shape(name, found, shape).map(|()| numbers.clone()));
            }
            self.formula.map(|formula| Ok(formula(name, shape)))
        }

        pub(super) fn find_shape(&self, name: &str) -> Option<&[usize]> {
            self.tensors.get(name).map(|(shape, _)| shape.as_slice())
        }
    }

    impl Weights {
        /// Every tensor that is asked for, in the shape that it is asked for.
        pub(crate) fn by_formula(formula: Formula) -> Self {
            let mut weights = Self::default();
            weights.made.formula = Some(formula);
            weights
        }

        pub(crate) fn insert_tensor(&mut self, name: &str, shape: &[usize], numbers: Vec<f32>) {
            assert_eq!(shape.iter().product::<usize>(), numbers.len());
            let tensor = (shape.to_vec(), numbers);
            self.made.tensors.insert(name.to_owned(), tensor);
        }
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

    fn encode_file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn broken_files_are_refused() {
        let good = encode_file(
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "n": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}}"#,
            &[0; 8],
        );
        let weights = Weights::from_safetensors(good.clone()).unwrap();
        assert_eq!(weights.read_tensor("a", &[2]).unwrap(), [0.0, 0.0]);
        assert_eq!(weights.tensor_shape("a").unwrap(), [2]);
        assert!(
            weights
                .read_tensor("a", &[1, 2])
                .unwrap_err()
                .contains("shape")
        );
        assert!(
            weights
                .read_tensor("n", &[])
                .unwrap_err()
                .contains("missing")
        );
        for length in 0..good.len() {
            assert!(
                Weights::from_safetensors(good[..length].to_vec()).is_err(),
                "{length}"
            );
        }
        for entry in [
            r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#,
            r#"{"a": {"dtype": "F32", "shape": [18446744073709551615, 2], "data_offsets": [0, 8]}}"#,
            r#"{"a": 1}"#,
        ] {
            assert!(
                Weights::from_safetensors(encode_file(entry, &[0; 8])).is_err(),
                "{entry}"
            );
        }
        assert!(Weights::from_safetensors(vec![0xff; 64]).is_err());
    }
}
