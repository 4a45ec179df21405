//! Maxima of windows and averages of whole maps.

use crate::memory::Scratch;
use crate::simd::{Kernel, Simd};
use crate::step::{MapSlot, RowsSlot, Run, Step, chunk_range, clear_border};

/// The greatest number of each channel in each window. Places outside the map do not count.
pub(crate) struct MaxPool {
    pub(crate) input: MapSlot,
    pub(crate) output: MapSlot,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Places above and to the left of the map.
    pub(crate) padding: [usize; 2],
}

impl<S: Simd> Step<S> for MaxPool {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        match run.threads {
            1 => 1,
            threads => (run.images.len() * self.output.height).min(4 * threads),
        }
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, _: &mut Scratch) {
        let lines = run.images.len() * self.output.height;
        for line in chunk_range(lines, 1, chunk, chunks) {
            let image = run.images.start + line / self.output.height;
            let y = line % self.output.height;
            let input = run.map::<S>(&self.input, image);
            let output = run.map::<S>(&self.output, image);
            // SAFETY: the pointers stay in the slots.
            unsafe {
                if y == 0 {
                    clear_border::<S>(output, &self.output);
                }
                S::enter(MaxLine::<S> {
                    pool: self,
                    input,
                    output: output.add(y * self.output.line()),
                    y,
                });
            }
        }
    }
}

/// Returns the part of a window that is inside `size` places.
#[inline(always)]
fn window(index: usize, stride: usize, padding: usize, kernel: usize, size: usize) -> [usize; 2] {
    let start = index * stride;
    [
        start.saturating_sub(padding),
        (start + kernel).saturating_sub(padding).min(size),
    ]
}

struct MaxLine<'a, S: Simd> {
    pool: &'a MaxPool,
    input: *const S::Element,
    output: *mut S::Element,
    y: usize,
}

impl<S: Simd> Kernel<S> for MaxLine<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let pool = self.pool;
        let (line, pitch) = (pool.input.line(), pool.input.pitch);
        let [top, bottom] = window(
            self.y,
            pool.stride[0],
            pool.padding[0],
            pool.kernel[0],
            pool.input.height,
        );
        for x in 0..pool.output.width {
            let [left, right] = window(
                x,
                pool.stride[1],
                pool.padding[1],
                pool.kernel[1],
                pool.input.width,
            );
            let mut channel = 0;
            while channel < pitch {
                // SAFETY: the window is inside the map and not empty.
                unsafe {
                    let first = self.input.add(top * line + left * pitch + channel);
                    let mut greatest = S::load_elements(first);
                    for y in top..bottom {
                        for x in left..right {
                            let place = self.input.add(y * line + x * pitch + channel);
                            greatest = S::max(greatest, S::load_elements(place));
                        }
                    }
                    S::store_elements(self.output.add(x * pitch + channel), greatest);
                }
                channel += S::LANES;
            }
        }
    }
}

/// The average of each channel over all pixels: one row per image.
pub(crate) struct GlobalAverage {
    pub(crate) input: MapSlot,
    /// Wide.
    pub(crate) output: RowsSlot,
}

impl<S: Simd> Step<S> for GlobalAverage {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        match run.threads {
            1 => 1,
            _ => run.images.len(),
        }
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, _: &mut Scratch) {
        for index in chunk_range(run.images.len(), 1, chunk, chunks) {
            let image = run.images.start + index;
            // SAFETY: the pointers stay in the slots; the rest is the caller's promise.
            unsafe {
                S::enter(AverageImage::<S> {
                    map: &self.input,
                    input: run.map::<S>(&self.input, image),
                    output: run.floats(&self.output, image),
                });
            }
        }
    }
}

struct AverageImage<'a, S: Simd> {
    map: &'a MapSlot,
    input: *const S::Element,
    output: *mut f32,
}

impl<S: Simd> Kernel<S> for AverageImage<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let factor = S::splat(1.0 / self.map.pixels() as f32);
        let mut channel = 0;
        while channel < self.map.pitch {
            let mut sum = S::zero();
            for y in 0..self.map.height {
                for x in 0..self.map.width {
                    let at = y * self.map.line() + x * self.map.pitch + channel;
                    // SAFETY: the place is inside the map.
                    sum = unsafe { S::add(sum, S::load_elements(self.input.add(at))) };
                }
            }
            // SAFETY: the row has the pitch of the map.
            unsafe { S::store(self.output.add(channel), S::mul(sum, factor)) };
            channel += S::LANES;
        }
    }
}
