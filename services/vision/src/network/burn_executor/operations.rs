//! The operations of a graph on a device.

use burn::tensor::{
    DType, Int, Tensor, activation,
    module::{self, conv2d, max_pool2d},
    ops::{AttentionModuleOptions, ConvOptions, MaxPoolOptions},
};

use super::values::{DeviceValue, Sequences, TensorPlace};
use crate::{
    model::towers::Activation,
    network::graph::operations::{
        ConvOperation, GraphOperation, GraphShape, LinearOperation, RowPosition, ScaleOperation,
        SlidingWindow,
    },
};

/// An operation with its weights on the device.
#[derive(Debug)]
pub(super) enum DeviceOperation {
    Input,
    Conv {
        weight: Tensor<4>,
        bias: Tensor<1>,
        options: ConvOptions<2>,
        activation: Option<Activation>,
    },
    Linear {
        /// `[inputs, outputs]`.
        weight: Tensor<2>,
        /// `[1, outputs]`.
        bias: Tensor<2>,
        activation: Option<Activation>,
    },
    ScaleMap {
        /// `[1, channels, 1, 1]`, as `shift`.
        scale: Tensor<4>,
        shift: Tensor<4>,
    },
    ScaleRows {
        /// `[1, width]`, as `shift`.
        scale: Tensor<2>,
        shift: Tensor<2>,
    },
    Activation(Activation),
    Add,
    MaxPool(MaxPoolOptions<2>),
    GlobalAverage,
    Tokens {
        /// `[1, prefix rows, width]`, if there are any.
        prefix: Option<Tensor<3>>,
        /// `[1, points, width]`.
        positions: Tensor<3>,
    },
    LayerNorm {
        /// Single precision, as `beta`.
        gamma: Tensor<1>,
        beta: Tensor<1>,
        epsilon: f64,
    },
    Attention {
        heads: usize,
        is_causal: bool,
    },
    PooledAttention {
        /// `[1, heads, 1, width / heads]`.
        query: Tensor<4>,
    },
    SelectRow(RowPosition),
}

impl DeviceOperation {
    /// Moves the weights to the device. `input` is the shape of the first input.
    pub(super) fn new(
        operation: GraphOperation,
        input: Option<GraphShape>,
        place: &TensorPlace,
    ) -> Self {
        let columns = input.map_or(0, |shape| match shape {
            GraphShape::Map { channels, .. } => channels,
            GraphShape::Rows { width, .. } => width,
        });
        match operation {
            GraphOperation::Pixels { .. } | GraphOperation::TokenRows { .. } => Self::Input,
            GraphOperation::Conv(conv) => new_conv(conv, columns, place),
            GraphOperation::Linear(linear) => new_linear(linear, columns, place),
            GraphOperation::Scale(scaling) => new_scale(scaling, input, place),
            GraphOperation::Activation(activation) => Self::Activation(activation),
            GraphOperation::Add => Self::Add,
            GraphOperation::MaxPool(window) => Self::MaxPool(
                MaxPoolOptions::new([window.kernel; 2])
                    .with_stride([window.stride; 2])
                    .with_padding_pairs(padding_pairs(&window)),
            ),
            GraphOperation::GlobalAverage => Self::GlobalAverage,
            GraphOperation::Tokens { prefix, positions } => {
                let rows = |numbers: Vec<f32>| {
                    let rows = numbers.len() / columns;
                    place.tensor(numbers, [1, rows, columns])
                };
                Self::Tokens {
                    prefix: (!prefix.is_empty()).then(|| rows(prefix)),
                    positions: rows(positions),
                }
            }
            GraphOperation::LayerNorm(norm) => Self::LayerNorm {
                gamma: place.precise_tensor(norm.gamma, [columns]),
                beta: place.precise_tensor(norm.beta, [columns]),
                epsilon: norm.epsilon,
            },
            GraphOperation::Attention { heads, is_causal } => Self::Attention { heads, is_causal },
            GraphOperation::PooledAttention { query, heads } => {
                let head = query.len() / heads;
                Self::PooledAttention {
                    query: place.tensor(query, [1, heads, 1, head]),
                }
            }
            GraphOperation::SelectRow(position) => Self::SelectRow(position),
        }
    }

