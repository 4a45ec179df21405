//! Turns operations into steps: chooses layouts, plans the memory, packs the weights.

use super::execute::{Compiled, KernelProgram, ProgramInput, RowsReading, TokenInput};
use super::fuse::{StreamedNodes, find_streamed_blocks};
use super::memory_plan::{Lifetime, place_values};
use super::operation::{ConvolutionOperation, Node, ProgramOperation, Value, ValueShape};
use super::row_form::RowForm;
use crate::convolution::{Convolution, WindowWeights};
use crate::depthwise::DepthwiseWeights;
use crate::depthwise_step::DepthwiseConvolution;
use crate::gemm::PackedWeights;
use crate::instruction_set::InstructionSet;
use crate::inverted_residual::{BlockSlots, ExpandWeights, InvertedResidualStep, ProjectWeights};
use crate::linear::{ConvertRows, LinearLayer};
use crate::pixels::PixelInput;
use crate::pooling::{GlobalAverage, MaxPool};
use crate::simd::{Simd, SimdVisitor, visit};
use crate::step::{Border, MapSlot, RowsSlot, Slot, Step, pad_channels};
use crate::winograd::{LargeTile, SmallTile, WinogradConvolution, WinogradTile};

/// Images that the last steps compute together, so that they read their weights once for all.
const MAX_IMAGES_TOGETHER: usize = 4;

/// Compiles the operations that the output needs. The builder has checked all shapes.
pub(super) fn compile(
    set: InstructionSet,
    nodes: &[Node],
    output: Value,
    input: ValueShape,
    width: usize,
) -> KernelProgram {
    let input = match input {
        ValueShape::Pixels { height, width } => ProgramInput::Pixels { height, width },
        ValueShape::Rows { rows, width, .. } => ProgramInput::Tokens {
            max_rows: rows,
            width,
        },
        ValueShape::Map { .. } => unreachable!("a map is no input"),
    };
    let compiled = visit(set, Compiler { nodes, output });
    KernelProgram::new(set, input, width, compiled)
}

struct Compiler<'a> {
    nodes: &'a [Node],
    output: Value,
}

impl SimdVisitor for Compiler<'_> {
    type Output = Box<dyn super::execute::RunProgram>;

    fn visit<S: Simd>(self) -> Self::Output {
        let layout = Layout::new(self.nodes, self.output.0, size_of::<S::Element>());
        let slots: Vec<_> = layout.buffers.iter().map(|buffer| buffer.slot).collect();
        let steps = layout
            .stages
            .iter()
            .map(|stage| compile_stage::<S>(self.nodes, stage, &slots))
            .collect();
        let reading = RowsReading {
            slot: slots[layout.output].rows(),
        };
        Box::new(Compiled::<S> {
            steps,
            first_joint_step: layout.first_joint_stage,
            max_images: if layout.first_joint_stage < layout.stages.len() {
                MAX_IMAGES_TOGETHER
            } else {
                1
            },
            memory_bytes: layout.memory_bytes,
            output: reading,
        })
    }
}

/// A value in memory.
struct Buffer {
    slot: Slot,
    /// Bytes of an image.
    bytes: usize,
    /// The first and the last stage that uses it.
    stages: [usize; 2],
}

/// A step to be.
struct Stage {
    kind: StageKind,
    /// Buffers.
    reads: Vec<usize>,
    writes: usize,
}

enum StageKind {
    /// An operation alone.
    Single(usize),
    Streamed(StreamedNodes),
    /// Between f32 and elements.
    Convert,
}

/// The order of the stages and the places of the buffers.
struct Layout {
    stages: Vec<Stage>,
    buffers: Vec<Buffer>,
    /// The buffer of the program's output.
    output: usize,
    first_joint_stage: usize,
    memory_bytes: usize,
}

/// The buffers of a node: as the operation writes it, and converted.
#[derive(Clone, Copy, Default)]
struct NodeBuffers {
    wide: Option<usize>,
    narrow: Option<usize>,
}

impl NodeBuffers {
    fn select(self, form: RowForm) -> usize {
        let buffer = match form {
            RowForm::Wide => self.wide,
            RowForm::Narrow => self.narrow,
            RowForm::Any => self.wide.or(self.narrow),
        };
        buffer.expect("the layout creates all forms that an operation reads")
    }
}

