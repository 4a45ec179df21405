//! The operations of a graph, the shapes that they accept, and the shapes of their results.

use std::fmt;

use crate::model::towers::Activation;

/// Shape of a value for one image or one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GraphShape {
    /// A number per channel for each point.
    Map {
        height: usize,
        width: usize,
        channels: usize,
    },
    /// A row of `width` numbers per token. For a text, `rows` is the largest number of tokens.
    Rows { rows: usize, width: usize },
}

impl fmt::Display for GraphShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map {
                height,
                width,
                channels,
            } => write!(
                formatter,
                "a map of {height} x {width} with {channels} channels"
            ),
            Self::Rows { rows, width } => write!(formatter, "{rows} rows of {width} numbers"),
        }
    }
}

/// Side, step and padding of the square window of a convolution or of pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlidingWindow {
    pub kernel: usize,
    pub stride: usize,
    pub padding: WindowPadding,
}

/// Rows and columns around a map, which count as 0 in a convolution and not at all in pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowPadding {
    pub top: usize,
    pub left: usize,
    pub bottom: usize,
    pub right: usize,
}

impl SlidingWindow {
    /// A window padded as in PyTorch's networks: the same on every side, and stride 1 keeps the size
    /// of a map if the kernel is odd.
    pub(crate) fn padded(kernel: usize, stride: usize) -> Self {
        let padding = kernel / 2;
        Self {
            kernel,
            stride,
            padding: WindowPadding {
                top: padding,
                left: padding,
                bottom: padding,
                right: padding,
            },
        }
    }

    pub(crate) fn without_padding(kernel: usize, stride: usize) -> Self {
        Self {
            kernel,
            stride,
            padding: WindowPadding {
                top: 0,
                left: 0,
                bottom: 0,
                right: 0,
            },
        }
    }

    /// A window padded like TensorFlow's `SAME` for a map of this size: the result has
    /// `ceil(side / stride)` points per side, and of an odd padding the larger half is at the bottom
    /// and on the right.
    pub(crate) fn same(kernel: usize, stride: usize, height: usize, width: usize) -> Self {
        let total = |side: usize| {
            let covered = (side.div_ceil(stride) - 1) * stride + kernel;
            covered.saturating_sub(side)
        };
        let (vertical, horizontal) = (total(height), total(width));
        Self {
            kernel,
            stride,
            padding: WindowPadding {
                top: vertical / 2,
                left: horizontal / 2,
                bottom: vertical - vertical / 2,
                right: horizontal - horizontal / 2,
            },
        }
    }

    /// Returns height and width of the result, or `None` if the window is larger than the map.
    fn output_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let padding = self.padding;
        let side = |side: usize, padding: usize| {
            (side + padding)
                .checked_sub(self.kernel)
                .map(|rest| rest / self.stride + 1)
        };
        Some((
            side(height, padding.top + padding.bottom)?,
            side(width, padding.left + padding.right)?,
        ))
    }
}

/// A convolution: map → map.
#[derive(Debug, Clone)]
pub(crate) struct ConvOperation {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weight: Vec<f32>,
    /// One number per output.
    pub bias: Vec<f32>,
    pub outputs: usize,
    /// 1, or the number of channels: then each channel has its own filter ("depthwise").
    pub groups: usize,
    pub window: SlidingWindow,
    /// Applied after a residual, the second input, was added.
    pub activation: Option<Activation>,
}

/// A product with a matrix: rows → rows.
#[derive(Debug, Clone)]
pub(crate) struct LinearOperation {
    /// `[outputs, inputs]`.
    pub weight: Vec<f32>,
    /// One number per output.
    pub bias: Vec<f32>,
    pub outputs: usize,
    /// Applied after a residual, the second input, was added.
    pub activation: Option<Activation>,
}

/// `x * scale + shift` with one factor and one summand for each channel of a map or column of rows:
/// a batch norm with fixed statistics, or a layer scale.
#[derive(Debug, Clone)]
pub(crate) struct ScaleOperation {
    pub scale: Vec<f64>,
    pub shift: Vec<f64>,
}

#[derive(Debug, Clone)]
pub(crate) struct LayerNormOperation {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub epsilon: f64,
}

/// Which row of an image or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowPosition {
    First,
    Last,
}

