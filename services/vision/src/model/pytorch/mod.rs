//! Reads the tensors of a PyTorch checkpoint in the format before version 1.6, without executing
//! anything.
//!
//! Such a file (`torch/serialization.py`, `_legacy_save`) consists of five pickles: a magic number, a
//! version, facts about the machine, the dictionary of tensors, and the keys of the storages. The
//! storages follow, each as its count of numbers and the numbers. Only `torch.FloatStorage`, row-major
//! tensors and little-endian files are supported.

mod pickle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use pickle::{Value, read_pickle};

const MAGIC_NUMBER: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL_VERSION: i128 = 1001;
const NUMBER_BYTES: usize = size_of::<f32>();

/// A tensor of single precision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckpointTensor<'a> {
    pub(crate) shape: Vec<usize>,
    /// Little-endian, row-major.
    pub(crate) bytes: &'a [u8],
}

/// Reads all tensors by name.
pub(crate) fn read_checkpoint(
    file: &[u8],
) -> Result<BTreeMap<String, CheckpointTensor<'_>>, String> {
    let mut rest = file;
    if take_pickle(&mut rest).ok() != Some(Value::Integer(MAGIC_NUMBER)) {
        return Err("this is not a PyTorch checkpoint of the supported format".to_owned());
    }
    if take_pickle(&mut rest)? != Value::Integer(PROTOCOL_VERSION) {
        return Err("the checkpoint has an unknown version".to_owned());
    }
    let machine = take_pickle(&mut rest)?;
    if find_item(&machine, "little_endian") != Some(&Value::Bool(true)) {
        return Err("the checkpoint is not little-endian".to_owned());
    }
    let tensors = take_pickle(&mut rest)?;
    let keys = take_pickle(&mut rest)?;
    let storages = read_storages(&keys, rest)?;
    let Value::Dict(tensors) = tensors else {
        return Err("the checkpoint contains no dictionary of tensors".to_owned());
    };
    let mut named = BTreeMap::new();
    for (name, tensor) in tensors.items.iter() {
        let (Value::Text(name), Value::Tensor(tensor)) = (name, tensor) else {
            return Err("the checkpoint contains something other than named tensors".to_owned());
        };
        let storage = storages.get(&tensor.storage.key);
        let storage_bytes = tensor.storage.numbers.checked_mul(NUMBER_BYTES);
        let storage = storage
            .filter(|bytes| Some(bytes.len()) == storage_bytes)
            .ok_or_else(|| format!("{name} has no numbers of its length"))?;
        // The pickle's reader has checked that the tensor lies in its storage.
        let start = tensor.offset * NUMBER_BYTES;
        let end = start + tensor.shape.iter().product::<usize>() * NUMBER_BYTES;
        let tensor = CheckpointTensor {
            shape: tensor.shape.clone(),
            bytes: &storage[start..end],
        };
        if named.insert(name.to_string(), tensor).is_some() {
            return Err(format!("the checkpoint contains {name} twice"));
        }
    }
    Ok(named)
}

fn take_pickle(rest: &mut &[u8]) -> Result<Value, String> {
    let (value, length) =
        read_pickle(rest).map_err(|problem| format!("cannot read the checkpoint: {problem}"))?;
    *rest = &rest[length..];
    Ok(value)
}

fn find_item<'a>(dict: &'a Value, wanted: &str) -> Option<&'a Value> {
    let Value::Dict(dict) = dict else {
        return None;
    };
    let is_wanted = |key: &Value| matches!(key, Value::Text(text) if &**text == wanted);
    let mut items = dict.items.iter();
    items
        .find(|(key, _)| is_wanted(key))
        .map(|(_, value)| value)
}

/// Splits the rest of the file into the numbers of each storage. The keys have its order.
fn read_storages<'a>(
    keys: &Value,
    mut rest: &'a [u8],
) -> Result<HashMap<Rc<str>, &'a [u8]>, String> {
    let truncated = || "the checkpoint is truncated, or longer than its header states".to_owned();
    let Value::List(keys) = keys else {
        return Err("the checkpoint lists no storages".to_owned());
    };
    let mut storages = HashMap::new();
    for key in keys.items.iter() {
        let Value::Text(key) = key else {
            return Err("the checkpoint lists an unnamed storage".to_owned());
        };
        let (count, numbers) = rest.split_first_chunk().ok_or_else(truncated)?;
        let bytes = usize::try_from(u64::from_le_bytes(*count))
            .ok()
            .and_then(|count| count.checked_mul(NUMBER_BYTES))
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
