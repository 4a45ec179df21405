//! Words to search by.

/// Words that a search may ask for: trimmed, 1 to [`QueryText::MAX_CHARACTERS`] characters, none
/// of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryText(String);

/// Text that is no [`QueryText`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing is left of it when it is trimmed.
    #[error("the text is empty: say in words what the picture shows")]
    Empty,
    /// It is too long.
    #[error(
        "the text has {count} characters; at most {} are taken",
        QueryText::MAX_CHARACTERS
    )]
    TooLong {
        /// How many it has.
        count: usize,
    },
    /// It has a character that is none to read, as a line's end or an escape.
    #[error(
        "the text has the control character {character:?}; write it as one line of plain characters"
    )]
    Control {
        /// The first one.
        character: char,
    },
}

impl QueryText {
    /// Characters at most. What a model reads of them is its own matter.
    pub const MAX_CHARACTERS: usize = 1000;

    /// Trims and checks.
    ///
    /// # Errors
    /// When it is empty, too long, or has control characters.
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        let text = text.trim();
        let count = text.chars().count();
        if count == 0 {
            return Err(InvalidText::Empty);
        }
        if count > Self::MAX_CHARACTERS {
            return Err(InvalidText::TooLong { count });
        }
        match text.chars().find(|c| c.is_control()) {
            Some(character) => Err(InvalidText::Control { character }),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_bounded() {
        let text = |text: &str| QueryText::new(text).map(QueryText::into_string);
        assert_eq!(text("  a red chair \n"), Ok("a red chair".to_owned()));
        assert_eq!(text(&"ü".repeat(1000)).map(|text| text.len()), Ok(2000));
        assert_eq!(
            text(&"ü".repeat(1001)),
            Err(InvalidText::TooLong { count: 1001 })
        );
        for empty in ["", " ", "\t\r\n"] {
            assert_eq!(text(empty), Err(InvalidText::Empty));
        }
        for (text, found) in [
            ("a\nb", '\n'),
            ("a\u{1b}[2J", '\u{1b}'),
            ("a\u{85}b", '\u{85}'),
        ] {
            assert_eq!(
                QueryText::new(text),
                Err(InvalidText::Control { character: found })
            );
        }
        let message = InvalidText::Control {
            character: '\u{1b}',
        }
        .to_string();
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
}