#[derive(Debug, Clone)]
pub(crate) enum GraphOperation {
    /// The input of an image network: 8-bit RGB → `(value / 255 − mean) / std`.
    Pixels {
        side: usize,
        mean: [f32; 3],
        std: [f32; 3],
    },
    /// The input of a text network: a row per token, at most `max_rows`.
    TokenRows {
        max_rows: usize,
        width: usize,
    },
    Conv(ConvOperation),
    Scale(ScaleOperation),
    Activation(Activation),
    /// The sum of two values of the same shape.
    Add,
    /// The maximum of each window.
    MaxPool(SlidingWindow),
    /// The mean of each channel: a map → one row.
    GlobalAverage,
    /// A map → the prefix rows, then its points as rows with their positions added.
    Tokens {
        /// Rows of the map's channels, none or more.
        prefix: Vec<f32>,
        /// One row for each point of the map.
        positions: Vec<f32>,
    },
    Linear(LinearOperation),
    /// Normalises each row to mean 0 and variance 1, then scales and shifts each column.
    LayerNorm(LayerNormOperation),
    /// Multi-head attention: rows of queries, keys and values, concatenated → rows of a third of the
    /// width. If `is_causal`, a row attends only to itself and earlier rows.
    Attention {
        heads: usize,
        is_causal: bool,
    },
    /// Attention of one query to all rows: rows of keys and values, concatenated → one row.
    PooledAttention {
        /// The query of all heads, concatenated.
        query: Vec<f32>,
        heads: usize,
    },
    SelectRow(RowPosition),
}

impl GraphOperation {
    /// Returns the shape of the result for these inputs, or how they and the weights do not fit
    /// together.
    pub(super) fn output_shape(&self, inputs: &[GraphShape]) -> Result<GraphShape, String> {
        use GraphShape::{Map, Rows};
        let mismatch = || {
            let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            format!("cannot read {}", inputs.join(" and "))
        };
        match (self, inputs) {
            (Self::Pixels { side, .. }, []) => Ok(Map {
                height: *side,
                width: *side,
                channels: 3,
            }),
            (Self::TokenRows { max_rows, width }, []) => Ok(Rows {
                rows: *max_rows,
                width: *width,
            }),
            (Self::Conv(conv), [input, residual @ ..]) => {
                let output = conv.output_shape(*input).ok_or_else(mismatch)?;
                check_residual(output, residual).ok_or_else(mismatch)
            }
            (Self::Linear(linear), [input, residual @ ..]) => {
                let output = linear.output_shape(*input).ok_or_else(mismatch)?;
                check_residual(output, residual).ok_or_else(mismatch)
            }
            (Self::Scale(ScaleOperation { scale, shift }), [input])
                if scale.len() == input.columns() && shift.len() == input.columns() =>
            {
                Ok(*input)
            }
            (Self::Activation(_), [input]) => Ok(*input),
            (Self::Add, [first, second]) if first == second => Ok(*first),
            (
                Self::MaxPool(window),
                [
                    Map {
                        height,
                        width,
                        channels,
                    },
                ],
            ) => {
                let (height, width) = window.output_size(*height, *width).ok_or_else(mismatch)?;
                Ok(Map {
                    height,
                    width,
                    channels: *channels,
                })
            }
            (Self::GlobalAverage, [Map { channels, .. }]) => Ok(Rows {
                rows: 1,
                width: *channels,
            }),
            (
                Self::Tokens { prefix, positions },
                [
                    Map {
                        height,
                        width,
                        channels,
                    },
                ],
            ) if positions.len() == height * width * channels
                && prefix.len().is_multiple_of(*channels) =>
            {
                Ok(Rows {
                    rows: prefix.len() / channels + height * width,
                    width: *channels,
                })
            }
            (Self::LayerNorm(norm), [Rows { width, .. }])
                if norm.gamma.len() == *width && norm.beta.len() == *width =>
            {
                Ok(inputs[0])
            }
            (Self::Attention { heads, .. }, [Rows { rows, width }])
                if width.is_multiple_of(3 * heads) =>
            {
                Ok(Rows {
                    rows: *rows,
                    width: width / 3,
                })
            }
            (Self::PooledAttention { query, heads }, [Rows { width, .. }])
                if query.len() * 2 == *width && query.len().is_multiple_of(*heads) =>
            {
                Ok(Rows {
                    rows: 1,
                    width: query.len(),
                })
            }
            (Self::SelectRow(_), [Rows { width, .. }]) => Ok(Rows {
                rows: 1,
                width: *width,
            }),
            _ => Err(mismatch()),
        }
    }

