//! The arguments of a tool: read one by one, so that an unknown one is an error.

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};

/// Arguments that were not read yet.
pub(super) struct ToolArguments {
    left: Map<String, Value>,
}

impl ToolArguments {
    pub(super) fn new(arguments: Map<String, Value>) -> Self {
        Self { left: arguments }
    }

    pub(super) fn take_text(&mut self, name: &str) -> Result<Option<String>> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(anyhow!("{name} must be a text")),
        }
    }

    pub(super) fn take_required_text(&mut self, name: &str) -> Result<String> {
        let text = self.take_text(name)?;
        text.ok_or_else(|| anyhow!("{name} is required"))
    }

    /// Returns the number as the API's query parameters take it.
    pub(super) fn take_number(&mut self, name: &str) -> Result<Option<u64>> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(anyhow!("{name} must be a whole number")),
            },
        }
    }

    /// Returns an object. Some clients send it as text.
    pub(super) fn take_object(&mut self, name: &str) -> Result<Option<Value>> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(object @ Value::Object(_)) => Ok(Some(object)),
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(object @ Value::Object(_)) => Ok(Some(object)),
                _ => Err(anyhow!("{name} must be an object")),
            },
            Some(_) => Err(anyhow!("{name} must be an object")),
        }
    }

    /// # Errors
    /// If arguments are left that the tool does not have.
    pub(super) fn check_all_read(&self) -> Result<()> {
        match self.left.keys().next() {
            Some(unknown) => bail!("there is no argument {unknown}"),
            None => Ok(()),
        }
    }
}
