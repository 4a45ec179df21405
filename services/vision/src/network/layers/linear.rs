//! Linear layers and layer norms of transformers.

use burn::tensor::{Device, Tensor, TensorData, module};

use crate::model::weights::Weights;

/// A linear layer: `[n, in]` → `[n, out]`.
#[derive(Debug)]
pub(in crate::network) struct Linear {
    /// `[in, out]`, transposed once at load.
    weight: Tensor<2>,
    bias: Option<Tensor<2>>,
}

/// Weights of a linear layer in PyTorch's layout, before they move to a device.
#[derive(Debug)]
pub(in crate::network) struct LinearWeights {
    inputs: usize,
    outputs: usize,
    /// `[out, in]`, row by row.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl LinearWeights {
    /// Reads `name.weight` (`[out, in]`) and `name.bias`.
    pub(in crate::network) fn from_weights(
        weights: &Weights,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, String> {
        let bias = weights.read_tensor(&format!("{name}.bias"), &[outputs])?;
        let weight = weights.read_tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        Self::new(name, inputs, outputs, weight, bias)
    }

    /// Reads only `name.weight`.
    pub(in crate::network) fn from_weights_without_bias(
        weights: &Weights,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, String> {
        let weight = weights.read_tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        Self::new(name, inputs, outputs, weight, Vec::new())
    }

    /// Takes a weight of `[out, in]` and a bias that has `out` numbers or is empty.
    pub(in crate::network) fn new(
        name: &str,
        inputs: usize,
        outputs: usize,
        weight: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<Self, String> {
        assert_eq!(weight.len(), inputs * outputs, "{name} has its shape");
        let mut values = weight.iter().chain(&bias);
        if !values.all(|value| value.is_finite()) {
            return Err(format!("{name} contains numbers that are not finite"));
        }
        Ok(Self {
            inputs,
            outputs,
            weight,
            bias,
        })
    }

    /// Joins two layers with the same input, so that their outputs are concatenated.
    pub(in crate::network) fn concat_outputs(mut self, other: Self) -> Self {
        assert_eq!(self.inputs, other.inputs, "both take the same input");
        self.outputs += other.outputs;
        self.weight.extend(other.weight);
        self.bias.extend(other.bias);
        self
    }

    /// Multiplies every output by its factor: folds a layer scale after this layer.
    pub(in crate::network) fn scale_outputs(mut self, factors: &[f32]) -> Self {
        assert_eq!(factors.len(), self.outputs, "one factor for each output");
        for (row, factor) in self.weight.chunks_exact_mut(self.inputs).zip(factors) {
            for value in row {
                *value *= factor;
            }
        }
        for (value, factor) in self.bias.iter_mut().zip(factors) {
            *value *= factor;
        }
        self
    }

    pub(in crate::network) fn to_device(self, device: &Device) -> Linear {
        let Self {
            inputs,
            outputs,
            weight,
            bias,
        } = self;
        let transposed: Vec<f32> = (0..inputs)
            .flat_map(|i| weight[i..].iter().step_by(inputs).copied())
            .collect();
        let bias = (!bias.is_empty())
            .then(|| Tensor::from_data(TensorData::new(bias, [1, outputs]), device));
        Linear {
            weight: Tensor::from_data(TensorData::new(transposed, [inputs, outputs]), device),
            bias,
        }
    }
}

impl Linear {
    /// Reads `name.weight` (`[out, in]`, PyTorch's layout) and `name.bias`.
    pub(in crate::network) fn from_weights(
        weights: &Weights,
        name: &str,
        inputs: usize,
        outputs: usize,
        device: &Device,
    ) -> Result<Self, String> {
        Ok(LinearWeights::from_weights(weights, name, inputs, outputs)?.to_device(device))
    }

    pub(in crate::network) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let product = input.matmul(self.weight.clone());
        match &self.bias {
            Some(bias) => product + bias.clone(),
            None => product,
        }
    }
}

/// Normalises each row to mean 0 and variance 1, then scales and shifts each column.
#[derive(Debug)]
pub(in crate::network) struct LayerNorm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
}

impl LayerNorm {
    /// Reads `name.weight` and `name.bias`.
    pub(in crate::network) fn from_weights(
        weights: &Weights,
        name: &str,
        width: usize,
        epsilon: f64,
        device: &Device,
    ) -> Result<Self, String> {
        let part = |part: &str| {
            let numbers = weights.read_tensor(&format!("{name}.{part}"), &[width])?;
            if !numbers.iter().all(|value| value.is_finite()) {
                return Err(format!("{name} contains numbers that are not finite"));
            }
            Ok(Tensor::from_data(TensorData::new(numbers, [width]), device))
        };
        Ok(Self {
            gamma: part("weight")?,
            beta: part("bias")?,
            epsilon,
        })
    }

    pub(in crate::network) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let (gamma, beta) = (self.gamma.clone(), self.beta.clone());
        module::layer_norm(input, gamma, Some(beta), self.epsilon)
    }
}
