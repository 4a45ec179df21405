//! SigLIP's image tower (SigLIP 2 has the same) with the tensor names of transformers; its text
//! tower is in [`super::text`].
//!
//! There is no class token: behind the blocks, a learned query attends to all patches ("multihead
//! attention pooling", Zhai et al., Scaling Vision Transformers, 2022), and what it finds goes
//! through a small network of its own. The query is the same for every picture, so it is computed
//! once, at load.

use burn::tensor::{Device, Tensor, TensorData, module, ops::AttentionModuleOptions};

use super::{
    linear::{LayerNorm, Linear, Plain},
    patches::{Patches, Places},
    positions,
    transformer::{Names, Transformer},
};
use crate::{
    description::{Activation, VisionTower},
    weights::Weights,
};

#[derive(Debug)]
pub(super) struct ImageTower {
    patches: Patches,
    blocks: Transformer,
    behind: LayerNorm,
    pool: Pool,
}

impl ImageTower {
    /// For pictures of `side` pixels, whatever side the positions were learned for.
    pub(super) fn load(
        weights: &Weights,
        tower: &VisionTower,
        side: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let width = tower.blocks.width;
        let patch = "vision_model.embeddings.patch_embedding";
        let places = places(weights, tower, side)?;
        let behind = "vision_model.post_layernorm";
        Ok(Self {
            patches: Patches::load(weights, patch, true, places, tower, device)?,
            blocks: Transformer::load(
                weights,
                "vision_model.encoder.layers.",
                Names::Transformers,
                &tower.blocks,
                false,
                device,
            )?,
            behind: LayerNorm::load(weights, behind, width, tower.blocks.norm_epsilon, device)?,
            pool: Pool::load(weights, "vision_model.head", tower, device)?,
        })
    }

    /// `[n, 3, side, side]` → `[n, width]`, of any length.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let pictures = input.dims()[0];
        let tokens = self.patches.forward(input);
        let tokens = self.blocks.forward(tokens, pictures, None);
        self.pool.forward(self.behind.forward(tokens), pictures)
    }
}

/// The places of the patches; there are no other tokens.
fn places(weights: &Weights, tower: &VisionTower, side: usize) -> Result<Places, String> {
    let width = tower.blocks.width;
    let name = "vision_model.embeddings.position_embedding.weight";
    let learned = weights.shape(name)?.first().copied().unwrap_or(0);
    let patches = weights.get(name, &[learned, width])?;
    Ok(Places {
        front: Vec::new(),
        patches: positions::of_square(name, &patches, width, side / tower.patch)?,
    })
}

/// Many rows → one.
#[derive(Debug)]
struct Pool {
    /// `[1, heads, 1, width / heads]`.
    query: Tensor<4>,
    /// Side by side.
    keys_and_values: Linear,
    attended: Linear,
    before_mlp: LayerNorm,
    widen: Linear,
    narrow: Linear,
    activation: Activation,
}

impl Pool {
    fn load(
        weights: &Weights,
        name: &str,
        tower: &VisionTower,
        device: &Device,
    ) -> Result<Self, String> {
        let shape = &tower.blocks;
        let width = shape.width;
        let name = |part: &str| format!("{name}.{part}");
        // Queries, keys and values, as PyTorch's attention stores them.
        let projection = name("attention.in_proj");
        let mut weight = weights.get(&format!("{projection}_weight"), &[3 * width, width])?;
        let mut bias = weights.get(&format!("{projection}_bias"), &[3 * width])?;
        let rest = (weight.split_off(width * width), bias.split_off(width));
        let probe = weights.get(&name("probe"), &[1, 1, width])?;
        let query: Vec<f32> = weight
            .chunks_exact(width)
            .zip(&bias)
            .map(|(row, bias)| row.iter().zip(&probe).map(|(a, b)| a * b).sum::<f32>() + bias)
            .collect();
        if !query.iter().all(|value| value.is_finite()) {
            return Err(format!("{projection} holds numbers that are not finite"));
        }
        let query = TensorData::new(query, [1, shape.heads, 1, width / shape.heads]);
        let linear = |part: &str, inputs, outputs| {
            Linear::load(weights, &name(part), inputs, outputs, device)
        };
        Ok(Self {
            query: Tensor::from_data(query, device),
            keys_and_values: Plain::new(&projection, width, 2 * width, rest.0, rest.1)?.on(device),
            attended: linear("attention.out_proj", width, width)?,
            before_mlp: LayerNorm::load(
                weights,
                &name("layernorm"),
                width,
                shape.norm_epsilon,
                device,
            )?,
            widen: linear("mlp.fc1", width, shape.mlp)?,
            narrow: linear("mlp.fc2", shape.mlp, width)?,
            activation: shape.activation,
        })
    }

    /// `[pictures * tokens, width]` → `[pictures, width]`.
    fn forward(&self, tokens: Tensor<2>, pictures: usize) -> Tensor<2> {
        let [rows, width] = tokens.dims();
        let [_, heads, _, head] = self.query.dims();
        let both = self.keys_and_values.forward(tokens);
        let part = |i: usize| {
            both.clone()
                .narrow(1, i * width, width)
                .reshape([pictures, rows / pictures, heads, head])
                .swap_dims(1, 2)
        };
        let query = self.query.clone().repeat_dim(0, pictures);
        let options = AttentionModuleOptions::default();
        let found = module::attention(query, part(0), part(1), None, None, options)
            .reshape([pictures, width]);
        let x = self.attended.forward(found);
        let wide = self.widen.forward(self.before_mlp.forward(x.clone()));
        x + self.narrow.forward(self.activation.apply(wide))
    }
}
