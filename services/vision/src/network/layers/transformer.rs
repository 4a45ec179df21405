//! A stack of transformer blocks, shared by all image and text transformers.
//!
//! Queries, keys and values come from one matrix product. Layer scales are folded into the layer before
//! them. The rows of all sequences are concatenated, and only attention separates the sequences.

use burn::tensor::{Device, Int, Tensor, module, ops::AttentionModuleOptions};

use super::linear::{LayerNorm, Linear, LinearWeights};
use crate::{
    model::towers::{Activation, TransformerShape},
    model::weights::Weights,
};

/// Names of a block's tensors, which depend on the source of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) enum TensorNames {
    /// `norm1`, `attn.qkv`, `attn.proj`, `ls1`, `norm2`, `mlp.fc1`, `mlp.fc2`, `ls2`.
    Timm,
    /// `layer_norm1`, `self_attn.{q,k,v}_proj`, `self_attn.out_proj`, `layer_norm2`, `mlp.fc1`,
    /// `mlp.fc2`.
    Transformers,
}

#[derive(Debug)]
pub(in crate::network) struct Transformer {
    blocks: Vec<TransformerBlock>,
    heads: usize,
    activation: Activation,
    is_causal: bool,
}

#[derive(Debug)]
struct TransformerBlock {
    attention_norm: LayerNorm,
    /// Queries, keys and values, concatenated.
    qkv_projection: Linear,
    output_projection: Linear,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
}

impl Transformer {
    /// Reads the blocks `{prefix}0`, `{prefix}1`, …, at least one. If `is_causal`, a token attends only
    /// to itself and earlier tokens.
    pub(in crate::network) fn from_weights(
        weights: &Weights,
        prefix: &str,
        names: TensorNames,
        shape: &TransformerShape,
        is_causal: bool,
        device: &Device,
    ) -> Result<Self, String> {
        let blocks = (0..shape.depth)
            .map(|i| {
                TransformerBlock::from_weights(
                    weights,
                    &format!("{prefix}{i}"),
                    names,
                    shape,
                    device,
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        assert!(
            !blocks.is_empty(),
            "a description with the depth 0 is rejected"
        );
        Ok(Self {
            blocks,
            heads: shape.heads,
            activation: shape.activation,
            is_causal,
        })
    }

    /// `[sequences * tokens, width]` → the same, or only the rows `output_rows`.
    ///
    /// After the attention of the last block the rows are independent of each other, so only
    /// `output_rows` are computed further.
    pub(in crate::network) fn forward(
        &self,
        input: Tensor<2>,
        sequences: usize,
        output_rows: Option<&[usize]>,
    ) -> Tensor<2> {
        let rows = output_rows.map(|wanted| {
            let rows: Vec<i32> = wanted.iter().map(|row| *row as i32).collect();
            Tensor::<1, Int>::from_data(rows.as_slice(), &input.device())
        });
        let last = self.blocks.len() - 1;
        self.blocks.iter().enumerate().fold(input, |x, (i, block)| {
            let normed = block.attention_norm.forward(x.clone());
            let attended = self.compute_attention(block.qkv_projection.forward(normed), sequences);
            let (x, attended) = match &rows {
                Some(rows) if i == last => {
                    (x.select(0, rows.clone()), attended.select(0, rows.clone()))
                }
                _ => (x, attended),
            };
            let x = x + block.output_projection.forward(attended);
            let normed = block.mlp_norm.forward(x.clone());
            let wide = self
                .activation
                .apply_to_tensor(block.mlp_in.forward(normed));
            x + block.mlp_out.forward(wide)
        })
    }

    /// `[sequences * tokens, 3 * width]` → `[sequences * tokens, width]`.
    fn compute_attention(&self, qkv: Tensor<2>, sequences: usize) -> Tensor<2> {
        let [rows, three_widths] = qkv.dims();
        let width = three_widths / 3;
        let (tokens, head) = (rows / sequences, width / self.heads);
        let part = |i: usize| {
            qkv.clone()
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

impl TransformerBlock {
    fn from_weights(
        weights: &Weights,
        name: &str,
        names: TensorNames,
        shape: &TransformerShape,
        device: &Device,
    ) -> Result<Self, String> {
        let (width, inner) = (shape.width, shape.mlp);
        let linear = |part: &str, inputs, outputs| {
            LinearWeights::from_weights(weights, &format!("{name}.{part}"), inputs, outputs)
        };
        let norm = |part: &str| {
            let name = format!("{name}.{part}");
            LayerNorm::from_weights(weights, &name, width, shape.norm_epsilon, device)
        };
        let scale = |part: &str, layer: LinearWeights| -> Result<LinearWeights, String> {
            if !shape.layer_scale {
                return Ok(layer);
            }
            let factors = weights.read_tensor(&format!("{name}.{part}.gamma"), &[width])?;
            Ok(layer.scale_outputs(&factors))
        };
        let (qkv, output, attention_norm, mlp_norm) = match names {
            TensorNames::Timm => (
                linear("attn.qkv", width, 3 * width)?,
                linear("attn.proj", width, width)?,
                norm("norm1")?,
                norm("norm2")?,
            ),
            TensorNames::Transformers => (
                linear("self_attn.q_proj", width, width)?
                    .concat_outputs(linear("self_attn.k_proj", width, width)?)
                    .concat_outputs(linear("self_attn.v_proj", width, width)?),
                linear("self_attn.out_proj", width, width)?,
                norm("layer_norm1")?,
                norm("layer_norm2")?,
            ),
        };
        Ok(Self {
            attention_norm,
            qkv_projection: qkv.to_device(device),
            output_projection: scale("ls1", output)?.to_device(device),
            mlp_norm,
            mlp_in: linear("mlp.fc1", width, inner)?.to_device(device),
            mlp_out: scale("ls2", linear("mlp.fc2", inner, width)?)?.to_device(device),
        })
    }
}
