//! Runs compiled programs.

use std::sync::{Mutex, PoisonError};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::crew::{Stages, run_stages};
use crate::instruction_set::InstructionSet;
use crate::memory::{AlignedBytes, Scratch};
use crate::simd::Simd;
use crate::step::{RowsSlot, Run, Step, chunk_range};

/// The input of a program.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProgramInput {
    Pixels { height: usize, width: usize },
    Tokens { max_rows: usize, width: usize },
}

/// A network that is ready to run. Threads can share it.
///
/// A run uses the threads of the rayon pool that calls it. If there are at least as many images as threads, each thread
/// computes whole images; otherwise all threads compute the parts of each step.
pub struct KernelProgram {
    set: InstructionSet,
    input: ProgramInput,
    /// Numbers per row of the output.
    width: usize,
    compiled: Box<dyn RunProgram>,
    workspaces: Mutex<Vec<Workspace>>,
}

/// The memory of a run, kept for later runs.
#[derive(Default)]
pub(super) struct Workspace {
    memory: AlignedBytes,
    scratch: Scratch,
}

/// A program for some instruction set.
pub(super) trait RunProgram: Send + Sync {
    /// Images that a run computes at most.
    fn max_images(&self) -> usize;
    /// Bytes of a workspace, without the scratch memory.
    fn memory_bytes(&self) -> usize;
    fn weight_bytes(&self) -> usize;
    /// Rows of the output per image or text.
    fn count_output_rows(&self, token_rows: usize) -> usize;
    /// Computes up to `max_images` images, or one text, and writes the rows of the output.
    fn run(&self, input: RunInput<'_>, workspaces: &mut [Workspace], output: &mut [f32]);
}

/// Pixels of some images, or rows of a text.
#[derive(Clone, Copy)]
pub(super) struct RunInput<'a> {
    pub(super) images: usize,
    pub(super) pixels: &'a [u8],
    pub(super) rows: &'a [f32],
    pub(super) token_rows: usize,
}

impl KernelProgram {
    pub(super) fn new(
        set: InstructionSet,
        input: ProgramInput,
        width: usize,
        compiled: Box<dyn RunProgram>,
    ) -> Self {
        Self {
            set,
            input,
            width,
            compiled,
            workspaces: Mutex::default(),
        }
    }

    /// Returns the instruction set of the program.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    /// Computes a batch of images: interleaved 8-bit RGB of `batch` images, one after the other. Returns the rows of
    /// the output for each image.
    ///
    /// # Panics
    ///
    /// Panics if the program has no pixels as input, or if `pixels` has another length.
    pub fn run_images(&self, pixels: &[u8], batch: usize) -> Vec<f32> {
        let ProgramInput::Pixels { height, width } = self.input else {
            panic!("the program has token rows as input, not pixels");
        };
        let image_bytes = height * width * 3;
        assert_eq!(
            pixels.len(),
            batch * image_bytes,
            "{batch} images of {width} × {height} need {image_bytes} bytes each"
        );
        if batch == 0 {
            return Vec::new();
        }
        let numbers = self.compiled.count_output_rows(0) * self.width;
        let mut output = vec![0.0; batch * numbers];
        let threads = rayon::current_num_threads();
        // Whole images for each thread, as many as all threads can compute alike.
        let alike = batch / threads * threads;
        let (first_pixels, last_pixels) = pixels.split_at(alike * image_bytes);
        let (first_output, last_output) = output.split_at_mut(alike * numbers);
        if alike > 0 {
            let rounds = (alike / threads).div_ceil(self.compiled.max_images());
            let groups = rounds * threads;
            let limits: Vec<_> = (0..groups)
                .map(|group| chunk_range(alike, 1, group, groups))
                .collect();
            let mut rest = first_output;
            let mut parts = Vec::with_capacity(groups);
            for images in limits {
                let (part, after) = rest.split_at_mut(images.len() * numbers);
                rest = after;
                parts.push((images, part));
            }
            parts
                .into_par_iter()
                .with_max_len(1)
                .for_each(|(images, output)| {
                    let pixels =
                        &first_pixels[images.start * image_bytes..images.end * image_bytes];
                    self.run(input_of_images(pixels, images.len()), 1, output);
                });
        }
        let max_images = self.compiled.max_images();
        let groups = last_pixels.chunks(max_images * image_bytes);
        for (pixels, output) in groups.zip(last_output.chunks_mut(max_images * numbers)) {
            self.run(
                input_of_images(pixels, pixels.len() / image_bytes),
                threads,
                output,
            );
        }
        output
    }

    /// Computes a text of `row_count` rows. Returns the rows of the output.
    ///
    /// # Panics
    ///
    /// Panics if the program has no token rows as input, if there are no rows or too many, or if `rows` has another length.
    pub fn run_tokens(&self, rows: &[f32], row_count: usize) -> Vec<f32> {
        let ProgramInput::Tokens { max_rows, width } = self.input else {
            panic!("the program has pixels as input, not token rows");
        };
        assert!(
            (1..=max_rows).contains(&row_count),
            "the program takes 1 to {max_rows} token rows, not {row_count}"
        );
        assert_eq!(
            rows.len(),
            row_count * width,
            "a token row has {width} numbers"
        );
        let mut output = vec![0.0; self.compiled.count_output_rows(row_count) * self.width];
        let input = RunInput {
            images: 1,
            pixels: &[],
            rows,
            token_rows: row_count,
        };
        self.run(input, rayon::current_num_threads(), &mut output);
        output
    }

    /// Returns the size of the weights, and of the memory that earlier runs left for the next ones.
    pub fn memory_bytes(&self) -> usize {
        let workspaces = self
            .workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let kept: usize = workspaces.iter().map(Workspace::len).sum();
        self.compiled.weight_bytes() + kept
    }

