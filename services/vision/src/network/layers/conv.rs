//! Layers of convolutional networks.
//!
//! Weights have the layout and names of PyTorch. A batch norm is folded into the convolution before
//! it, as plain numbers: `w · γ/√(σ²+ε)` and `β − μ · γ/√(σ²+ε)`.

use burn::tensor::{
    Device, Tensor, TensorData, activation::relu, module::conv2d, ops::ConvOptions,
};

use crate::model::weights::Weights;

const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Computes `(value / 255 − mean) / std` and converts interleaved pixels to one plane per channel.
#[derive(Debug)]
pub(in crate::network) struct PixelNormaliser {
    /// The result for every byte, per channel.
    table: [[f32; 256]; 3],
}

impl PixelNormaliser {
    pub(in crate::network) fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let mut table = [[0.0; 256]; 3];
        for (channel, values) in table.iter_mut().enumerate() {
            for (byte, value) in values.iter_mut().enumerate() {
                *value = (byte as f32 / 255.0 - mean[channel]) / std[channel];
            }
        }
        Self { table }
    }

    /// `batch * side * side * 3` bytes → `[batch, 3, side, side]`.
    pub(in crate::network) fn to_tensor(
        &self,
        pixels: &[u8],
        batch: usize,
        side: usize,
        device: &Device,
    ) -> Tensor<4> {
        let mut planes = Vec::with_capacity(pixels.len());
        for image in pixels.chunks_exact(side * side * 3) {
            for (channel, table) in self.table.iter().enumerate() {
                planes.extend(
                    image[channel..]
                        .iter()
                        .step_by(3)
                        .map(|byte| table[usize::from(*byte)]),
                );
            }
        }
        Tensor::from_data(TensorData::new(planes, [batch, 3, side, side]), device)
    }
}

/// A convolution with its batch norm folded in: `[n, in, h, w]` → `[n, out, h', w']`.
#[derive(Debug)]
pub(in crate::network) struct Conv {
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions<2>,
}

/// Channels, kernel side and stride of a convolution; padded so that stride 1 keeps the size.
#[derive(Debug, Clone, Copy)]
pub(in crate::network) struct ConvShape {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    /// 1, or the number of channels: then each channel has its own filter.
    pub groups: usize,
}

impl ConvShape {
    pub(in crate::network) fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
    ) -> Self {
        Self {
            inputs,
            outputs,
            kernel,
            stride,
            groups: 1,
        }
    }

    /// A depthwise 3 × 3 convolution.
    pub(in crate::network) fn new_depthwise(channels: usize, stride: usize) -> Self {
        Self {
            groups: channels,
            ..Self::new(channels, channels, 3, stride)
        }
    }
}

impl Conv {
    /// Reads `name.weight` and folds the batch norm `norm.{weight,bias,running_mean,running_var}` into
    /// it.
    pub(in crate::network) fn from_weights(
        weights: &Weights,
        name: &str,
        norm: &str,
        shape: ConvShape,
        device: &Device,
    ) -> Result<Self, String> {
        let ConvShape {
            inputs,
            outputs,
            kernel,
            stride,
            groups,
        } = shape;
        let inputs = inputs / groups;
        let dims = [outputs, inputs, kernel, kernel];
        let weight = weights.read_tensor(&format!("{name}.weight"), &dims)?;
        let norm_tensor = |part: &str| weights.read_tensor(&format!("{norm}.{part}"), &[outputs]);
        let (gamma, beta) = (norm_tensor("weight")?, norm_tensor("bias")?);
        let (mean, variance) = (norm_tensor("running_mean")?, norm_tensor("running_var")?);
        let scales: Vec<f64> = gamma
            .iter()
            .zip(&variance)
            .map(|(gamma, variance)| {
                f64::from(*gamma) / (f64::from(*variance) + BATCH_NORM_EPSILON).sqrt()
            })
            .collect();
        let folded: Vec<f32> = weight
            .chunks_exact(inputs * kernel * kernel)
            .zip(&scales)
            .flat_map(|(filter, scale)| filter.iter().map(move |w| (f64::from(*w) * scale) as f32))
            .collect();
        let bias: Vec<f32> = (0..outputs)
            .map(|i| (f64::from(beta[i]) - f64::from(mean[i]) * scales[i]) as f32)
            .collect();
        if !folded.iter().chain(&bias).all(|value| value.is_finite()) {
            return Err(format!(
                "{name} with {norm} contains numbers that are not finite"
            ));
        }
        let padding = kernel / 2;
        Ok(Self {
            weight: Tensor::from_data(TensorData::new(folded, dims), device),
            bias: Tensor::from_data(TensorData::new(bias, [outputs]), device),
            options: ConvOptions::new([stride; 2], [padding; 2], [1; 2], groups),
        })
    }

    pub(in crate::network) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        conv2d(
            input,
            self.weight.clone(),
            Some(self.bias.clone()),
            self.options.clone(),
        )
    }
}

/// ResNet's basic block: two 3 × 3 convolutions and a shortcut, which is a 1 × 1 convolution if the
/// shape changes.
#[derive(Debug)]
pub(in crate::network) struct BasicBlock {
    first: Conv,
    second: Conv,
    shortcut: Option<Conv>,
}

/// Names of the parts of a block's shortcut, which depend on the source of the weights.
#[derive(Debug, Clone, Copy)]
pub(in crate::network) struct ShortcutNames {
    pub conv: &'static str,
    pub norm: &'static str,
}

impl BasicBlock {
    /// Reads `name.conv1`, `name.bn1`, `name.conv2`, `name.bn2`, and the two parts of the shortcut.
    pub(in crate::network) fn from_weights(
        weights: &Weights,
        name: &str,
        shortcut: ShortcutNames,
        inputs: usize,
        outputs: usize,
        stride: usize,
        device: &Device,
    ) -> Result<Self, String> {
        let conv = |conv: &str, norm: &str, inputs, kernel, stride| {
            let shape = ConvShape::new(inputs, outputs, kernel, stride);
            let (conv, norm) = (format!("{name}.{conv}"), format!("{name}.{norm}"));
            Conv::from_weights(weights, &conv, &norm, shape, device)
        };
        Ok(Self {
            first: conv("conv1", "bn1", inputs, 3, stride)?,
            second: conv("conv2", "bn2", outputs, 3, 1)?,
            shortcut: (stride != 1 || inputs != outputs)
                .then(|| conv(shortcut.conv, shortcut.norm, inputs, 1, stride))
                .transpose()?,
        })
    }

    pub(in crate::network) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = self.second.forward(relu(self.first.forward(input.clone())));
        let residual = match &self.shortcut {
            Some(conv) => conv.forward(input),
            None => input,
        };
        relu(output + residual)
    }
}

/// Averages each channel: `[n, c, h, w]` → `[n, c]`.
pub(in crate::network) fn global_average(input: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = input.dims();
    input
        .reshape([batch, channels, height * width])
        .mean_dim(2)
        .reshape([batch, channels])
}
