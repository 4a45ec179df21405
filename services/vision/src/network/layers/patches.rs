//! Patch embedding: converts an image to the tokens of a transformer. Each square patch becomes a row of
//! numbers with a position; prefix tokens, which belong to no patch, come first.

use burn::tensor::{Device, Tensor, TensorData, module::conv2d, ops::ConvOptions};

use crate::{model::towers::VisionTower, model::weights::Weights};

#[derive(Debug)]
pub(in crate::network) struct PatchEmbedding {
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    patch: usize,
    width: usize,
    /// `[1, tokens, width]`, if there are any.
    prefix_tokens: Option<Tensor<3>>,
    /// `[1, patches, width]`.
    positions: Tensor<3>,
}

/// The learned rows that do not depend on the image, each of the tower's width.
#[derive(Debug)]
pub(in crate::network) struct PositionEmbeddings {
    /// The prefix tokens with their positions added.
    pub prefix_tokens: Vec<f32>,
    pub patch_positions: Vec<f32>,
}

impl PatchEmbedding {
    /// Reads `name.weight`, which converts a patch to a row, and `name.bias` if there is one.
    pub(in crate::network) fn from_weights(
        weights: &Weights,
        name: &str,
        has_bias: bool,
        positions: PositionEmbeddings,
        tower: &VisionTower,
        device: &Device,
    ) -> Result<Self, String> {
        let (patch, width) = (tower.patch, tower.shape.width);
        let dims = [width, 3, patch, patch];
        let weight = weights.read_tensor(&format!("{name}.weight"), &dims)?;
        let bias = has_bias
            .then(|| weights.read_tensor(&format!("{name}.bias"), &[width]))
            .transpose()?;
        let mut values = weight
            .iter()
            .chain(bias.iter().flatten())
            .chain(&positions.prefix_tokens)
            .chain(&positions.patch_positions);
        if !values.all(|value| value.is_finite()) {
            return Err(format!(
                "{name}, the tokens or their positions contain numbers that are not finite"
            ));
        }
        let rows = |numbers: Vec<f32>| {
            let rows = numbers.len() / width;
            Tensor::from_data(TensorData::new(numbers, [1, rows, width]), device)
        };
        Ok(Self {
            weight: Tensor::from_data(TensorData::new(weight, dims), device),
            bias: bias.map(|bias| Tensor::from_data(TensorData::new(bias, [width]), device)),
            patch,
            width,
            prefix_tokens: (!positions.prefix_tokens.is_empty())
                .then(|| rows(positions.prefix_tokens)),
            positions: rows(positions.patch_positions),
        })
    }

    fn tokens_per_image(&self) -> usize {
        let front = self
            .prefix_tokens
            .as_ref()
            .map_or(0, |front| front.dims()[1]);
        front + self.positions.dims()[1]
    }

    /// `[n, 3, side, side]` → `[n * tokens, width]`.
    pub(in crate::network) fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let images = input.dims()[0];
        let options = ConvOptions::new([self.patch; 2], [0; 2], [1; 2], 1);
        let patches = conv2d(input, self.weight.clone(), self.bias.clone(), options)
            .flatten::<3>(2, 3)
            .swap_dims(1, 2);
        let mut tokens = patches + self.positions.clone();
        if let Some(front) = &self.prefix_tokens {
            let front = front.clone().repeat_dim(0, images);
            tokens = Tensor::cat(vec![front, tokens], 1);
        }
        tokens.reshape([images * self.tokens_per_image(), self.width])
    }

    /// Returns the row of each image's first token in the result of [`forward`](Self::forward).
    pub(in crate::network) fn first_token_rows(&self, images: usize) -> Vec<usize> {
        (0..images).map(|i| i * self.tokens_per_image()).collect()
    }
}
