//! SigLIP's image encoder (the same in SigLIP 2) with the tensor names of transformers. Its text
//! encoder is in [`super::text`].
//!
//! There is no class token. After the blocks, a learned query attends to all patches ("multihead
//! attention pooling", Zhai et al., Scaling Vision Transformers, 2022), and an MLP processes the result.
//! The query is the same for every image, so it is computed once, at load.

use burn::tensor::{Device, Tensor, TensorData, module, ops::AttentionModuleOptions};

use super::{
    layers::linear::{LayerNorm, Linear, LinearWeights},
    layers::patches::{PatchEmbedding, PositionEmbeddings},
    layers::positions,
    layers::transformer::{TensorNames, Transformer},
};
use crate::{
    model::towers::{Activation, VisionTower},
    model::weights::Weights,
};

#[derive(Debug)]
pub(super) struct SiglipImageTower {
    patches: PatchEmbedding,
    blocks: Transformer,
    post_norm: LayerNorm,
    pool: AttentionPool,
}

impl SiglipImageTower {
    /// Loads the network for images of `side` pixels. The positions may have been learned for another
    /// side.
    pub(super) fn from_weights(
        weights: &Weights,
        tower: &VisionTower,
        side: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let width = tower.shape.width;
        let patch = "vision_model.embeddings.patch_embedding";
        let positions = load_positions(weights, tower, side)?;
        let norm_name = "vision_model.post_layernorm";
        Ok(Self {
            patches: PatchEmbedding::from_weights(weights, patch, true, positions, tower, device)?,
            blocks: Transformer::from_weights(
                weights,
                "vision_model.encoder.layers.",
                TensorNames::Transformers,
                &tower.shape,
                false,
                device,
            )?,
            post_norm: LayerNorm::from_weights(
                weights,
                norm_name,
                width,
                tower.shape.norm_epsilon,
                device,
            )?,
            pool: AttentionPool::from_weights(weights, "vision_model.head", tower, device)?,
        })
    }

    /// `[n, 3, side, side]` → `[n, width]`, not normalised.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let images = input.dims()[0];
        let tokens = self.patches.forward(input);
        let tokens = self.blocks.forward(tokens, images, None);
        self.pool.forward(self.post_norm.forward(tokens), images)
    }
}

/// Loads the positions of the patches. There are no other tokens.
fn load_positions(
    weights: &Weights,
    tower: &VisionTower,
    side: usize,
) -> Result<PositionEmbeddings, String> {
    let width = tower.shape.width;
    let name = "vision_model.embeddings.position_embedding.weight";
    let learned_count = weights.tensor_shape(name)?.first().copied().unwrap_or(0);
    let patches = weights.read_tensor(name, &[learned_count, width])?;
    Ok(PositionEmbeddings {
        prefix_tokens: Vec::new(),
        patch_positions: positions::resample_to_square(name, &patches, width, side / tower.patch)?,
    })
}

/// Pools the rows of an image to one row.
#[derive(Debug)]
struct AttentionPool {
    /// `[1, heads, 1, width / heads]`.
    query: Tensor<4>,
    /// Keys and values, concatenated.
    key_value_projection: Linear,
    output_projection: Linear,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
    activation: Activation,
}

impl AttentionPool {
    fn from_weights(
        weights: &Weights,
        name: &str,
        tower: &VisionTower,
        device: &Device,
    ) -> Result<Self, String> {
        let shape = &tower.shape;
        let width = shape.width;
        let name = |part: &str| format!("{name}.{part}");
        // PyTorch's attention stores queries, keys and values in one tensor.
        let projection = name("attention.in_proj");
        let mut weight =
            weights.read_tensor(&format!("{projection}_weight"), &[3 * width, width])?;
        let mut bias = weights.read_tensor(&format!("{projection}_bias"), &[3 * width])?;
        let rest = (weight.split_off(width * width), bias.split_off(width));
        let probe = weights.read_tensor(&name("probe"), &[1, 1, width])?;
        let query: Vec<f32> = weight
            .chunks_exact(width)
            .zip(&bias)
            .map(|(row, bias)| row.iter().zip(&probe).map(|(a, b)| a * b).sum::<f32>() + bias)
            .collect();
        if !query.iter().all(|value| value.is_finite()) {
            return Err(format!("{projection} contains numbers that are not finite"));
        }
        let query = TensorData::new(query, [1, shape.heads, 1, width / shape.heads]);
        let linear = |part: &str, inputs, outputs| {
            Linear::from_weights(weights, &name(part), inputs, outputs, device)
        };
        Ok(Self {
            query: Tensor::from_data(query, device),
            key_value_projection: LinearWeights::new(
                &projection,
                width,
                2 * width,
                rest.0,
                rest.1,
            )?
            .to_device(device),
            output_projection: linear("attention.out_proj", width, width)?,
            mlp_norm: LayerNorm::from_weights(
                weights,
                &name("layernorm"),
                width,
                shape.norm_epsilon,
                device,
            )?,
            mlp_in: linear("mlp.fc1", width, shape.mlp)?,
            mlp_out: linear("mlp.fc2", shape.mlp, width)?,
            activation: shape.activation,
        })
    }

    /// `[images * tokens, width]` → `[images, width]`.
    fn forward(&self, tokens: Tensor<2>, images: usize) -> Tensor<2> {
        let [rows, width] = tokens.dims();
        let [_, heads, _, head] = self.query.dims();
        let both = self.key_value_projection.forward(tokens);
        let part = |i: usize| {
            both.clone()
                .narrow(1, i * width, width)
                .reshape([images, rows / images, heads, head])
                .swap_dims(1, 2)
        };
        let query = self.query.clone().repeat_dim(0, images);
        let options = AttentionModuleOptions::default();
        let pooled = module::attention(query, part(0), part(1), None, None, options)
            .reshape([images, width]);
        let x = self.output_projection.forward(pooled);
        let wide = self.mlp_in.forward(self.mlp_norm.forward(x.clone()));
        x + self.mlp_out.forward(self.activation.apply_to_tensor(wide))
    }
}
