//! Convolutions of 3 × 3 windows at stride 1 by Winograd's algorithm F(2×2, 3×3), after Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks" (2015).
//!
//! A tile of 2 × 2 outputs reads 4 × 4 inputs. Transformed inputs and windows have 16 components each, and each component
//! is a matrix product of its own: 16 products instead of 36 per tile, input and output.

use std::ops::Range;

use crate::activation::KernelActivation;
use crate::gemm::{Extent, OutputForm, PackedWeights, Product, Segments, Strides};
use crate::memory::{AlignedArray, Scratch};
use crate::simd::{Kernel, Simd};
use crate::step::{MapSlot, Run, Step, chunk_range, clear_border};

/// Components of a transformed tile.
const COMPONENTS: usize = 16;

/// The size of the transformed tiles that are computed at a time: a part of the second-level cache.
const BLOCK_BYTES: usize = 640 << 10;

/// Tiles that are computed at a time are a multiple of this, so that they fill the tiles of the product.
const TILE_UNIT: usize = 24;

/// A convolution from one map to another.
pub(crate) struct WinogradConvolution<S: Simd> {
    /// A matrix for each component.
    weights: Vec<PackedWeights<S>>,
    bias: AlignedArray<f32>,
    activation: KernelActivation,
    /// Zeros above and to the left of the input.
    padding: [usize; 2],
    /// If the output has an odd height or width, the border has one more line or column than the windows need.
    input: MapSlot,
    output: MapSlot,
    residual: Option<MapSlot>,
}

/// Transforms the window of an input and an output: `G g Gᵀ`.
fn transform_window(window: &[f32]) -> [f32; COMPONENTS] {
    const G: [[f32; 3]; 4] = [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.0, 0.0, 1.0],
    ];
    std::array::from_fn(|component| {
        let (row, column) = (&G[component / 4], &G[component % 4]);
        let places = (0..9).map(|place| row[place / 3] * column[place % 3] * window[place]);
        places.sum()
    })
}

impl<S: Simd> WinogradConvolution<S> {
    /// Packs weights `[output][channel][3][3]`.
    pub(crate) fn new(
        weight: &[f32],
        bias: &[f32],
        activation: KernelActivation,
        padding: [usize; 2],
        slots: [MapSlot; 2],
        residual: Option<MapSlot>,
    ) -> Self {
        let [input, output] = slots;
        let transformed: Vec<_> = weight.chunks_exact(9).map(transform_window).collect();
        let channels = input.channels;
        let weights = (0..COMPONENTS).map(|component| {
            let element =
                |output: usize, input: usize| transformed[output * channels + input][component];
            PackedWeights::pack(bias.len(), channels, element, &[])
        });
        let weights = weights.collect();
        let mut padded_bias = bias.to_vec();
        padded_bias.resize(output.pitch, 0.0);
        Self {
            weights,
            bias: AlignedArray::from_slice(&padded_bias),
            activation,
            padding,
            input,
            output,
            residual,
        }
    }

    /// Bytes of the transformed inputs and outputs of a tile.
    fn tile_bytes(&self) -> usize {
        COMPONENTS
            * (self.input.pitch * size_of::<S::Element>() + self.output.pitch * size_of::<f32>())
    }

    /// Tiles that are computed at a time.
    fn block_tiles(&self) -> usize {
        // Large weights do not stay in the cache from block to block: then the blocks are as large as half the weights.
        let bytes =
            BLOCK_BYTES.max(self.weights.iter().map(PackedWeights::size).sum::<usize>() / 2);
        (bytes / self.tile_bytes() / TILE_UNIT * TILE_UNIT).max(TILE_UNIT)
    }

    /// Lines and columns of tiles in an image.
    fn tile_grid(&self) -> [usize; 2] {
        [
            self.output.height.div_ceil(2),
            self.output.width.div_ceil(2),
        ]
    }

    fn count_tiles(&self, run: &Run<'_>) -> usize {
        let [lines, columns] = self.tile_grid();
        run.images.len() * lines * columns
    }

    fn count_blocks(&self) -> usize {
        self.weights[0].blocks().len()
    }

    /// Returns whether the chunks are blocks of output channels, and not tiles. Each chunk then transforms all
    /// inputs, which costs little if there are few.
    fn splits_outputs(&self, run: &Run<'_>) -> bool {
        run.threads > 1 && self.count_tiles(run) < TILE_UNIT * run.threads
    }

