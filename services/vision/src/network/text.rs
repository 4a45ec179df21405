//! Texts → the rows of numbers that a text encoder reads, one per token.

use super::tokenizer::TextTokenizer;
use crate::{
    error::Error,
    model::{towers::TextTower, weights::Weights},
};

/// The tokenizer and the embeddings of a text encoder.
#[derive(Debug)]
pub(super) struct TextInput {
    tokenizer: TextTokenizer,
    /// One row per token of the vocabulary. Stays in main memory, because a text needs few rows.
    token_embeddings: Vec<f32>,
    /// One row per position in a text.
    position_embeddings: Vec<f32>,
    width: usize,
    /// The token that pads texts to all positions, if the model requires it.
    padding: Option<u32>,
}

/// The rows of several texts.
#[derive(Debug, Default)]
pub(super) struct TextRows {
    /// The rows of all texts, concatenated.
    pub rows: Vec<f32>,
    /// The number of rows of each text.
    pub lengths: Vec<usize>,
}

impl TextInput {
    /// Parses `tokenizer.json` and reads the embeddings.
    pub(super) fn from_weights(
        tokenizer: &[u8],
        weights: &Weights,
        tower: &TextTower,
    ) -> Result<Self, String> {
        let width = tower.shape.width;
        let table = |part: &str, rows| {
            let name = format!("text_model.embeddings.{part}.weight");
            let numbers = weights.read_tensor(&name, &[rows, width])?;
            if !numbers.iter().all(|value| value.is_finite()) {
                return Err(format!("{name} contains numbers that are not finite"));
            }
            Ok(numbers)
        };
        Ok(Self {
            tokenizer: TextTokenizer::from_json(tokenizer, tower)?,
            token_embeddings: table("token_embedding", tower.vocabulary)?,
            position_embeddings: table("position_embedding", tower.positions)?,
            width,
            padding: tower.padding_token,
        })
    }

    /// Returns the tokens of a text up to and including the first end token.
    pub(super) fn tokenize(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.tokenizer.tokenize(text)
    }

    /// Returns the rows of the texts: of each token up to the end token, or up to all positions if the
    /// model pads texts.
    pub(super) fn embed_tokens(&self, texts: &[String]) -> Result<TextRows, Error> {
        let mut text_rows = TextRows::default();
        for text in texts {
            let tokens = self.tokenize(text)?;
            assert!(!tokens.is_empty(), "a text has at least the end token");
            let padding = self.padding.into_iter().cycle();
            let start = text_rows.rows.len();
            for (token, place) in tokens
                .into_iter()
                .chain(padding)
                .zip(self.position_embeddings.chunks_exact(self.width))
            {
                let word = &self.token_embeddings[token as usize * self.width..][..self.width];
                let row = word.iter().zip(place).map(|(word, place)| word + place);
                text_rows.rows.extend(row);
            }
            let numbers = text_rows.rows.len() - start;
            text_rows.lengths.push(numbers / self.width);
        }
        Ok(text_rows)
    }
}
