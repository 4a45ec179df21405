//! Splits texts into tokens with the `tokenizer.json` of a model.

use std::borrow::Cow;

use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::{error::Error, model::towers::TextTower};

/// Longer texts are cut to this length, which is many times what a model reads.
const MAX_TEXT_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct TextTokenizer {
    tokenizer: Tokenizer,
    end_token: u32,
    vocabulary: usize,
    lowercases_text: bool,
    /// Most tokens before the end token if we append it; `None` if the tokenizer must append it.
    max_tokens_before_end: Option<usize>,
}

impl TextTokenizer {
    /// Parses a `tokenizer.json`. Texts become at most `tower.positions` tokens.
    pub(super) fn from_json(file: &[u8], tower: &TextTower) -> Result<Self, String> {
        let problem = |error: tokenizers::Error| format!("tokenizer.json: {error}");
        let mut tokenizer = Tokenizer::from_bytes(file).map_err(problem)?;
        let truncation = TruncationParams {
            max_length: tower.positions,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(problem)?;
        tokenizer.with_padding(None);
        let text_tokenizer = Self {
            tokenizer,
            end_token: tower.end_token,
            vocabulary: tower.vocabulary,
            lowercases_text: tower.lower_case,
            max_tokens_before_end: tower.padding_token.map(|_| tower.positions - 1),
        };
        // Any text shows whether the tokenizer and the description fit together.
        text_tokenizer
            .tokenize("a picture")
            .map_err(|error| format!("tokenizer.json: {error}"))?;
        Ok(text_tokenizer)
    }

    /// Returns the tokens of a text up to and including the first end token.
    pub(super) fn tokenize(&self, text: &str) -> Result<Vec<u32>, Error> {
        let text_error = |problem: String| Error::Text { problem };
        let mut end = text.len().min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        let text: Cow<'_, str> = if self.lowercases_text {
            text.to_lowercase().into()
        } else {
            text.into()
        };
        let encoding = self
            .tokenizer
            .encode(&*text, true)
            .map_err(|error| text_error(error.to_string()))?;
        let ids = encoding.get_ids();
        let end = ids.iter().position(|id| *id == self.end_token);
        let ids = match (end, self.max_tokens_before_end) {
            (Some(end), _) => ids[..=end].to_vec(),
            (None, Some(max_tokens)) => {
                let kept = ids.iter().take(max_tokens).copied();
                kept.chain([self.end_token]).collect()
            }
            (None, None) => {
                return Err(text_error(format!(
                    "no token {} ends a text",
                    self.end_token
                )));
            }
        };
        match ids.iter().find(|id| **id as usize >= self.vocabulary) {
            Some(id) => Err(text_error(format!(
                "token {id} is not in the model's vocabulary"
            ))),
            None => Ok(ids),
        }
    }
}