impl Layout {
    fn new(nodes: &[Node], output: usize, element_bytes: usize) -> Self {
        let users = find_users(nodes, output);
        let blocks = find_streamed_blocks(nodes, &users);
        let mut layout = Self {
            stages: Vec::new(),
            buffers: Vec::new(),
            output: 0,
            first_joint_stage: 0,
            memory_bytes: 0,
        };
        let mut of_nodes = vec![NodeBuffers::default(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            let is_needed = index == output || !users[index].is_empty();
            if !is_needed || blocks.iter().any(|block| block.is_inside(index)) {
                continue;
            }
            let block = blocks.iter().find(|block| block.project == index).copied();
            layout.add_stages(
                nodes,
                index,
                block,
                &users[index],
                output,
                &mut of_nodes,
                element_bytes,
            );
            debug_assert!(node.inputs.iter().all(|input| input.0 < index));
        }
        layout.output = of_nodes[output].select(RowForm::Wide);
        let last = layout.stages.len();
        layout.buffers[layout.output].stages[1] = last;
        layout.first_joint_stage = layout.find_joint_stages(nodes, element_bytes);
        layout.place_buffers();
        layout
    }

    /// Adds the stage of an operation, and one that converts its output if later operations need both forms.
    #[allow(clippy::too_many_arguments)]
    fn add_stages(
        &mut self,
        nodes: &[Node],
        index: usize,
        block: Option<StreamedNodes>,
        users: &[(usize, usize)],
        output: usize,
        of_nodes: &mut [NodeBuffers],
        element_bytes: usize,
    ) {
        let node = &nodes[index];
        let forms = users
            .iter()
            .map(|(user, input)| nodes[*user].input_form(*input));
        let mut forms: Vec<_> = forms.collect();
        if index == output {
            forms.push(RowForm::Wide);
        }
        let is_map = !matches!(node.shape, ValueShape::Rows { .. });
        let needs_wide = !is_map && forms.contains(&RowForm::Wide);
        let needs_narrow = forms.contains(&RowForm::Narrow);
        let is_wide = match node.output_form() {
            RowForm::Wide => true,
            RowForm::Narrow => false,
            RowForm::Any => needs_wide,
        };
        let border = users
            .iter()
            .filter(|(_, input)| *input == 0)
            .fold(Border::default(), |border, (user, _)| {
                border.join(nodes[*user].input_border(element_bytes))
            });
        let (kind, inputs) = match block {
            Some(block) => (StageKind::Streamed(block), block.inputs(nodes)),
            None => (StageKind::Single(index), node.inputs.clone()),
        };
        let reads = inputs
            .iter()
            .enumerate()
            .map(|(input, value)| of_nodes[value.0].select(node.input_form(input)))
            .collect();
        let writes = self.add_buffer(node.shape, is_wide, border, element_bytes);
        self.add_stage(kind, reads, writes);
        let (mut wide, mut narrow) = (None, None);
        *(if is_wide { &mut wide } else { &mut narrow }) = Some(writes);
        if is_wide && needs_narrow || !is_wide && needs_wide {
            let converted = self.add_buffer(node.shape, !is_wide, border, element_bytes);
            self.add_stage(StageKind::Convert, vec![writes], converted);
            *(if is_wide { &mut narrow } else { &mut wide }) = Some(converted);
        }
        of_nodes[index] = NodeBuffers { wide, narrow };
    }

    fn add_stage(&mut self, kind: StageKind, reads: Vec<usize>, writes: usize) {
        let stage = self.stages.len();
        for buffer in &reads {
            self.buffers[*buffer].stages[1] = stage;
        }
        self.buffers[writes].stages = [stage, stage];
        self.stages.push(Stage {
            kind,
            reads,
            writes,
        });
    }

    fn add_buffer(
        &mut self,
        shape: ValueShape,
        is_wide: bool,
        border: Border,
        element_bytes: usize,
    ) -> usize {
        let map = |height, width, channels, pitch, border| MapSlot {
            offset: 0,
            image_step: 0,
            height,
            width,
            channels,
            pitch,
            border,
        };
        let slot = match shape {
            ValueShape::Pixels { height, width } => {
                // The last step of a line reads into the next pixel, which must contain numbers.
                let right = border.right + 1;
                Slot::Map(map(height, width, 3, 3, Border { right, ..border }))
            }
            ValueShape::Map {
                height,
                width,
                channels,
            } => Slot::Map(map(height, width, channels, pad_channels(channels), border)),
            ValueShape::Rows {
                rows,
                width,
                is_variable,
            } => Slot::Rows(RowsSlot {
                offset: 0,
                image_step: 0,
                rows,
                is_variable,
                width,
                pitch: pad_channels(width),
                is_wide,
            }),
        };
        let bytes = match &slot {
            Slot::Map(map) => map.image_elements() * element_bytes,
            Slot::Rows(rows) => {
                rows.rows
                    * rows.pitch
                    * if is_wide {
                        size_of::<f32>()
                    } else {
                        element_bytes
                    }
            }
        };
        self.buffers.push(Buffer {
            slot,
            bytes,
            stages: [0, 0],
        });
        self.buffers.len() - 1
    }

    /// Returns the first of the last stages that compute several images together: those with small maps and large
    /// weights.
    fn find_joint_stages(&self, nodes: &[Node], element_bytes: usize) -> usize {
        /// The greatest map of an image, with its border: the maps of all images together should stay in the caches.
        const MAX_MAP_ELEMENTS: usize = 75 << 10;
        /// The least weights: smaller ones stay in the cache from image to image.
        const MIN_WEIGHT_BYTES: usize = 1 << 20;
        let mut first = self.stages.len();
        let mut weights = 0;
        for (index, stage) in self.stages.iter().enumerate().rev() {
            let mut buffers = stage.reads.iter().chain([&stage.writes]);
            if buffers.any(|buffer| self.buffers[*buffer].bytes > MAX_MAP_ELEMENTS * element_bytes)
            {
                break;
            }
            weights += match &stage.kind {
                StageKind::Single(node) => nodes[*node].count_weights(),
                StageKind::Streamed(block) => block.count_weights(nodes),
                StageKind::Convert => 0,
            };
            first = index;
        }
        let is_variable = self.buffers.iter().any(|buffer| match &buffer.slot {
            Slot::Rows(slot) => slot.is_variable,
            Slot::Map(_) => false,
        });
        if is_variable || weights * element_bytes < MIN_WEIGHT_BYTES {
            return self.stages.len();
        }
        first
    }

    /// Sets the offsets and image steps of all slots.
    fn place_buffers(&mut self) {
        let first_joint = self.first_joint_stage;
        let lifetimes: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| {
                let [mut first, last] = buffer.stages;
                let mut bytes = buffer.bytes;
                if last >= first_joint && first_joint < self.stages.len() {
                    // The stages before run once per image, and each time they write the buffer of another image.
                    if first < first_joint {
                        first = 0;
                    }
                    match &mut buffer.slot {
                        Slot::Map(slot) => slot.image_step = bytes,
                        Slot::Rows(slot) => slot.image_step = bytes,
                    }
                    bytes *= MAX_IMAGES_TOGETHER;
                }
                Lifetime {
                    bytes,
                    steps: first..=last,
                }
            })
            .collect();
        let (offsets, total) = place_values(&lifetimes);
        for (buffer, offset) in self.buffers.iter_mut().zip(offsets) {
            match &mut buffer.slot {
                Slot::Map(slot) => slot.offset = offset,
                Slot::Rows(slot) => slot.offset = offset,
            }
        }
        self.memory_bytes = total;
    }
}

