//! The text towers of CLIP and SigLIP, with the tensor names of transformers: tokens → vectors in
//! the space of the pictures'.
//!
//! CLIP's tokens see only those before them, so a text's end has seen all of it and is the answer,
//! whatever follows. SigLIP's see each other, and every text fills all places, the rest with a token
//! for that; the last place is the answer.

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    layers::linear::{LayerNorm, Linear, LinearWeights},
    layers::transformer::{TensorNames, Transformer},
};
use crate::{model::towers::TextTower, model::weights::Weights};

#[derive(Debug)]
pub(super) struct TextNetwork {
    /// A row for each word of the vocabulary; it stays with the CPU, which picks a few of them.
    token_embeddings: Vec<f32>,
    /// A row for each place in a text.
    position_embeddings: Vec<f32>,
    width: usize,
    /// What fills a text up to all places, where that is how the model reads.
    padding: Option<u32>,
    blocks: Transformer,
    post_norm: LayerNorm,
    projection: Linear,
    device: Device,
}

impl TextNetwork {
    pub(super) fn from_weights(
        weights: &Weights,
        tower: &TextTower,
        dimension: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let (width, padding) = (tower.shape.width, tower.padding_token);
        let name = |part: &str| format!("text_model.{part}");
        let table = |part: &str, rows| {
            let name = name(&format!("embeddings.{part}.weight"));
            let numbers = weights.read_tensor(&name, &[rows, width])?;
            if !numbers.iter().all(|value| value.is_finite()) {
                return Err(format!("{name} holds numbers that are not finite"));
            }
            Ok(numbers)
        };
        let norm_name = name("final_layer_norm");
        let projection = match padding {
            None => LinearWeights::from_weights_without_bias(
                weights,
                "text_projection",
                width,
                dimension,
            )?,
            Some(_) => LinearWeights::from_weights(weights, &name("head"), width, dimension)?,
        };
        Ok(Self {
            token_embeddings: table("token_embedding", tower.vocabulary)?,
            position_embeddings: table("position_embedding", tower.positions)?,
            width,
            padding,
            blocks: Transformer::from_weights(
                weights,
                &name("encoder.layers."),
                TensorNames::Transformers,
                &tower.shape,
                padding.is_none(),
                device,
            )?,
            post_norm: LayerNorm::from_weights(
                weights,
                &norm_name,
                width,
                tower.shape.norm_epsilon,
                device,
            )?,
            projection: projection.to_device(device),
            device: device.clone(),
        })
    }

    /// `[n, dimension]`, of any length, from each text's tokens: those up to its end, at least
    /// one, at most as many as there are places, none beyond the vocabulary.
    pub(super) fn forward(&self, texts: &[Vec<u32>]) -> Tensor<2> {
        let length = match self.padding {
            None => texts.iter().map(Vec::len).max().unwrap_or(0),
            Some(_) => self.position_embeddings.len() / self.width,
        };
        let mut rows = Vec::with_capacity(texts.len() * length * self.width);
        for text in texts {
            assert!(!text.is_empty(), "a text has at least its end");
            // Without a token for it, it is all the same what fills up shorter texts.
            let rest = self.padding.or(text.last().copied()).into_iter();
            let filled = text.iter().copied().chain(rest.cycle()).take(length);
            for (token, place) in filled.zip(self.position_embeddings.chunks_exact(self.width)) {
                let word = &self.token_embeddings[token as usize * self.width..][..self.width];
                rows.extend(word.iter().zip(place).map(|(word, place)| word + place));
            }
        }
        let rows = TensorData::new(rows, [texts.len() * length, self.width]);
        let tokens = Tensor::from_data(rows, &self.device);
        let end_rows: Vec<usize> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let last = match self.padding {
                    None => text.len(),
                    Some(_) => length,
                };
                i * length + last - 1
            })
            .collect();
        let ends = self.blocks.forward(tokens, texts.len(), Some(&end_rows));
        self.projection.forward(self.post_norm.forward(ends))
    }
}
