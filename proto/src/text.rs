//! Texts to search for.

/// A text to search for: trimmed, 1 to [`QueryText::MAX_CHARACTERS`] characters, no control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryText(String);

/// Text that is not a [`QueryText`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("the text is empty: describe the picture in words")]
    Empty,
    #[error(
        "the text has {count} characters; the limit is {}",
        QueryText::MAX_CHARACTERS
    )]
    TooLong { count: usize },
    /// A control character such as a line break or an escape.
    #[error(
        "the text contains the control character {character:?}; write it as one line of plain characters"
    )]
    Control { character: char },
}

impl QueryText {
    /// The limit on characters. A model may read fewer.
    pub const MAX_CHARACTERS: usize = 1000;

    /// Trims the text and checks it.
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

    pub fn as_str(&self) -> &str {
        &self.0
    }

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
