//! Weights in the safetensors format: named tensors, read as single precision.
//!
//! Parsing is independent of the tensor library: layers are folded as plain numbers first and then
//! move to a device of any kind. A tensor is widened only when it is read, so a large model is in
//! memory once as a file and once on its device.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensorError, SafeTensors};

/// A longer header is rejected; headers of real models have less than 1 MiB.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Named tensors, row-major.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    file: Cow<'static, [u8]>,
    tensors: HashMap<String, StoredTensor>,
    #[cfg(test)]
    made: made::TestTensors,
}

/// Location and form of a tensor in the file.
#[derive(Debug)]
struct StoredTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Weights {
    /// Parses a safetensors file. Tensors that are neither F32, F16 nor BF16 are left out.
    pub(crate) fn from_safetensors(file: impl Into<Cow<'static, [u8]>>) -> Result<Self, String> {
        let file = file.into();
        let header_bytes = file
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes));
        if header_bytes.is_none_or(|bytes| bytes > MAX_HEADER_BYTES) {
            return Err("this is not a safetensors file".to_owned());
        }
        let (header_bytes, metadata) = SafeTensors::read_metadata(&file).map_err(describe_error)?;
        let data_start = 8 + header_bytes;
        let tensors = metadata
            .tensors()
            .into_iter()
            .filter(|(_, tensor)| matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16))
            .map(|(name, tensor)| {
                let (start, end) = tensor.data_offsets;
                let stored = StoredTensor {
                    dtype: tensor.dtype,
                    shape: tensor.shape.clone(),
                    bytes: data_start + start..data_start + end,
                };
                (name, stored)
            })
            .collect();
        Ok(Self {
            file,
            tensors,
            #[cfg(test)]
            made: made::TestTensors::default(),
        })
    }

    /// Reads a tensor, which must have this shape.
    pub(crate) fn read_tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        #[cfg(test)]
        if let Some(made) = self.made.find_tensor(name, shape) {
            return made;
        }
        let tensor = self.find_stored(name)?;
        check_shape(name, &tensor.shape, shape)?;
        Ok(widen_numbers(
            tensor.dtype,
            &self.file[tensor.bytes.clone()],
        ))
    }

    /// Returns the shape of a tensor whose size the weights decide.
    pub(crate) fn tensor_shape(&self, name: &str) -> Result<&[usize], String> {
        #[cfg(test)]
        if let Some(shape) = self.made.find_shape(name) {
            return Ok(shape);
        }
        Ok(&self.find_stored(name)?.shape)
    }

    fn find_stored(&self, name: &str) -> Result<&StoredTensor, String> {
        self.tensors
            .get(name)
            .ok_or_else(|| format!("{name} is missing"))
    }
}

fn describe_error(error: SafeTensorError) -> String {
    match error {
        SafeTensorError::InvalidHeaderLength => "the file is truncated".to_owned(),
        SafeTensorError::MetadataIncompleteBuffer => {
            "the file is truncated, or longer than its header states".to_owned()
        }
        error => format!("the header is invalid: {error}"),
    }
}

fn check_shape(name: &str, actual: &[usize], expected: &[usize]) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("{name} has the shape {actual:?}, not {expected:?}"))
}

/// Converts little-endian numbers of one of the three types that [`Weights`] keeps.
fn widen_numbers(dtype: Dtype, raw: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F16 => raw
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
            .collect(),
        Dtype::BF16 => raw
            .as_chunks()
            .0
            .iter()
            .map(|bytes| bf16::from_le_bytes(*bytes).to_f32())
            .collect(),
        _ => raw
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
    }
}

/// Weights that tests create instead of reading a file.
#[cfg(test)]
mod made {
    use super::{HashMap, Weights, check_shape};

    /// Computes a tensor's numbers from its name and shape.
    type Formula = fn(&str, &[usize]) -> Vec<f32>;

    #[derive(Debug, Default)]
    pub(super) struct TestTensors {
        tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
        /// Creates any tensor on request.
        formula: Option<Formula>,
    }

    impl TestTensors {
        pub(super) fn find_tensor(
            &self,
            name: &str,
            shape: &[usize],
        ) -> Option<Result<Vec<f32>, String>> {
            if let Some((actual, numbers)) = self.tensors.get(name) {
                return Some(check_shape(name, actual, shape).map(|()| numbers.clone()));
            }
            self.formula.map(|formula| Ok(formula(name, shape)))
        }

        pub(super) fn find_shape(&self, name: &str) -> Option<&[usize]> {
            self.tensors.get(name).map(|(shape, _)| shape.as_slice())
        }
    }

    impl Weights {
        /// Creates every requested tensor in the requested shape.
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
        let half_to_f32 = |bits: u16| widen_numbers(Dtype::F16, &bits.to_le_bytes())[0];
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
    fn broken_files_are_rejected() {
        let good = encode_file(
            r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "n": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]}}"#,
            &[0; 16],
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
