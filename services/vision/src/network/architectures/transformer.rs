//! A stack of transformer blocks, shared by all image and text transformers.
//!
//! Queries, keys and values come from one matrix product.

use crate::{
    model::towers::TransformerShape,
    network::graph::{NodeId, builder::GraphBuilder},
};

/// Names of a block's tensors, which depend on the source of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorNames {
    /// `norm1`, `attn.qkv`, `attn.proj`, `ls1`, `norm2`, `mlp.fc1`, `mlp.fc2`, `ls2`.
    Timm,
    /// `layer_norm1`, `self_attn.{q,k,v}_proj`, `self_attn.out_proj`, `layer_norm2`, `mlp.fc1`,
    /// `mlp.fc2`.
    Transformers,
}

/// Reads the blocks `{prefix}0`, `{prefix}1`, …. If `is_causal`, a token attends only to itself and
/// earlier tokens.
pub(super) fn append_transformer(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    prefix: &str,
    names: TensorNames,
    shape: &TransformerShape,
    is_causal: bool,
) -> Result<NodeId, String> {
    (0..shape.depth).try_fold(input, |rows, i| {
        append_block(
            builder,
            rows,
            &format!("{prefix}{i}"),
            names,
            shape,
            is_causal,
        )
    })
}

fn append_block(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    block: &str,
    names: TensorNames,
    shape: &TransformerShape,
    is_causal: bool,
) -> Result<NodeId, String> {
    let width = shape.width;
    let name = |part: &str| format!("{block}.{part}");
    let (attention_norm, qkv, output_projection, mlp_norm) = match names {
        TensorNames::Timm => ("norm1", vec![name("attn.qkv")], "attn.proj", "norm2"),
        TensorNames::Transformers => (
            "layer_norm1",
            ["q", "k", "v"]
                .map(|part| name(&format!("self_attn.{part}_proj")))
                .to_vec(),
            "self_attn.out_proj",
            "layer_norm2",
        ),
    };
    let normed = builder.layer_norm(input, &name(attention_norm), shape.norm_epsilon)?;
    let qkv = builder.joined_linear(normed, &qkv, 3 * width / qkv.len())?;
    let attended = builder.attention(qkv, shape.heads, is_causal)?;
    let mut branch = builder.linear(attended, &name(output_projection), width)?;
    if shape.layer_scale {
        branch = builder.layer_scale(branch, &name("ls1.gamma"))?;
    }
    let rows = builder.add(input, branch)?;
    let normed = builder.layer_norm(rows, &name(mlp_norm), shape.norm_epsilon)?;
    let mut branch = append_mlp(builder, normed, &name("mlp"), shape)?;
    if shape.layer_scale {
        branch = builder.layer_scale(branch, &name("ls2.gamma"))?;
    }
    builder.add(rows, branch)
}

/// Two linear layers, `name.fc1` and `name.fc2`, with the activation between them.
pub(super) fn append_mlp(
    builder: &mut GraphBuilder<'_>,
    input: NodeId,
    name: &str,
    shape: &TransformerShape,
) -> Result<NodeId, String> {
    let wide = builder.linear(input, &format!("{name}.fc1"), shape.mlp)?;
    let wide = builder.activation(wide, shape.activation)?;
    builder.linear(wide, &format!("{name}.fc2"), shape.width)
}