    /// Computes the result. `second` is the residual of a convolution or a linear layer, or the second
    /// summand.
    pub(super) fn run(
        &self,
        first: DeviceValue,
        second: Option<DeviceValue>,
        sequences: &Sequences,
    ) -> DeviceValue {
        use DeviceValue::{Map, Rows};
        match self {
            Self::Input => unreachable!("the executor provides the input"),
            Self::Conv {
                weight,
                bias,
                options,
                activation,
            } => {
                let (weight, bias) = (weight.clone(), Some(bias.clone()));
                let mut map = conv2d(first.into_map(), weight, bias, options.clone());
                if let Some(residual) = second {
                    map = map + residual.into_map();
                }
                Map(apply_if_any(*activation, map))
            }
            Self::Linear {
                weight,
                bias,
                activation,
            } => {
                let mut rows = first.into_rows().matmul(weight.clone()) + bias.clone();
                if let Some(residual) = second {
                    rows = rows + residual.into_rows();
                }
                Rows(apply_if_any(*activation, rows))
            }
            Self::ScaleMap { scale, shift } => {
                Map(first.into_map() * scale.clone() + shift.clone())
            }
            Self::ScaleRows { scale, shift } => {
                Rows(first.into_rows() * scale.clone() + shift.clone())
            }
            Self::Activation(activation) => match first {
                Map(map) => Map(apply(*activation, map)),
                Rows(rows) => Rows(apply(*activation, rows)),
            },
            Self::Add => match (first, second) {
                (Map(first), Some(Map(second))) => Map(first + second),
                (Rows(first), Some(Rows(second))) => Rows(first + second),
                _ => unreachable!("the graph's shapes were checked"),
            },
            Self::MaxPool(options) => Map(max_pool2d(first.into_map(), options.clone())),
            Self::GlobalAverage => Rows(global_average(first.into_map())),
            Self::Tokens { prefix, positions } => {
                Rows(to_tokens(first.into_map(), prefix.as_ref(), positions))
            }
            Self::LayerNorm {
                gamma,
                beta,
                epsilon,
            } => Rows(in_single_precision(first.into_rows(), |rows| {
                module::layer_norm(rows, gamma.clone(), Some(beta.clone()), *epsilon)
            })),
            Self::Attention { heads, is_causal } => Rows(attend(
                first.into_rows(),
                *heads,
                *is_causal,
                sequences.count,
            )),
            Self::PooledAttention { query } => {
                Rows(pool_rows(first.into_rows(), query, sequences.count))
            }
            Self::SelectRow(position) => Rows(select_rows(first.into_rows(), *position, sequences)),
        }
    }
}

fn new_conv(conv: ConvOperation, inputs: usize, place: &TensorPlace) -> DeviceOperation {
    let (kernel, stride) = (conv.window.kernel, conv.window.stride);
    let dims = [conv.outputs, inputs / conv.groups, kernel, kernel];
    DeviceOperation::Conv {
        weight: place.tensor(conv.weight, dims),
        bias: place.tensor(conv.bias, [conv.outputs]),
        options: ConvOptions::new_with_padding(
            [stride; 2],
            padding_pairs(&conv.window),
            [1; 2],
            conv.groups,
        ),
        activation: conv.activation,
    }
}

fn new_linear(linear: LinearOperation, inputs: usize, place: &TensorPlace) -> DeviceOperation {
    let outputs = linear.outputs;
    // Transposed once at load.
    let transposed = (0..inputs)
        .flat_map(|i| linear.weight[i..].iter().step_by(inputs).copied())
        .collect();
    DeviceOperation::Linear {
        weight: place.tensor(transposed, [inputs, outputs]),
        bias: place.tensor(linear.bias, [1, outputs]),
        activation: linear.activation,
    }
}

fn new_scale(
    scaling: ScaleOperation,
    input: Option<GraphShape>,
    place: &TensorPlace,
) -> DeviceOperation {
    let columns = scaling.scale.len();
    let narrow = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as f32).collect();
    let (scale, shift) = (narrow(scaling.scale), narrow(scaling.shift));
    match input {
        Some(GraphShape::Map { .. }) => DeviceOperation::ScaleMap {
            scale: place.tensor(scale, [1, columns, 1, 1]),
            shift: place.tensor(shift, [1, columns, 1, 1]),
        },
        _ => DeviceOperation::ScaleRows {
            scale: place.tensor(scale, [1, columns]),
            shift: place.tensor(shift, [1, columns]),
        },
    }
}

/// Returns the padding as (begin, end) of the rows and of the columns.
fn padding_pairs(window: &SlidingWindow) -> [(usize, usize); 2] {
    let padding = window.padding;
    [(padding.top, padding.bottom), (padding.left, padding.right)]
}

fn apply_if_any<const D: usize>(activation: Option<Activation>, input: Tensor<D>) -> Tensor<D> {
    match activation {
        Some(activation) => apply(activation, input),
        None => input,
    }
}

