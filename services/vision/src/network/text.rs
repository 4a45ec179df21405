//! The text encoders of CLIP and SigLIP with the tensor names of transformers: tokens → vectors in the
//! same space as images.
//!
//! CLIP's attention is causal, so the end token has seen the whole text: its output is the text's
//! feature, whatever follows it. SigLIP's attention is not causal. Each of its texts is padded to all
//! positions, and the output at the last position is the feature.

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    layers::linear::{LayerNorm, Linear, LinearWeights},
    layers::transformer::{TensorNames, Transformer},
};
use crate::{model::towers::TextTower, model::weights::Weights};

#[derive(Debug)]
pub(super) struct TextNetwork {
    /// One row per token of the vocabulary. Stays in main memory, because a text needs few rows.
    token_embeddings: Vec<f32>,
    /// One row per position in a text.
    position_embeddings: Vec<f32>,
    width: usize,
    /// The token that pads texts to all positions, if the model requires it.
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
                return Err(format!("{name} contains numbers that are not finite"));
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

    /// Returns `[n, dimension]`, not normalised. Each text has its tokens up to the end token: at least
    /// one, at most one per position, all of the vocabulary.
    pub(super) fn forward(&self, texts: &[Vec<u32>]) -> Tensor<2> {
        let length = match self.padding {
            None => texts.iter().map(Vec::len).max().unwrap_or(0),
            Some(_) => self.position_embeddings.len() / self.width,
        };
        let mut rows = Vec::with_capacity(texts.len() * length * self.width);
        for text in texts {
            assert!(!text.is_empty(), "a text has at least the end token");
            // Without a padding token, any token may fill shorter texts.
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