    /// Runs with the memory of an earlier run if there is one.
    fn run(&self, input: RunInput<'_>, threads: usize, output: &mut [f32]) {
        let mut workspaces: Vec<_> = {
            let mut free = self
                .workspaces
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let kept = free.len().saturating_sub(threads);
            free.drain(kept..).rev().collect()
        };
        workspaces.resize_with(threads, Workspace::default);
        workspaces[0].memory.reserve(self.compiled.memory_bytes());
        #[cfg(test)]
        workspaces[0].memory.fill_with_nan();
        self.compiled.run(input, &mut workspaces, output);
        let mut free = self
            .workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The one with the memory is taken first.
        free.extend(workspaces.into_iter().rev());
    }
}

fn input_of_images(pixels: &[u8], images: usize) -> RunInput<'_> {
    RunInput {
        images,
        pixels,
        rows: &[],
        token_rows: 0,
    }
}

impl Workspace {
    fn len(&self) -> usize {
        self.memory.len() + self.scratch.len()
    }
}

/// The steps of a program.
pub(super) struct Compiled<S: Simd> {
    pub(super) steps: Vec<Box<dyn Step<S>>>,
    /// The first of the steps that compute all images of a run together. Those before compute one image after
    /// the other.
    pub(super) first_joint_step: usize,
    pub(super) max_images: usize,
    pub(super) memory_bytes: usize,
    pub(super) output: RowsReading,
}

/// Reads the output of a program.
pub(super) struct RowsReading {
    /// Wide.
    pub(super) slot: RowsSlot,
}

/// The stages of a run: the steps of each image, then those of all images.
struct RunStages<'a, S: Simd> {
    compiled: &'a Compiled<S>,
    run: Run<'a>,
    scratches: Vec<Mutex<&'a mut Scratch>>,
}

impl<S: Simd> RunStages<'_, S> {
    fn stage(&self, stage: usize) -> (&dyn Step<S>, Run<'_>) {
        let single = self.compiled.first_joint_step;
        let images = self.run.images.len();
        let mut run = self.run.clone();
        if stage < single * images {
            let image = stage / single;
            run.images = image..image + 1;
            return (&*self.compiled.steps[stage % single], run);
        }
        (&*self.compiled.steps[stage - single * images + single], run)
    }
}

impl<S: Simd> Stages for RunStages<'_, S> {
    fn count_stages(&self) -> usize {
        let single = self.compiled.first_joint_step;
        single * self.run.images.len() + self.compiled.steps.len() - single
    }

    fn count_chunks(&self, stage: usize) -> usize {
        let (step, run) = self.stage(stage);
        step.count_chunks(&run)
    }

    fn run_chunk(&self, stage: usize, chunk: usize, chunks: usize, worker: usize) {
        let (step, run) = self.stage(stage);
        let mut scratch = self.scratches[worker]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `compile` checked that the processor supports the set; the plan reserves memory for all slots. Other threads
        // compute other chunks of this step.
        unsafe { step.run_chunk(&run, chunk, chunks, &mut scratch) };
    }
}

impl<S: Simd> RunProgram for Compiled<S> {
    fn max_images(&self) -> usize {
        self.max_images
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    fn weight_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.weight_bytes()).sum()
    }

    fn count_output_rows(&self, token_rows: usize) -> usize {
        if self.output.slot.is_variable {
            token_rows
        } else {
            self.output.slot.rows
        }
    }

    fn run(&self, input: RunInput<'_>, workspaces: &mut [Workspace], output: &mut [f32]) {
        debug_assert!(input.images <= self.max_images);
        let threads = workspaces.len();
        let memory = workspaces[0].memory.reserve(self.memory_bytes);
        let scratches = workspaces
            .iter_mut()
            .map(|workspace| Mutex::new(&mut workspace.scratch));
        let stages = RunStages {
            compiled: self,
            run: Run {
                memory,
                images: 0..input.images,
                token_rows: input.token_rows,
                threads,
                pixels: input.pixels,
                rows: input.rows,
            },
            scratches: scratches.collect(),
        };
        if threads > 1 {
            run_stages(&stages, threads);
        } else {
            for stage in 0..stages.count_stages() {
                let chunks = stages.count_chunks(stage);
                for chunk in 0..chunks {
                    stages.run_chunk(stage, chunk, chunks, 0);
                }
            }
        }
        let slot = &self.output.slot;
        let rows = stages.run.count_rows(slot);
        for (index, row) in output.chunks_exact_mut(slot.width).enumerate() {
            let start = stages
                .run
                .floats(slot, index / rows)
                .wrapping_add(index % rows * slot.pitch);
            // SAFETY: the slot has room for all rows; all steps are finished.
            row.copy_from_slice(unsafe { std::slice::from_raw_parts(start, slot.width) });
        }
    }
}

/// Copies the token rows of a run.
pub(super) struct TokenInput {
    /// Wide.
    pub(super) output: RowsSlot,
}

impl<S: Simd> Step<S> for TokenInput {
    fn count_chunks(&self, _: &Run<'_>) -> usize {
        1
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, _: usize, _: usize, _: &mut Scratch) {
        let RowsSlot { width, pitch, .. } = self.output;
        let output = run.floats(&self.output, 0);
        for (index, row) in run.rows.chunks_exact(width).enumerate() {
            // SAFETY: the slot has room for all token rows.
            unsafe {
                let start = output.add(index * pitch);
                start.copy_from_nonoverlapping(row.as_ptr(), width);
                start.add(width).write_bytes(0, pitch - width);
            }
        }
    }
}
