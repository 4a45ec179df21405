//! Finds the parts of an OpenAPI document.

use serde_json::Value;

/// Returns the entries of the object with this key; nothing if there is none.
pub(super) fn entries_mut<'a>(
    value: &'a mut Value,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    let object = value.get_mut(key).and_then(Value::as_object_mut);
    object.into_iter().flatten()
}

/// Returns all operations.
pub(super) fn operations_mut(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = entries_mut(document, "paths").map(|(_, path)| path);
    paths.flat_map(|path| {
        path.as_object_mut()
            .into_iter()
            .flatten()
            .map(|(_, operation)| operation)
    })
}

/// Returns all schemas by their names.
pub(super) fn schemas_mut(document: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    entries_mut(&mut document["components"], "schemas")
}
