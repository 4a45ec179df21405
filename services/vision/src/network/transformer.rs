//! A stack of transformer blocks, as every vision or text transformer here has it: what is before
//! and behind differs, the blocks do not.
//!
//! Queries, keys and values come from one product; a layer scale is folded into the layer before
//! it. Rows of all sequences lie one behind the other, and only attention tells them apart.

use burn::tensor::{Device, Int, Tensor, module, ops::AttentionModuleOptions};

use super::linear::{LayerNorm, Linear, Plain};
use crate::{
    description::{Activation, Blocks},
    weights::Weights,
};

/// How a source names the tensors of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// `norm1`, `attn.qkv`, `attn.proj`, `ls1`, `norm2`, `mlp.fc1`, `mlp.fc2`, `ls2`.
    Timm,
    /// `layer_norm1`, `self_attn.q_proj` and its like, `self_attn.out_proj`, `layer_norm2`,
    /// `mlp.fc1`, `mlp.fc2`.
    Transformers,
}

#[derive(Debug)]
pub(super) struct Transformer {
    blocks: Vec<Block>,
    heads: usize,
    activation: Activation,
    is_causal: bool,
}

#[derive(Debug)]
struct Block {
    before_attention: LayerNorm,
    /// Queries, keys and values, side by side.
    attend: Linear,
    attended: Linear,
    before_mlp: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

impl Transformer {
    /// Blocks `{prefix}0`, `{prefix}1`, …, at least one; in a causal one, no token sees those behind
    /// it.
    pub(super) fn load(
        weights: &Weights,
        prefix: &str,
        names: Names,
        shape: &Blocks,
        is_causal: bool,
        device: &Device,
    ) -> Result<Self, String> {
        let blocks = (0..shape.depth)
            .map(|i| Block::load(weights, &format!("{prefix}{i}"), names, shape, device))
            .collect::<Result<Vec<_>, _>>()?;
        assert!(!blocks.is_empty(), "a description with no depth is refused");
        Ok(Self {
            blocks,
            heads: shape.heads,
            activation: shape.activation,
            is_causal,
        })
    }

    /// `[sequences * tokens, width]` → the same, or only its rows `wanted`.
    ///
    /// Behind the attention of the last block rows have nothing to do with each other any more, so
    /// only those that are wanted go on.
    pub(super) fn forward(
        &self,
        input: Tensor<2>,
        sequences: usize,
        wanted: Option<&[usize]>,
    ) -> Tensor<2> {
        let rows = wanted.map(|wanted| {
            let rows: Vec<i32> = wanted.iter().map(|row| *row as i32).collect();
            Tensor::<1, Int>::from_data(rows.as_slice(), &input.device())
        });
        let last = self.blocks.len() - 1;
        self.blocks.iter().enumerate().fold(input, |x, (i, block)| {
            let normed = block.before_attention.forward(x.clone());
            let attended = self.attention(block.attend.forward(normed), sequences);
            let (x, attended) = match &rows {
                Some(rows) if i == last => {
                    (x.select(0, rows.clone()), attended.select(0, rows.clone()))
                }
                _ => (x, attended),
            };
            let x = x + block.attended.forward(attended);
            let normed = block.before_mlp.forward(x.clone());
            let wide = self.activation.apply(block.widen.forward(normed));
            x + block.narrow.forward(wide)
        })
    }

    /// `[sequences * tokens, 3 * width]` → `[sequences * tokens, width]`.
    fn attention(&self, all: Tensor<2>, sequences: usize) -> Tensor<2> {
        let [rows, three_widths] = all.dims();
        let width = three_widths / 3;
        let (tokens, head) = (rows / sequences, width / self.heads);
        let part = |i: usize| {
            all.clone()
                .narrow(1, i * width, width)
                .reshape([sequences, tokens, self.heads, head])
                .swap_dims(1, 2)
        };
        let options = AttentionModuleOptions {
            is_causal: self.is_causal,
            ..AttentionModuleOptions::default()
        };
        module::attention(part(0), part(1), part(2), None, None, options)
            .swap_dims(1, 2)
            .reshape([rows, width])
    }
}

impl Block {
    fn load(
        weights: &Weights,
        name: &str,
        names: Names,
        shape: &Blocks,
        device: &Device,
    ) -> Result<Self, String> {
        let (width, inner) = (shape.width, shape.mlp);
        let plain = |part: &str, inputs, outputs| {
            Plain::load(weights, &format!("{name}.{part}"), inputs, outputs)
        };
        let norm = |part: &str| {
            let name = format!("{name}.{part}");
            LayerNorm::load(weights, &name, width, shape.norm_epsilon, device)
        };
        let scale = |part: &str, layer: Plain| -> Result<Plain, String> {
            if !shape.layer_scale {
                return Ok(layer);
            }
            let factors = weights.get(&format!("{name}.{part}.gamma"), &[width])?;
            Ok(layer.scaled(&factors))
        };
        let (attend, attended, before_attention, before_mlp) = match names {
            Names::Timm => (
                plain("attn.qkv", width, 3 * width)?,
                plain("attn.proj", width, width)?,
                norm("norm1")?,
                norm("norm2")?,
            ),
            Names::Transformers => (
                plain("self_attn.q_proj", width, width)?
                    .beside(plain("self_attn.k_proj", width, width)?)
                    .beside(plain("self_attn.v_proj", width, width)?),
                plain("self_attn.out_proj", width, width)?,
                norm("layer_norm1")?,
                norm("layer_norm2")?,
            ),
        };
        Ok(Self {
            before_attention,
            attend: attend.on(device),
            attended: scale("ls1", attended)?.on(device),
            before_mlp,
            widen: plain("mlp.fc1", width, inner)?.on(device),
            narrow: scale("ls2", plain("mlp.fc2", inner, width)?)?.on(device),
        })
    }
}
