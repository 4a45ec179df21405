//! CLIP with the tensor names of transformers: an image tower and a text tower that lead into one
//! space.

use burn::tensor::{Device, Tensor, TensorData};

use super::{
    linear::{LayerNorm, Linear, Plain},
    patches::{Patches, Places},
    positions,
    transformer::{Names, Transformer},
};
use crate::{
    description::{TextTower, VisionTower},
    weights::Weights,
};

/// Pictures → vectors.
#[derive(Debug)]
pub(super) struct ImageTower {
    patches: Patches,
    before: LayerNorm,
    blocks: Transformer,
    behind: LayerNorm,
    projection: Linear,
}

impl ImageTower {
    /// For pictures of `side` pixels, whatever side the positions were learned for.
    pub(super) fn load(
        weights: &Weights,
        tower: &VisionTower,
        dimension: usize,
        side: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let (width, epsilon) = (tower.blocks.width, tower.blocks.norm_epsilon);
        let name = |part: &str| format!("vision_model.{part}");
        let norm = |part: &str| LayerNorm::load(weights, &name(part), width, epsilon, device);
        let places = places(weights, tower, side)?;
        let patch = name("embeddings.patch_embedding");
        let projection = Plain::load_without_bias(weights, "visual_projection", width, dimension)?;
        Ok(Self {
            patches: Patches::load(weights, &patch, None, places, tower, device)?,
            // The source misspells it.
            before: norm("pre_layrnorm")?,
            blocks: Transformer::load(
                weights,
                &name("encoder.layers."),
                Names::Transformers,
                &tower.blocks,
                false,
                device,
            )?,
            behind: norm("post_layernorm")?,
            projection: projection.on(device),
        })
    }

    /// `[n, 3, side, side]` → `[n, dimension]`, of any length.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let pictures = input.dims()[0];
        let tokens = self.before.forward(self.patches.forward(input));
        let classes = self.patches.first_rows(pictures);
        let classes = self.blocks.forward(tokens, pictures, &classes);
        self.projection.forward(self.behind.forward(classes))
    }
}

/// The class token with its place, and the places of the patches.
fn places(weights: &Weights, tower: &VisionTower, side: usize) -> Result<Places, String> {
    let width = tower.blocks.width;
    let mut front = weights.get("vision_model.embeddings.class_embedding", &[width])?;
    let name = "vision_model.embeddings.position_embedding.weight";
    let learned = weights.shape(name)?.first().copied().unwrap_or(0);
    let mut patches = weights.get(name, &[learned, width])?;
    let learned_side = learned.saturating_sub(1).isqrt();
    if learned < 2 || learned_side * learned_side + 1 != learned {
        return Err(format!(
            "{name} holds {learned} places, which is no square and one"
        ));
    }
    for (token, place) in front.iter_mut().zip(patches.drain(..width)) {
        *token += place;
    }
    let patches = positions::resample(&patches, width, learned_side, side / tower.patch);
    Ok(Places { front, patches })
}

/// Tokens → vectors.
#[derive(Debug)]
pub(super) struct TextNetwork {
    /// A row for each word of the vocabulary; it stays with the CPU, which picks a few of them.
    words: Vec<f32>,
    /// A row for each place in a text.
    places: Vec<f32>,
    width: usize,
    blocks: Transformer,
    behind: LayerNorm,
    projection: Linear,
    device: Device,
}

impl TextNetwork {
    pub(super) fn load(
        weights: &Weights,
        tower: &TextTower,
        dimension: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let width = tower.blocks.width;
        let name = |part: &str| format!("text_model.{part}");
        let table = |part: &str, rows| {
            let name = name(&format!("embeddings.{part}.weight"));
            let numbers = weights.get(&name, &[rows, width])?;
            if !numbers.iter().all(|value| value.is_finite()) {
                return Err(format!("{name} holds numbers that are not finite"));
            }
            Ok(numbers)
        };
        let behind = name("final_layer_norm");
        Ok(Self {
            words: table("token_embedding", tower.vocabulary)?,
            places: table("position_embedding", tower.positions)?,
            width,
            blocks: Transformer::load(
                weights,
                &name("encoder.layers."),
                Names::Transformers,
                &tower.blocks,
                true,
                device,
            )?,
            behind: LayerNorm::load(weights, &behind, width, tower.blocks.norm_epsilon, device)?,
            projection: Plain::load_without_bias(weights, "text_projection", width, dimension)?
                .on(device),
            device: device.clone(),
        })
    }

    /// `[n, dimension]`, of any length, from each text's tokens: those up to its end, at least
    /// one, at most as many as there are places, none beyond the vocabulary.
    pub(super) fn forward(&self, texts: &[Vec<u32>]) -> Tensor<2> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let mut rows = Vec::with_capacity(texts.len() * longest * self.width);
        for text in texts {
            assert!(!text.is_empty(), "a text has at least its end");
            // No token sees those behind it, so it is all the same what fills up shorter texts.
            let last = text.last().copied().into_iter();
            let filled = text.iter().copied().chain(last.cycle()).take(longest);
            for (token, place) in filled.zip(self.places.chunks_exact(self.width)) {
                let word = &self.words[token as usize * self.width..][..self.width];
                rows.extend(word.iter().zip(place).map(|(word, place)| word + place));
            }
        }
        let rows = TensorData::new(rows, [texts.len() * longest, self.width]);
        let tokens = Tensor::from_data(rows, &self.device);
        let ends: Vec<usize> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| i * longest + text.len() - 1)
            .collect();
        let ends = self.blocks.forward(tokens, texts.len(), &ends);
        self.projection.forward(self.behind.forward(ends))
    }
}