    /// Returns whether every row of the result depends only on the same row of each input.
    pub(super) fn is_row_wise(&self) -> bool {
        matches!(
            self,
            Self::Linear(_) | Self::LayerNorm(_) | Self::Scale(_) | Self::Activation(_) | Self::Add
        )
    }

    pub(super) fn has_finite_weights(&self) -> bool {
        let are_finite = |numbers: &[&[f32]]| {
            numbers
                .iter()
                .all(|numbers| numbers.iter().all(|number| number.is_finite()))
        };
        match self {
            Self::Conv(conv) => are_finite(&[&conv.weight, &conv.bias]),
            Self::Linear(linear) => are_finite(&[&linear.weight, &linear.bias]),
            Self::Scale(ScaleOperation { scale, shift }) => {
                scale.iter().chain(shift).all(|number| number.is_finite())
            }
            Self::Tokens { prefix, positions } => are_finite(&[prefix, positions]),
            Self::LayerNorm(norm) => are_finite(&[&norm.gamma, &norm.beta]),
            Self::PooledAttention { query, .. } => are_finite(&[query]),
            Self::Pixels { mean, std, .. } => are_finite(&[mean, std]),
            Self::TokenRows { .. }
            | Self::Activation(_)
            | Self::Add
            | Self::MaxPool(_)
            | Self::GlobalAverage
            | Self::Attention { .. }
            | Self::SelectRow(_) => true,
        }
    }
}

/// Returns the shape of a result if a residual, if there is one, has the same shape.
fn check_residual(output: GraphShape, residual: &[GraphShape]) -> Option<GraphShape> {
    match residual {
        [] => Some(output),
        [residual] => (*residual == output).then_some(output),
        _ => None,
    }
}

impl GraphShape {
    /// Returns the number of channels of a map or of columns of rows.
    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Map { channels, .. } => *channels,
            Self::Rows { width, .. } => *width,
        }
    }
}

impl ConvOperation {
    fn output_shape(&self, input: GraphShape) -> Option<GraphShape> {
        let GraphShape::Map {
            height,
            width,
            channels,
        } = input
        else {
            return None;
        };
        let (outputs, groups) = (self.outputs, self.groups);
        if groups != 1 && (groups != channels || outputs != channels) {
            return None;
        }
        let weights = outputs * channels / groups * self.window.kernel.pow(2);
        if self.weight.len() != weights || self.bias.len() != outputs {
            return None;
        }
        let (height, width) = self.window.output_size(height, width)?;
        Some(GraphShape::Map {
            height,
            width,
            channels: outputs,
        })
    }

    /// Multiplies the outputs by `scale` and adds `shift`.
    pub(super) fn scale_outputs(&mut self, scaling: &ScaleOperation) {
        scale_matrix(&mut self.weight, &mut self.bias, scaling);
    }
}

impl LinearOperation {
    fn output_shape(&self, input: GraphShape) -> Option<GraphShape> {
        let GraphShape::Rows { rows, width } = input else {
            return None;
        };
        let fits = self.weight.len() == self.outputs * width && self.bias.len() == self.outputs;
        fits.then_some(GraphShape::Rows {
            rows,
            width: self.outputs,
        })
    }

    /// Multiplies the outputs by `scale` and adds `shift`.
    pub(super) fn scale_outputs(&mut self, scaling: &ScaleOperation) {
        scale_matrix(&mut self.weight, &mut self.bias, scaling);
    }
}

/// Scales the rows of `weight`, one per output, and the bias, in double precision.
fn scale_matrix(weight: &mut [f32], bias: &mut [f32], scaling: &ScaleOperation) {
    let ScaleOperation { scale, shift } = scaling;
    let row_length = weight.len() / bias.len();
    for (row, scale) in weight.chunks_exact_mut(row_length).zip(scale) {
        for number in row {
            *number = (f64::from(*number) * scale) as f32;
        }
    }
    for (i, number) in bias.iter_mut().enumerate() {
        *number = (f64::from(*number) * scale[i] + shift[i]) as f32;
    }
}
