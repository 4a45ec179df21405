//! Builder methods for the operations of transformers.

use super::builder::{ProgramBuilder, check_length};
use super::operation::{ProgramOperation, Value, ValueShape};
use super::transformer::TransformerOperation;
use crate::tokens::RowPlace;

impl ProgramBuilder {
    /// Adds the rows of a transformer for the map of an image's patches: the rows of `prefix` (class token and
    /// registers, with their positions added), then a row per patch, to which its row of `positions` is added. The
    /// patches follow each other line by line.
    pub fn tokens(
        &mut self,
        map: Value,
        prefix: &[f32],
        positions: &[f32],
    ) -> Result<Value, String> {
        let (height, width, channels) = self.map_shape(map, "turn into tokens")?;
        check_length(
            "the positions of patches",
            positions,
            height * width * channels,
        )?;
        if !prefix.len().is_multiple_of(channels) {
            return Err(format!(
                "the tokens before the patches have {} numbers: they need rows of {channels}",
                prefix.len()
            ));
        }
        let shape = ValueShape::Rows {
            rows: prefix.len() / channels + height * width,
            width: channels,
            is_variable: false,
        };
        let operation = TransformerOperation::Tokens {
            prefix: prefix.to_vec(),
            positions: positions.to_vec(),
        };
        Ok(self.push(ProgramOperation::Transformer(operation), vec![map], shape))
    }

    /// Adds a layer normalisation (Ba et al., 2016): each row gets the mean 0 and the variance 1, then the factor `gamma`
    /// and the offset `beta` of each column. `epsilon` is added to the variance.
    pub fn layer_norm(
        &mut self,
        input: Value,
        gamma: &[f32],
        beta: &[f32],
        epsilon: f32,
    ) -> Result<Value, String> {
        let (_, width, _) = self.rows_shape(input, "normalise")?;
        check_length("the factor of a layer norm", gamma, width)?;
        check_length("the offset of a layer norm", beta, width)?;
        let operation = TransformerOperation::LayerNorm {
            gamma: gamma.to_vec(),
            beta: beta.to_vec(),
            epsilon,
        };
        let shape = self.shape(input);
        Ok(self.push(ProgramOperation::Transformer(operation), vec![input], shape))
    }

    /// Adds attention of all rows to each other: `softmax(Q Kᵀ / √d) V` for each of `heads` heads of `d` columns.
    /// `qkv` has the queries of all heads, then the keys, then the values. If `is_causal`, a row attends only to itself
    /// and the rows before it.
    pub fn attention(
        &mut self,
        qkv: Value,
        heads: usize,
        is_causal: bool,
    ) -> Result<Value, String> {
        let (rows, width, is_variable) = self.rows_shape(qkv, "attend to")?;
        if heads == 0 || width == 0 || !width.is_multiple_of(3 * heads) {
            return Err(format!(
                "cannot divide rows of {width} numbers into queries, keys and values of {heads} heads"
            ));
        }
        let shape = ValueShape::Rows {
            rows,
            width: width / 3,
            is_variable,
        };
        let operation = TransformerOperation::Attention { heads, is_causal };
        Ok(self.push(ProgramOperation::Transformer(operation), vec![qkv], shape))
    }

    /// Adds attention of a constant query to all rows of an image: 1 row. `keys_values` has the keys of all heads, then
    /// the values, and `query` as many numbers as the keys.
    pub fn pooled_attention(
        &mut self,
        keys_values: Value,
        query: &[f32],
        heads: usize,
    ) -> Result<Value, String> {
        let (_, width, _) = self.rows_shape(keys_values, "attend to")?;
        if heads == 0 || width == 0 || !width.is_multiple_of(2 * heads) {
            return Err(format!(
                "cannot divide rows of {width} numbers into keys and values of {heads} heads"
            ));
        }
        check_length("the query of an attention", query, width / 2)?;
        let operation = TransformerOperation::PooledAttention {
            query: query.to_vec(),
            heads,
        };
        let shape = ValueShape::Rows {
            rows: 1,
            width: width / 2,
            is_variable: false,
        };
        Ok(self.push(
            ProgramOperation::Transformer(operation),
            vec![keys_values],
            shape,
        ))
    }

    /// Adds one row of each image or text. Later operations compute 1 row.
    pub fn select_row(&mut self, input: Value, place: RowPlace) -> Result<Value, String> {
        let (_, width, _) = self.rows_shape(input, "select a row of")?;
        let shape = ValueShape::Rows {
            rows: 1,
            width,
            is_variable: false,
        };
        let operation = TransformerOperation::SelectRow(place);
        Ok(self.push(ProgramOperation::Transformer(operation), vec![input], shape))
    }
}
