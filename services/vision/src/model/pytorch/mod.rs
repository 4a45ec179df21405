//! Reads the tensors of a PyTorch checkpoint in the format before version 1.6, without executing
//! anything.
//!
//! Such a file (`torch/serialization.py`, `_legacy_save`) consists of five pickles: a magic number, a
//! version, facts about the machine, the dictionary of tensors, and the keys of the storages. The
//! storages follow, each as its count of numbers and the numbers. Only little-endian files with
//! storages of 32-bit floats and 64-bit integers are supported.

mod pickle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use pickle::{NumberType, PickleTensor, PickleValue, read_pickle};

const MAGIC_NUMBER: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL_VERSION: i128 = 1001;

/// A tensor of single precision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckpointTensor {
    pub(crate) shape: Vec<usize>,
    /// Little-endian, row-major.
    pub(crate) bytes: Vec<u8>,
}

/// Reads the tensors of single precision by name.
pub(crate) fn read_checkpoint(file: &[u8]) -> Result<BTreeMap<String, CheckpointTensor>, String> {
    let mut rest = file;
    if take_pickle(&mut rest).ok() != Some(PickleValue::Integer(MAGIC_NUMBER)) {
        return Err("this is not a PyTorch checkpoint of the supported format".to_owned());
    }
    if take_pickle(&mut rest)? != PickleValue::Integer(PROTOCOL_VERSION) {
        return Err("the checkpoint has an unknown version".to_owned());
    }
    let machine = take_pickle(&mut rest)?;
    if find_item(&machine, "little_endian") != Some(&PickleValue::Bool(true)) {
        return Err("the checkpoint is not little-endian".to_owned());
    }
    let tensors = take_pickle(&mut rest)?;
    let keys = take_pickle(&mut rest)?;
    let tensors = read_names(&tensors)?;
    let storages = read_storages(&keys, &number_types(&tensors)?, rest)?;
    let mut named = BTreeMap::new();
    let mut copied_bytes = 0;
    for (name, tensor) in tensors {
        if tensor.storage.number_type != NumberType::F32 {
            continue;
        }
        let bytes = tensor.storage.numbers.checked_mul(NumberType::F32.bytes());
        let storage = storages.get(&tensor.storage.key);
        let storage = storage
            .filter(|storage| Some(storage.len()) == bytes)
            .ok_or_else(|| format!("{name} has no numbers of its length"))?;
        let tensor = CheckpointTensor {
            shape: tensor.shape.clone(),
            bytes: gather_row_major(tensor, storage.as_chunks().0),
        };
        // Tensors may share a storage, but a small file must not use much memory.
        copied_bytes += tensor.bytes.len();
        if copied_bytes > file.len() {
            return Err("the tensors of the checkpoint are larger than the file".to_owned());
        }
        if named.insert(name.to_owned(), tensor).is_some() {
            return Err(format!("the checkpoint contains {name} twice"));
        }
    }
    Ok(named)
}

fn take_pickle(rest: &mut &[u8]) -> Result<PickleValue, String> {
    let (value, length) =
        read_pickle(rest).map_err(|problem| format!("cannot read the checkpoint: {problem}"))?;
    *rest = &rest[length..];
    Ok(value)
}

fn find_item<'a>(dict: &'a PickleValue, wanted: &str) -> Option<&'a PickleValue> {
    let PickleValue::Dict(dict) = dict else {
        return None;
    };
    let is_wanted = |key: &PickleValue| matches!(key, PickleValue::Text(text) if &**text == wanted);
    let mut items = dict.items.iter();
    items
        .find(|(key, _)| is_wanted(key))
        .map(|(_, value)| value)
}

/// Returns the names and tensors of a dictionary.
fn read_names(tensors: &PickleValue) -> Result<Vec<(&str, &PickleTensor)>, String> {
    let PickleValue::Dict(tensors) = tensors else {
        return Err("the checkpoint contains no dictionary of tensors".to_owned());
    };
    let named = tensors.items.iter().map(|item| match item {
        (PickleValue::Text(name), PickleValue::Tensor(tensor)) => Ok((&**name, &**tensor)),
        _ => Err("the checkpoint contains something other than named tensors".to_owned()),
    });
    named.collect()
}

/// Returns the number type of each storage that a tensor uses.
fn number_types(tensors: &[(&str, &PickleTensor)]) -> Result<HashMap<Rc<str>, NumberType>, String> {
    let mut types = HashMap::new();
    for (_, tensor) in tensors {
        let storage = &tensor.storage;
        let other = types.insert(Rc::clone(&storage.key), storage.number_type);
        if other.is_some_and(|other| other != storage.number_type) {
            return Err("a storage of the checkpoint has two types".to_owned());
        }
    }
    Ok(types)
}

/// Copies the numbers of a tensor. The pickle's reader has checked that the storage contains them.
fn gather_row_major(tensor: &PickleTensor, storage: &[[u8; size_of::<f32>()]]) -> Vec<u8> {
    let count = tensor.shape.iter().product();
    let mut bytes = Vec::with_capacity(count * size_of::<f32>());
    let mut index = vec![0; tensor.shape.len()];
    let mut position = tensor.offset;
    for _ in 0..count {
        bytes.extend(storage[position]);
        // Moves to the next index, the last axis first.
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            position += tensor.strides[axis];
            if index[axis] < tensor.shape[axis] {
                break;
            }
            position -= tensor.strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
    bytes
}

/// Splits the rest of the file into the numbers of each storage. The keys have its order.
fn read_storages<'a>(
    keys: &PickleValue,
    types: &HashMap<Rc<str>, NumberType>,
    mut rest: &'a [u8],
) -> Result<HashMap<Rc<str>, &'a [u8]>, String> {
    let truncated = || "the checkpoint is truncated, or longer than its header states".to_owned();
    let PickleValue::List(keys) = keys else {
        return Err("the checkpoint lists no storages".to_owned());
    };
    let mut storages = HashMap::new();
    for key in keys.items.iter() {
        let PickleValue::Text(key) = key else {
            return Err("the checkpoint lists an unnamed storage".to_owned());
        };
        let number_type = types
            .get(key)
            .ok_or("the checkpoint lists a storage that no tensor uses")?;
        let (count, numbers) = rest.split_first_chunk().ok_or_else(truncated)?;
        let bytes = usize::try_from(u64::from_le_bytes(*count))
            .ok()
            .and_then(|count| count.checked_mul(number_type.bytes()))
            .filter(|bytes| *bytes <= numbers.len())
            .ok_or_else(truncated)?;
        let (numbers, further) = numbers.split_at(bytes);
        storages.insert(Rc::clone(key), numbers);
        rest = further;
    }
    if rest.is_empty() {
        Ok(storages)
    } else {
        Err(truncated())
    }
}
