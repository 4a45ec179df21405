//! Operations of transformers other than linear layers, and their steps.

use super::row_form::RowForm;
use super::transformer_steps::{
    AttentionStep, EmbedTokensStep, NormalizeStep, PooledAttentionStep, SelectRowStep,
};
use crate::attention::PooledAttention;
use crate::layer_norm::LayerNormWeights;
use crate::simd::Simd;
use crate::step::{RowsSlot, Slot, Step};
use crate::tokens::{RowPlace, TokenEmbedding};

/// An operation on rows.
pub(crate) enum TransformerOperation {
    /// From a map to rows.
    Tokens {
        prefix: Vec<f32>,
        positions: Vec<f32>,
    },
    LayerNorm {
        gamma: Vec<f32>,
        beta: Vec<f32>,
        epsilon: f32,
    },
    Attention {
        heads: usize,
        is_causal: bool,
    },
    PooledAttention {
        query: Vec<f32>,
        heads: usize,
    },
    SelectRow(RowPlace),
}

impl TransformerOperation {
    /// Returns the form in which the operation reads rows.
    pub(super) fn input_form(&self) -> RowForm {
        match self {
            Self::Tokens { .. } | Self::SelectRow(_) => RowForm::Any,
            Self::LayerNorm { .. } => RowForm::Wide,
            Self::Attention { .. } | Self::PooledAttention { .. } => RowForm::Narrow,
        }
    }

    /// Returns the form in which the operation writes rows.
    pub(super) fn output_form(&self) -> RowForm {
        match self {
            Self::Tokens { .. } => RowForm::Wide,
            Self::LayerNorm { .. } | Self::SelectRow(_) => RowForm::Any,
            Self::Attention { .. } | Self::PooledAttention { .. } => RowForm::Narrow,
        }
    }

    /// Returns the step for an input and an output.
    pub(super) fn compile<S: Simd>(&self, input: &Slot, output: &RowsSlot) -> Box<dyn Step<S>> {
        let output = *output;
        match self {
            Self::Tokens { prefix, positions } => Box::new(EmbedTokensStep {
                embedding: TokenEmbedding::new(prefix, positions, output.width),
                input: input.map(),
                output,
            }),
            Self::LayerNorm {
                gamma,
                beta,
                epsilon,
            } => Box::new(NormalizeStep {
                norm: LayerNormWeights::new(gamma, beta, *epsilon),
                input: input.rows(),
                output,
            }),
            Self::Attention { heads, is_causal } => Box::new(AttentionStep {
                input: input.rows(),
                output,
                heads: *heads,
                is_causal: *is_causal,
            }),
            Self::PooledAttention { query, heads } => Box::new(PooledAttentionStep {
                attention: PooledAttention::new(query, *heads),
                input: input.rows(),
                output,
            }),
            Self::SelectRow(place) => Box::new(SelectRowStep {
                place: *place,
                input: input.rows(),
                output,
            }),
        }
    }
}