fn apply<const D: usize>(activation: Activation, input: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Relu => activation::relu(input),
        Activation::Relu6 => input.clamp(0.0, 6.0),
        Activation::Gelu => activation::gelu(input),
        Activation::GeluTanh => {
            let cube = input.clone() * input.clone() * input.clone();
            let inner = (input.clone() + cube * CUBIC) * ROOT_2_PI;
            input * (inner.tanh() + 1.0) * 0.5
        }
        Activation::QuickGelu => input.clone() * activation::sigmoid(input * 1.702),
    }
}

/// √(2/π) and the factor of the cube in [`Activation::GeluTanh`].
const ROOT_2_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// Runs an operation whose sums need single precision, and returns to the precision of the input.
fn in_single_precision<const D: usize, const E: usize>(
    input: Tensor<D>,
    operation: impl FnOnce(Tensor<D>) -> Tensor<E>,
) -> Tensor<E> {
    match input.dtype() {
        DType::F32 => operation(input),
        dtype => operation(input.cast(DType::F32)).cast(dtype),
    }
}

/// Averages each channel: `[n, c, h, w]` → `[n, c]`.
fn global_average(map: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = map.dims();
    in_single_precision(map, |map| {
        map.reshape([batch, channels, height * width])
            .mean_dim(2)
            .reshape([batch, channels])
    })
}

/// `[n, c, h, w]` → `[n * (prefix + h * w), c]`.
fn to_tokens(map: Tensor<4>, prefix: Option<&Tensor<3>>, positions: &Tensor<3>) -> Tensor<2> {
    let [batch, channels, height, width] = map.dims();
    let mut rows = map.flatten::<3>(2, 3).swap_dims(1, 2) + positions.clone();
    let mut count = height * width;
    if let Some(prefix) = prefix {
        count += prefix.dims()[1];
        rows = Tensor::cat(vec![prefix.clone().repeat_dim(0, batch), rows], 1);
    }
    rows.reshape([batch * count, channels])
}

/// `[sequences * rows, 3 * width]` → `[sequences * rows, width]`.
fn attend(qkv: Tensor<2>, heads: usize, is_causal: bool, sequences: usize) -> Tensor<2> {
    let [rows, three_widths] = qkv.dims();
    let width = three_widths / 3;
    let part = |i: usize| {
        qkv.clone()
            .narrow(1, i * width, width)
            .reshape([sequences, rows / sequences, heads, width / heads])
            .swap_dims(1, 2)
    };
    let options = AttentionModuleOptions {
        is_causal,
        ..AttentionModuleOptions::default()
    };
    module::attention(part(0), part(1), part(2), None, None, options)
        .swap_dims(1, 2)
        .reshape([rows, width])
}

/// `[sequences * rows, 2 * width]` → `[sequences, width]`.
fn pool_rows(keys_values: Tensor<2>, query: &Tensor<4>, sequences: usize) -> Tensor<2> {
    let [rows, two_widths] = keys_values.dims();
    let width = two_widths / 2;
    let [_, heads, _, head] = query.dims();
    let part = |i: usize| {
        keys_values
            .clone()
            .narrow(1, i * width, width)
            .reshape([sequences, rows / sequences, heads, head])
            .swap_dims(1, 2)
    };
    let query = query.clone().repeat_dim(0, sequences);
    let options = AttentionModuleOptions::default();
    module::attention(query, part(0), part(1), None, None, options).reshape([sequences, width])
}

/// `[sequences * rows, width]` → `[sequences, width]`.
fn select_rows(rows: Tensor<2>, position: RowPosition, sequences: &Sequences) -> Tensor<2> {
    let [all, width] = rows.dims();
    let (count, per_sequence) = (sequences.count, all / sequences.count);
    let last = |length: &usize| length - 1;
    let of_sequence: Vec<usize> = match (position, &sequences.lengths) {
        (RowPosition::Last, Some(lengths)) => lengths.iter().map(last).collect(),
        (RowPosition::Last, None) => vec![per_sequence - 1; count],
        (RowPosition::First, _) => vec![0; count],
    };
    if of_sequence.iter().all(|row| *row == of_sequence[0]) {
        return rows
            .reshape([count, per_sequence, width])
            .narrow(1, of_sequence[0], 1)
            .reshape([count, width]);
    }
    let indices: Vec<i32> = of_sequence
        .iter()
        .enumerate()
        .map(|(i, row)| (i * per_sequence + row) as i32)
        .collect();
    let indices = Tensor::<1, Int>::from_data(indices.as_slice(), &rows.device());
    rows.select(0, indices)
}