/// Returns for each node the nodes that need it, with the number of the input. Nodes that the output does not need
/// do not count.
fn find_users(nodes: &[Node], output: usize) -> Vec<Vec<(usize, usize)>> {
    let mut users = vec![Vec::new(); nodes.len()];
    for index in (0..=output).rev() {
        if index == output || !users[index].is_empty() {
            for (input, value) in nodes[index].inputs.iter().enumerate() {
                users[value.0].push((index, input));
            }
        }
    }
    users
}

/// Packs the weights of a stage.
fn compile_stage<S: Simd>(nodes: &[Node], stage: &Stage, slots: &[Slot]) -> Box<dyn Step<S>> {
    let output = &slots[stage.writes];
    let inputs: Vec<_> = stage.reads.iter().map(|buffer| slots[*buffer]).collect();
    let node = match &stage.kind {
        StageKind::Single(node) => &nodes[*node],
        StageKind::Streamed(block) => return compile_streamed::<S>(nodes, block, &inputs, output),
        StageKind::Convert => {
            return Box::new(ConvertRows {
                input: inputs[0].rows(),
                output: output.rows(),
            });
        }
    };
    match &node.operation {
        ProgramOperation::Pixels { table } => Box::new(PixelInput::<S>::new(table, output.map())),
        ProgramOperation::TokenRows => Box::new(TokenInput {
            output: output.rows(),
        }),
        ProgramOperation::Convolution(convolution) => {
            compile_convolution::<S>(convolution, &inputs, output)
        }
        ProgramOperation::MaxPool {
            kernel,
            stride,
            padding,
        } => Box::new(MaxPool {
            input: inputs[0].map(),
            output: output.map(),
            kernel: *kernel,
            stride: *stride,
            padding: [padding.top, padding.left],
        }),
        ProgramOperation::GlobalAverage => Box::new(GlobalAverage {
            input: inputs[0].map(),
            output: output.rows(),
        }),
        ProgramOperation::Linear {
            weight,
            bias,
            activation,
        } => {
            let width = inputs[0].rows().width;
            let element = |output: usize, input: usize| weight[output * width + input];
            Box::new(LinearLayer::<S> {
                weights: PackedWeights::pack_segments(bias.len(), [1, width], element, bias),
                input: inputs[0].rows(),
                output: output.rows(),
                residual: inputs.get(1).map(Slot::rows),
                activation: *activation,
            })
        }
        ProgramOperation::Transformer(operation) => {
            operation.compile::<S>(&inputs[0], &output.rows())
        }
    }
}

