//! Builds programs: each method adds an operation and checks the shapes.

use super::compile::compile;
use super::execute::KernelProgram;
use super::operation::{ConvolutionOperation, Node, ProgramOperation, Value, ValueShape};
use crate::activation::KernelActivation;
use crate::instruction_set::InstructionSet;
use crate::step::Border;

/// A convolution.
#[derive(Debug, Clone)]
pub struct ConvSpec<'a> {
    /// `[output][input / groups][y][x]`.
    pub weight: &'a [f32],
    /// A number per output, or empty.
    pub bias: &'a [f32],
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next: downwards, to the right.
    pub stride: [usize; 2],
    /// Zeros around the input: top, left, bottom, right.
    pub padding: [usize; 4],
    /// 1, or the number of input and output channels for a depthwise convolution.
    pub groups: usize,
    /// Applied to the sum with bias and residual.
    pub activation: KernelActivation,
    /// A map of the shape of the output, added before the activation.
    pub residual: Option<Value>,
}

/// Builds a [`KernelProgram`] from operations.
///
/// Each method returns the result of an operation as an input for later operations of the same builder.
///
/// # Errors
///
/// The methods return a message that names the shapes if they do not fit.
///
/// # Panics
///
/// The methods panic if a [`Value`] comes from another builder with more operations.
pub struct ProgramBuilder {
    set: InstructionSet,
    nodes: Vec<Node>,
}

impl ProgramBuilder {
    /// Starts a program for an instruction set.
    ///
    /// # Panics
    ///
    /// Panics if the processor does not support the set.
    pub fn new(set: InstructionSet) -> Self {
        assert!(set.is_supported(), "this processor does not support {set}");
        Self {
            set,
            nodes: Vec::new(),
        }
    }

    /// Returns the instruction set of the program.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    /// Adds the input of an image network: interleaved 8-bit RGB. `table` contains the number of each byte per channel.
    /// Padding around the image is 0.
    pub fn pixels(&mut self, height: usize, width: usize, table: &[[f32; 256]; 3]) -> Value {
        let table = Box::new(*table);
        self.push(
            ProgramOperation::Pixels { table },
            Vec::new(),
            ValueShape::Pixels { height, width },
        )
    }

    /// Adds the input of a text network: up to `max_rows` rows of `width` numbers.
    pub fn token_rows(&mut self, max_rows: usize, width: usize) -> Value {
        let shape = ValueShape::Rows {
            rows: max_rows,
            width,
            is_variable: true,
        };
        self.push(ProgramOperation::TokenRows, Vec::new(), shape)
    }

    /// Adds a convolution of pixels or of a map.
    pub fn conv(&mut self, input: Value, spec: &ConvSpec<'_>) -> Result<Value, String> {
        let (height, width, channels) = match self.shape(input) {
            ValueShape::Map {
                height,
                width,
                channels,
            } => (height, width, channels),
            ValueShape::Pixels { height, width } => (height, width, 3),
            shape => return Err(format!("cannot convolve {shape}: give it a map")),
        };
        check_window(spec.kernel, spec.padding)?;
        let is_depthwise = spec.groups > 1;
        let is_pixels = matches!(self.shape(input), ValueShape::Pixels { .. });
        if is_depthwise && (spec.groups != channels || spec.outputs != channels || is_pixels) {
            return Err(format!(
                "cannot convolve {channels} channels in {} groups to {} outputs: use 1 group, or as many groups and \
                 outputs as the channels of a map",
                spec.groups, spec.outputs
            ));
        }
        let [kernel_height, kernel_width] = spec.kernel;
        let per_output = if is_depthwise { 1 } else { channels } * kernel_height * kernel_width;
        let weights = spec.outputs * per_output;
        check_length("the weight of a convolution", spec.weight, weights)?;
        if weights == 0 {
            return Err("a convolution needs outputs and a window".to_owned());
        }
        let [top, left, bottom, right] = spec.padding;
        let padding = Border {
            top,
            left,
            bottom,
            right,
        };
        let shape = ValueShape::Map {
            height: output_size(height, top + bottom, kernel_height, spec.stride[0])?,
            width: output_size(width, left + right, kernel_width, spec.stride[1])?,
            channels: spec.outputs,
        };
        let mut inputs = vec![input];
        if let Some(residual) = spec.residual {
            if is_depthwise || self.shape(residual) != shape {
                return Err(format!(
                    "cannot add {} to the result of a convolution, {shape}: the residual must have the same shape, and \
                     the convolution 1 group",
                    self.shape(residual)
                ));
            }
            inputs.push(residual);
        }
        let convolution = ConvolutionOperation {
            weight: spec.weight.to_vec(),
            bias: complete_bias(spec.bias, spec.outputs)?,
            kernel: spec.kernel,
            stride: spec.stride,
            padding,
            is_depthwise,
            activation: spec.activation,
        };
        Ok(self.push(ProgramOperation::Convolution(convolution), inputs, shape))
    }

    /// Adds the greatest number of each channel in each window of a map. `padding` is top, left, bottom, right; places
    /// outside the map do not count.
    pub fn max_pool(
        &mut self,
        input: Value,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
    ) -> Result<Value, String> {
        check_window(kernel, padding)?;
        let (height, width, channels) = self.map_shape(input, "pool")?;
        let [top, left, bottom, right] = padding;
        if top.max(bottom) >= kernel[0] || left.max(right) >= kernel[1] {
            return Err(format!(
                "cannot pool windows of {kernel:?} with padding {padding:?}: the padding must be smaller than the window"
            ));
        }
        let shape = ValueShape::Map {
            height: output_size(height, top + bottom, kernel[0], stride[0])?,
            width: output_size(width, left + right, kernel[1], stride[1])?,
            channels,
        };
        let operation = ProgramOperation::MaxPool {
            kernel,
            stride,
            padding: Border {
                top,
                left,
                bottom,
                right,
            },
        };
        Ok(self.push(operation, vec![input], shape))
    }