    /// Computes some tiles for some blocks of output channels.
    unsafe fn run_block(
        &self,
        run: &Run<'_>,
        tiles: Range<usize>,
        blocks: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let count = tiles.len();
        let [inputs, outputs] = [self.input.pitch, self.output.pitch];
        let memory = scratch.take(count * self.tile_bytes());
        let transformed = memory.cast::<S::Element>();
        let input_bytes = COMPONENTS * count * inputs * size_of::<S::Element>();
        let sums = memory.wrapping_add(input_bytes).cast::<f32>();
        let rows = |pitch: usize| Strides {
            pixel: pitch,
            line: 0,
            image: 0,
        };
        // SAFETY: the scratch memory has room for all tiles; the rest is the caller's promise.
        unsafe {
            S::enter(TransformInputs {
                convolution: self,
                run,
                tiles: tiles.clone(),
                to: transformed,
            });
            for (component, weights) in self.weights.iter().enumerate() {
                let product = Product {
                    weights,
                    extent: Extent {
                        height: 1,
                        width: count,
                    },
                    input: transformed.add(component * count * inputs).cast_const(),
                    input_strides: rows(inputs),
                    segments: Segments {
                        count: 1,
                        step: 0,
                        steps: weights.steps(),
                    },
                    output: sums.add(component * count * outputs).cast(),
                    output_strides: rows(outputs),
                    form: OutputForm::Wide,
                    residual: std::ptr::null(),
                    residual_strides: rows(outputs),
                    activation: KernelActivation::None,
                };
                product.run(0..count, blocks.clone());
            }
            let [Some(first), Some(last)] =
                [blocks.start, blocks.end - 1].map(|i| self.weights[0].blocks().get(i))
            else {
                unreachable!("the blocks exist");
            };
            S::enter(TransformOutputs {
                convolution: self,
                run,
                tiles,
                channels: first.first_output..last.first_output + last.vectors * S::LANES,
                from: sums,
            });
        }
    }

    /// Returns image, line and column of a tile's first output.
    #[inline(always)]
    fn place_tile(&self, run: &Run<'_>, tile: usize) -> (usize, usize, usize) {
        let [lines, columns] = self.tile_grid();
        let (line, column) = (tile / columns, tile % columns);
        (
            run.images.start + line / lines,
            line % lines * 2,
            column * 2,
        )
    }
}

/// Transforms 4 × 4 inputs: `Bᵀ d B`.
struct TransformInputs<'a, S: Simd> {
    convolution: &'a WinogradConvolution<S>,
    run: &'a Run<'a>,
    tiles: Range<usize>,
    /// `[component][tile][channel]`.
    to: *mut S::Element,
}

/// `Bᵀ` times a column.
#[inline(always)]
fn transform_inputs<S: Simd>(d: [S::F32; 4]) -> [S::F32; 4] {
    [
        S::sub(d[0], d[2]),
        S::add(d[1], d[2]),
        S::sub(d[2], d[1]),
        S::sub(d[1], d[3]),
    ]
}

impl<S: Simd> Kernel<S> for TransformInputs<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let slot = &self.convolution.input;
        let [top, left] = self.convolution.padding;
        let (line, pitch) = (slot.line(), slot.pitch);
        let component = self.tiles.len() * pitch;
        let mut index = 0;
        while index < self.tiles.len() {
            let (image, y, x) = self
                .convolution
                .place_tile(self.run, self.tiles.start + index);
            let first = self.run.map::<S>(slot, image).cast_const();
            let first = first
                .wrapping_add(y * line + x * pitch)
                .wrapping_sub(top * line + left * pitch);
            let mut channel = 0;
            while channel < pitch {
                // SAFETY: the border of the input contains the windows of all outputs.
                unsafe {
                    let mut rows = [[S::zero(); 4]; 4];
                    for (column, rows) in rows.iter_mut().enumerate() {
                        let place = first.add(column * pitch + channel);
                        *rows = transform_inputs::<S>([
                            S::load_elements(place),
                            S::load_elements(place.add(line)),
                            S::load_elements(place.add(2 * line)),
                            S::load_elements(place.add(3 * line)),
                        ]);
                    }
                    let mut to = self.to.add(index * pitch + channel);
                    for row in 0..4 {
                        let columns = [rows[0][row], rows[1][row], rows[2][row], rows[3][row]];
                        for value in transform_inputs::<S>(columns) {
                            S::store_elements(to, value);
                            to = to.wrapping_add(component);
                        }
                    }
                }
                channel += S::LANES;
            }
            index += 1;
        }
    }
}

/// Transforms sums to 2 × 2 outputs: `Aᵀ m A`.
struct TransformOutputs<'a, S: Simd> {
    convolution: &'a WinogradConvolution<S>,
    run: &'a Run<'a>,
    tiles: Range<usize>,
    /// Whole vectors.
    channels: Range<usize>,
    /// `[component][tile][channel]`.
    from: *const f32,
}