fn compile_convolution<S: Simd>(
    convolution: &ConvolutionOperation,
    inputs: &[Slot],
    output: &Slot,
) -> Box<dyn Step<S>> {
    let padding = [convolution.padding.top, convolution.padding.left];
    if convolution.is_depthwise {
        return Box::new(DepthwiseConvolution::<S>::new(
            pack_depthwise(convolution),
            inputs[0].map(),
            output.map(),
            padding,
        ));
    }
    let (input, residual) = (inputs[0].map(), inputs.get(1).map(Slot::map));
    let ConvolutionOperation {
        weight,
        bias,
        stride,
        activation,
        ..
    } = convolution;
    let slots = [input, output.map()];
    let size = [slots[1].height, slots[1].width];
    match convolution.winograd_side(size, size_of::<S::Element>()) {
        Some(LargeTile::OUTPUTS) => {
            return Box::new(WinogradConvolution::<S, LargeTile>::new(
                weight,
                bias,
                *activation,
                padding,
                slots,
                residual,
            ));
        }
        Some(_) => {
            return Box::new(WinogradConvolution::<S, SmallTile>::new(
                weight,
                bias,
                *activation,
                padding,
                slots,
                residual,
            ));
        }
        None => {}
    }
    Box::new(Convolution::<S> {
        weights: pack_windows(convolution, &input),
        input,
        output: output.map(),
        residual,
        stride: *stride,
        padding,
        activation: *activation,
    })
}

fn pack_windows<S: Simd>(convolution: &ConvolutionOperation, input: &MapSlot) -> WindowWeights<S> {
    let ConvolutionOperation {
        weight,
        bias,
        kernel,
        ..
    } = convolution;
    WindowWeights::pack(weight, bias, input.channels, input.pitch, *kernel)
}

fn pack_depthwise(convolution: &ConvolutionOperation) -> DepthwiseWeights {
    DepthwiseWeights::pack(
        &convolution.weight,
        &convolution.bias,
        convolution.kernel,
        convolution.stride,
        convolution.activation,
    )
}

fn compile_streamed<S: Simd>(
    nodes: &[Node],
    block: &StreamedNodes,
    inputs: &[Slot],
    output: &Slot,
) -> Box<dyn Step<S>> {
    let input = inputs[0].map();
    let depthwise = block.convolution(nodes, block.depthwise);
    let project = block.convolution(nodes, block.project);
    let expand = block.expand.map(|node| {
        let expand = block.convolution(nodes, node);
        let ValueShape::Map { height, width, .. } = nodes[node].shape else {
            unreachable!("a convolution returns a map");
        };
        ExpandWeights {
            weights: pack_windows(expand, &input),
            stride: expand.stride,
            padding: [expand.padding.top, expand.padding.left],
            activation: expand.activation,
            size: [height, width],
        }
    });
    Box::new(InvertedResidualStep::<S>::new(
        expand,
        block.is_wide,
        pack_depthwise(depthwise),
        [depthwise.padding.top, depthwise.padding.left],
        ProjectWeights::pack(
            &project.weight,
            &project.bias,
            block.is_wide,
            project.activation,
        ),
        BlockSlots {
            input,
            output: output.map(),
            residual: inputs.get(1).map(Slot::map),
        },
    ))
}
