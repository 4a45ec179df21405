//! Convolutions of 3 × 3 windows at stride 1 by Winograd's algorithm, after Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks" (2015).
//!
//! A tile of m × m outputs reads (m + 2) × (m + 2) inputs. Transformed inputs and windows have as many components as a tile
//! has inputs, and each component is a matrix product of its own: (m + 2)² products instead of 9 m² per tile, input and
//! output.

mod tile;

use std::marker::PhantomData;
use std::ops::Range;

pub(crate) use self::tile::{LargeTile, SmallTile, WinogradTile};
use self::tile::{MAX_INPUTS, MAX_OUTPUTS};

use crate::activation::KernelActivation;
use crate::gemm::{Extent, OutputForm, PackedWeights, Product, Segments, Strides};
use crate::memory::{AlignedArray, Scratch};
use crate::simd::{Kernel, Simd};
use crate::step::{MapSlot, Run, Step, chunk_range, clear_border};

/// The size of the transformed tiles that are computed at a time: a part of the second-level cache.
const BLOCK_BYTES: usize = 320 << 10;

/// A convolution from one map to another.
pub(crate) struct WinogradConvolution<S: Simd, T> {
    /// A matrix for each component.
    weights: Vec<PackedWeights<S>>,
    bias: AlignedArray<f32>,
    activation: KernelActivation,
    /// Zeros above and to the left of the input.
    padding: [usize; 2],
    /// If tiles extend beyond the output, the border has as many more lines and columns as they need.
    input: MapSlot,
    output: MapSlot,
    residual: Option<MapSlot>,
    tile: PhantomData<T>,
}

impl<S: Simd, T: WinogradTile> WinogradConvolution<S, T> {
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
        let transformed: Vec<f32> = weight
            .chunks_exact(9)
            .flat_map(T::transform_window)
            .collect();
        let channels = input.channels;
        let weights = (0..T::COMPONENTS).map(|component| {
            let element = |output: usize, input: usize| {
                transformed[(output * channels + input) * T::COMPONENTS + component]
            };
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
            tile: PhantomData,
        }
    }

    /// Bytes of the transformed inputs and outputs of a tile.
    fn tile_bytes(&self) -> usize {
        T::COMPONENTS
            * (self.input.pitch * size_of::<S::Element>() + self.output.pitch * size_of::<f32>())
    }

    /// Tiles that are computed at a time.
    fn block_tiles(&self) -> usize {
        // Large weights do not stay in the cache from block to block: then the blocks are as large as half the weights.
        let bytes =
            BLOCK_BYTES.max(self.weights.iter().map(PackedWeights::size).sum::<usize>() / 2);
        (bytes / self.tile_bytes() / T::UNIT * T::UNIT).max(T::UNIT)
    }

    /// Lines and columns of tiles in an image.
    fn tile_grid(&self) -> [usize; 2] {
        [
            self.output.height.div_ceil(T::OUTPUTS),
            self.output.width.div_ceil(T::OUTPUTS),
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
        run.threads > 1
            && self.count_tiles(run) < T::UNIT * run.threads
            && self.count_blocks() >= run.threads
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
        let input_bytes = T::COMPONENTS * count * inputs * size_of::<S::Element>();
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
                product.run(0..count, blocks.clone(), scratch);
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
            line % lines * T::OUTPUTS,
            column * T::OUTPUTS,
        )
    }
}

/// Transforms the inputs of tiles: `Bᵀ d B`.
struct TransformInputs<'a, S: Simd, T> {
    convolution: &'a WinogradConvolution<S, T>,
    run: &'a Run<'a>,
    tiles: Range<usize>,
    /// `[component][tile][channel]`.
    to: *mut S::Element,
}

impl<S: Simd, T: WinogradTile> Kernel<S> for TransformInputs<'_, S, T> {
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
                    let mut columns = [[S::zero(); MAX_INPUTS]; MAX_INPUTS];
                    for (x, column) in columns.iter_mut().enumerate().take(T::INPUTS) {
                        let mut inputs = [S::zero(); MAX_INPUTS];
                        for (y, input) in inputs.iter_mut().enumerate().take(T::INPUTS) {
                            *input = S::load_elements(first.add(y * line + x * pitch + channel));
                        }
                        *column = T::transform_inputs::<S>(inputs);
                    }
                    let mut to = self.to.add(index * pitch + channel);
                    for row in 0..T::INPUTS {
                        let values = T::transform_inputs::<S>(columns.map(|column| column[row]));
                        for value in values.into_iter().take(T::INPUTS) {
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

/// Transforms the sums of tiles to outputs: `Aᵀ m A`.
struct TransformOutputs<'a, S: Simd, T> {
    convolution: &'a WinogradConvolution<S, T>,
    run: &'a Run<'a>,
    tiles: Range<usize>,
    /// Whole vectors.
    channels: Range<usize>,
    /// `[component][tile][channel]`.
    from: *const f32,
}

impl<S: Simd, T: WinogradTile> Kernel<S> for TransformOutputs<'_, S, T> {
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
                    let first = self.from.add(index * pitch + channel);
                    let mut columns = [[S::zero(); MAX_OUTPUTS]; MAX_INPUTS];
                    for (x, column) in columns.iter_mut().enumerate().take(T::INPUTS) {
                        let mut sums = [S::zero(); MAX_INPUTS];
                        for (y, sum) in sums.iter_mut().enumerate().take(T::INPUTS) {
                            *sum = S::load(first.add((y * T::INPUTS + x) * component));
                        }
                        *column = T::transform_sums::<S>(sums);
                    }
                    let bias = S::load(convolution.bias.as_ptr().add(channel));
                    for row in 0..lines.min(T::OUTPUTS) {
                        let sums = columns.map(|column| column[row]);
                        let mut outputs = [T::transform_sums::<S>(sums)];
                        for output in &mut outputs[0] {
                            *output = S::add(*output, bias);
                        }
                        if !residual.is_null() {
                            let place = residual.add(row * residual_line + channel);
                            for (x, output) in outputs[0].iter_mut().enumerate().take(T::OUTPUTS) {
                                if x < columns_inside {
                                    let residual = S::load_elements(place.add(x * pitch));
                                    *output = S::add(*output, residual);
                                }
                            }
                        }
                        convolution
                            .activation
                            .apply_compactly::<S, 1, MAX_OUTPUTS>(&mut outputs);
                        let place = output.add(row * line + channel);
                        for (x, value) in outputs[0].into_iter().enumerate().take(T::OUTPUTS) {
                            if x < columns_inside {
                                S::store_elements(place.add(x * pitch), value);
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

impl<S: Simd, T: WinogradTile> Step<S> for WinogradConvolution<S, T> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        let threads = run.threads;
        if threads == 1 {
            return 1;
        }
        if self.splits_outputs(run) {
            return threads;
        }
        // The same number for each thread.
        let rounds = self.count_tiles(run) / T::UNIT / threads;
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
            (chunk_range(tiles, T::CHUNK_UNIT, chunk, chunks), 0..outputs)
        };
        let blocks = tiles.len().div_ceil(self.block_tiles());
        for block in 0..blocks {
            let part = chunk_range(tiles.len(), T::CHUNK_UNIT, block, blocks);
            let part = tiles.start + part.start..tiles.start + part.end;
            // SAFETY: the caller's promise.
            unsafe { self.run_block(run, part, outputs.clone(), scratch) };
        }
    }

    fn weight_bytes(&self) -> usize {
        self.weights.iter().map(PackedWeights::size).sum::<usize>() + self.bias.size()
    }
}
