//! The operations of a program before it is compiled.

use super::row_form::RowForm;
use super::transformer::TransformerOperation;
use crate::activation::KernelActivation;
use crate::step::Border;

/// A result of an operation of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(pub(super) usize);

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueShape {
    /// Interleaved RGB.
    Pixels { height: usize, width: usize },
    Map {
        height: usize,
        width: usize,
        channels: usize,
    },
    Rows {
        /// Rows of an image, or the greatest number of token rows.
        rows: usize,
        width: usize,
        /// The number of rows is that of the run.
        is_variable: bool,
    },
}

/// The greatest side, number of rows or channels. Sizes of memory computed from it cannot overflow.
const MAX_SIZE: usize = 1 << 16;

impl ValueShape {
    /// Checks that there are numbers, and not too many.
    pub(crate) fn check(self) -> Result<(), String> {
        let sizes = match self {
            Self::Pixels { height, width } => [height, width, 1],
            Self::Map {
                height,
                width,
                channels,
            } => [height, width, channels],
            Self::Rows { rows, width, .. } => [rows, width, 1],
        };
        if sizes.iter().all(|size| (1..=MAX_SIZE).contains(size)) {
            return Ok(());
        }
        Err(format!(
            "a network cannot compute {self}: all sizes must be from 1 to {MAX_SIZE}"
        ))
    }
}

impl std::fmt::Display for ValueShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pixels { height, width } => write!(f, "pixels of {width} × {height}"),
            Self::Map {
                height,
                width,
                channels,
            } => write!(f, "a map of {width} × {height} × {channels}"),
            Self::Rows { rows, width, .. } => write!(f, "{rows} rows of {width} numbers"),
        }
    }
}

/// An operation with its weights.
pub(crate) enum ProgramOperation {
    Pixels {
        table: Box<[[f32; 256]; 3]>,
    },
    TokenRows,
    /// The second input, if there is one, is added before the activation.
    Convolution(ConvolutionOperation),
    MaxPool {
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Border,
    },
    GlobalAverage,
    /// The second input, if there is one, is added before the activation.
    Linear {
        /// `[output][input]`.
        weight: Vec<f32>,
        bias: Vec<f32>,
        activation: KernelActivation,
    },
    Transformer(TransformerOperation),
}

/// A convolution over all channels or of each channel.
pub(crate) struct ConvolutionOperation {
    /// `[output][channel][y][x]`, with one channel if depthwise.
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: Border,
    pub(super) is_depthwise: bool,
    pub(super) activation: KernelActivation,
}

/// The fewest pixels of a map for which large tiles of Winograd's algorithm are faster. Large tiles reach beyond the edges of
/// maps of 14 × 14, and read 2.25 times as many weights as small tiles.
const LARGE_TILE_PIXELS: usize = 16 * 16;

impl ConvolutionOperation {
    /// Returns whether this is a product of each pixel with a matrix.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.padding == Border::default()
            && !self.is_depthwise
    }
}

impl ConvolutionOperation {
    /// Returns the outputs per side of the tiles if Winograd's algorithm is faster for a result of that size.
    pub(super) fn winograd_side(
        &self,
        [height, width]: [usize; 2],
        element_bytes: usize,
    ) -> Option<usize> {
        let outputs = self.bias.len();
        let channels = self.weight.len() / outputs / 9;
        let is_faster = self.kernel == [3, 3]
            && self.stride == [1, 1]
            && !self.is_depthwise
            // The transformations cost as much as the products if there are few channels or pixels.
            && channels.min(outputs) >= 32
            && height * width >= 7 * 7;
        // Large tiles need f32.
        let is_large = element_bytes == size_of::<f32>() && height * width >= LARGE_TILE_PIXELS;
        is_faster.then_some(if is_large { 4 } else { 2 })
    }
}

/// An operation of a program with its inputs.
pub(crate) struct Node {
    pub(super) operation: ProgramOperation,
    pub(super) inputs: Vec<Value>,
    pub(super) shape: ValueShape,
}

impl Node {
    /// Returns the form in which the operation reads rows.
    pub(super) fn input_form(&self, input: usize) -> RowForm {
        match &self.operation {
            // A residual stream is f32.
            ProgramOperation::Linear { .. } if input == 1 => RowForm::Wide,
            ProgramOperation::Linear { .. } => RowForm::Narrow,
            ProgramOperation::Transformer(operation) => operation.input_form(),
            _ => RowForm::Any,
        }
    }

    /// Returns the form in which the operation writes rows.
    pub(super) fn output_form(&self) -> RowForm {
        match &self.operation {
            ProgramOperation::TokenRows | ProgramOperation::GlobalAverage => RowForm::Wide,
            ProgramOperation::Linear { .. } if self.inputs.len() > 1 => RowForm::Wide,
            ProgramOperation::Transformer(operation) => operation.output_form(),
            _ => RowForm::Any,
        }
    }

    /// Returns the zeros that the operation needs around its first input.
    pub(super) fn input_border(&self, element_bytes: usize) -> Border {
        match &self.operation {
            ProgramOperation::Convolution(convolution) => {
                let mut border = convolution.padding;
                if let ValueShape::Map { height, width, .. } = self.shape
                    && let Some(side) = convolution.winograd_side([height, width], element_bytes)
                {
                    // The last tiles extend beyond the map.
                    border.bottom += height.next_multiple_of(side) - height;
                    border.right += width.next_multiple_of(side) - width;
                }
                border
            }
            _ => Border::default(),
        }
    }

    /// Returns the number of weights.
    pub(super) fn count_weights(&self) -> usize {
        match &self.operation {
            ProgramOperation::Convolution(convolution) => convolution.weight.len(),
            ProgramOperation::Linear { weight, .. } => weight.len(),
            _ => 0,
        }
    }
}