    /// Adds the average of each channel of a map: 1 row.
    pub fn global_average(&mut self, input: Value) -> Result<Value, String> {
        let (_, _, channels) = self.map_shape(input, "average")?;
        let shape = ValueShape::Rows {
            rows: 1,
            width: channels,
            is_variable: false,
        };
        Ok(self.push(ProgramOperation::GlobalAverage, vec![input], shape))
    }

    /// Adds a linear layer. `weight` is `[output][input]`; `bias` has a number per output or is empty; `residual` has the
    /// shape of the result and is added before the activation.
    pub fn linear(
        &mut self,
        input: Value,
        weight: &[f32],
        bias: &[f32],
        outputs: usize,
        activation: KernelActivation,
        residual: Option<Value>,
    ) -> Result<Value, String> {
        let (rows, width, is_variable) = self.rows_shape(input, "multiply")?;
        check_length("the weight of a linear layer", weight, outputs * width)?;
        let shape = ValueShape::Rows {
            rows,
            width: outputs,
            is_variable,
        };
        let mut inputs = vec![input];
        if let Some(residual) = residual {
            if self.shape(residual) != shape {
                let found = self.shape(residual);
                return Err(format!(
                    "cannot add {found} to the result of a linear layer, {shape}: both must have the same shape"
                ));
            }
            inputs.push(residual);
        }
        let operation = ProgramOperation::Linear {
            weight: weight.to_vec(),
            bias: complete_bias(bias, outputs)?,
            activation,
        };
        Ok(self.push(operation, inputs, shape))
    }

    /// Compiles the operations that `output` needs. The output must be rows.
    pub fn finish(self, output: Value) -> Result<KernelProgram, String> {
        for node in &self.nodes {
            node.shape.check()?;
        }
        let (_, width, _) = self.rows_shape(output, "return")?;
        let inputs = self.nodes.iter().filter(|node| {
            let operation = &node.operation;
            matches!(
                operation,
                ProgramOperation::Pixels { .. } | ProgramOperation::TokenRows
            )
        });
        let inputs: Vec<_> = inputs.map(|node| node.shape).collect();
        let &[input] = &inputs[..] else {
            return Err(format!(
                "a program has one input, not {}: call `pixels` or `token_rows` once",
                inputs.len()
            ));
        };
        Ok(compile(self.set, &self.nodes, output, input, width))
    }

    /// Adds an operation.
    pub(super) fn push(
        &mut self,
        operation: ProgramOperation,
        inputs: Vec<Value>,
        shape: ValueShape,
    ) -> Value {
        self.nodes.push(Node {
            operation,
            inputs,
            shape,
        });
        Value(self.nodes.len() - 1)
    }

    pub(super) fn shape(&self, value: Value) -> ValueShape {
        self.nodes[value.0].shape
    }

    /// Returns height, width and channels of a map.
    pub(super) fn map_shape(
        &self,
        value: Value,
        verb: &str,
    ) -> Result<(usize, usize, usize), String> {
        match self.shape(value) {
            ValueShape::Map {
                height,
                width,
                channels,
            } => Ok((height, width, channels)),
            shape => Err(format!("cannot {verb} {shape}: give it a map")),
        }
    }

    /// Returns the number of rows, their width, and whether the number varies between runs.
    pub(super) fn rows_shape(
        &self,
        value: Value,
        verb: &str,
    ) -> Result<(usize, usize, bool), String> {
        match self.shape(value) {
            ValueShape::Rows {
                rows,
                width,
                is_variable,
            } => Ok((rows, width, is_variable)),
            shape => Err(format!("cannot {verb} {shape}: give it rows")),
        }
    }
}

/// Checks that sums of the sizes of a window cannot overflow.
fn check_window(kernel: [usize; 2], padding: [usize; 4]) -> Result<(), String> {
    const MAX_WINDOW: usize = 1 << 10;
    if kernel
        .iter()
        .chain(&padding)
        .all(|size| *size <= MAX_WINDOW)
    {
        return Ok(());
    }
    Err(format!(
        "a window of {kernel:?} with padding {padding:?} is too large: at most {MAX_WINDOW}"
    ))
}

/// Returns the places of a window along one side.
fn output_size(size: usize, padding: usize, kernel: usize, stride: usize) -> Result<usize, String> {
    if stride == 0 || size + padding < kernel {
        return Err(format!(
            "a window of {kernel} does not fit into {size} pixels with {padding} of padding at stride {stride}"
        ));
    }
    Ok((size + padding - kernel) / stride + 1)
}

/// Checks the number of parameters.
pub(super) fn check_length(name: &str, numbers: &[f32], expected: usize) -> Result<(), String> {
    if numbers.len() == expected {
        return Ok(());
    }
    let found = numbers.len();
    Err(format!("{name} has {found} numbers: it needs {expected}"))
}

/// Replaces an empty bias by zeros.
fn complete_bias(bias: &[f32], outputs: usize) -> Result<Vec<f32>, String> {
    if bias.is_empty() {
        return Ok(vec![0.0; outputs]);
    }
    check_length("the bias", bias, outputs)?;
    Ok(bias.to_vec())
}
