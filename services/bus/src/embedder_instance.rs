//! The name of one embedder process, which is a part of subjects.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

const MAX_BYTES: usize = 64;

/// The name of one embedder: 1 to 64 of `a-z`, `0-9`, `-` and `_`. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmbedderInstance(Arc<str>);

impl EmbedderInstance {
    /// # Errors
    /// [`Error::InvalidInstance`] for a name that cannot be part of a subject.
    pub fn new(name: &str) -> Result<Self, Error> {
        let is_legal =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(is_legal) {
            Ok(Self(name.into()))
        } else {
            Err(Error::InvalidInstance(
                name.chars().take(MAX_BYTES).collect(),
            ))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmbedderInstance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_change_a_subject_are_refused() {
        assert_eq!(
            EmbedderInstance::new("1a2b-3c").unwrap().as_str(),
            "1a2b-3c"
        );
        for name in ["", "a.b", "*", ">", "a b", "A", "é", &"x".repeat(65)] {
            assert!(EmbedderInstance::new(name).is_err(), "{name:?}");
        }
    }
}