/// `Aᵀ` times a column.
#[inline(always)]
fn transform_sums<S: Simd>(m: [S::F32; 4]) -> [S::F32; 2] {
    [
        S::add(S::add(m[0], m[1]), m[2]),
        S::sub(S::sub(m[1], m[2]), m[3]),
    ]
}

impl<S: Simd> Kernel<S> for TransformOutputs<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let convolution = self.convolution;
        let slot = &convolution.output;
        let (line, pitch) = (slot.line(), slot.pitch);
        let component = self.tiles.len() * pitch;
        let mut index = 0;
        while index < self.tiles.len() {
            let (image, y, x) = convolution.place_tile(self.run, self.tiles.start + index);
            let output = self
                .run
                .map::<S>(slot, image)
                .wrapping_add(y * line + x * pitch);
            // The last tiles may extend beyond the map.
            let (lines, columns_inside) = (slot.height - y, slot.width - x);
            let (residual, residual_line) = match &convolution.residual {
                Some(slot) => {
                    let first = self.run.map::<S>(slot, image).cast_const();
                    (
                        first.wrapping_add(y * slot.line() + x * slot.pitch),
                        slot.line(),
                    )
                }
                None => (std::ptr::null(), 0),
            };
            let mut channel = self.channels.start;
            while channel < self.channels.end {
                // SAFETY: the sums have all components; the places are inside the maps.
                unsafe {
                    let mut columns = [[S::zero(); 2]; 4];
                    let first = self.from.add(index * pitch + channel);
                    for (column, sums) in columns.iter_mut().enumerate() {
                        let place = first.add(column * component);
                        *sums = transform_sums::<S>([
                            S::load(place),
                            S::load(place.add(4 * component)),
                            S::load(place.add(8 * component)),
                            S::load(place.add(12 * component)),
                        ]);
                    }
                    let bias = S::load(convolution.bias.as_ptr().add(channel));
                    let mut outputs = [[bias; 2]; 2];
                    for (row, outputs) in outputs.iter_mut().enumerate() {
                        let sums = [
                            columns[0][row],
                            columns[1][row],
                            columns[2][row],
                            columns[3][row],
                        ];
                        let sums = transform_sums::<S>(sums);
                        outputs[0] = S::add(outputs[0], sums[0]);
                        outputs[1] = S::add(outputs[1], sums[1]);
                        if !residual.is_null() && row < lines {
                            let place = residual.add(row * residual_line + channel);
                            outputs[0] = S::add(outputs[0], S::load_elements(place));
                            if columns_inside > 1 {
                                let next = S::load_elements(place.add(pitch));
                                outputs[1] = S::add(outputs[1], next);
                            }
                        }
                    }
                    convolution
                        .activation
                        .apply_compactly::<S, 2, 2>(&mut outputs);
                    for (row, outputs) in outputs.iter().enumerate() {
                        if row < lines {
                            let place = output.add(row * line + channel);
                            S::store_elements(place, outputs[0]);
                            if columns_inside > 1 {
                                S::store_elements(place.add(pitch), outputs[1]);
                            }
                        }
                    }
                }
                channel += S::LANES;
            }
            index += 1;
        }
    }
}

impl<S: Simd> Step<S> for WinogradConvolution<S> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        let threads = run.threads;
        if threads == 1 {
            return 1;
        }
        if self.splits_outputs(run) {
            return self.count_blocks().min(threads);
        }
        // The same number for each thread.
        let rounds = self.count_tiles(run) / TILE_UNIT / threads;
        threads * rounds.clamp(1, 4)
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, scratch: &mut Scratch) {
        if chunk == 0 {
            for image in run.images.clone() {
                // SAFETY: only this chunk writes the border.
                unsafe { clear_border::<S>(run.map::<S>(&self.output, image), &self.output) };
            }
        }
        let (tiles, outputs) = (self.count_tiles(run), self.count_blocks());
        let (tiles, outputs) = if self.splits_outputs(run) {
            (0..tiles, chunk_range(outputs, 1, chunk, chunks))
        } else {
            (chunk_range(tiles, TILE_UNIT / 3, chunk, chunks), 0..outputs)
        };
        let blocks = tiles.len().div_ceil(self.block_tiles());
        for block in 0..blocks {
            let part = chunk_range(tiles.len(), TILE_UNIT / 3, block, blocks);
            let part = tiles.start + part.start..tiles.start + part.end;
            // SAFETY: the caller's promise.
            unsafe { self.run_block(run, part, outputs.clone(), scratch) };
        }
    }

    fn weight_bytes(&self) -> usize {
        self.weights.iter().map(PackedWeights::size).sum::<usize>() + self.bias.size()
    }
}
