//! The input of an image network: bytes become numbers through a table.

use crate::memory::Scratch;
use crate::simd::{Element, Simd};
use crate::step::{MapSlot, Run, Step, chunk_range, clear_border};

/// Writes the map of an image from interleaved 8-bit RGB.
pub(crate) struct PixelInput<S: Simd> {
    /// The number of each byte, per channel.
    table: Box<[[S::Element; 256]; 3]>,
    /// Has a pitch of 3.
    output: MapSlot,
}

impl<S: Simd> PixelInput<S> {
    pub(crate) fn new(table: &[[f32; 256]; 3], output: MapSlot) -> Self {
        let table = table.map(|numbers| numbers.map(S::Element::from_f32));
        Self {
            table: Box::new(table),
            output,
        }
    }
}

impl<S: Simd> Step<S> for PixelInput<S> {
    fn count_chunks(&self, run: &Run<'_>) -> usize {
        match run.threads {
            1 => 1,
            threads => (run.images.len() * self.output.height).min(2 * threads),
        }
    }

    unsafe fn run_chunk(&self, run: &Run<'_>, chunk: usize, chunks: usize, _: &mut Scratch) {
        let (height, width) = (self.output.height, self.output.width);
        for line in chunk_range(run.images.len() * height, 1, chunk, chunks) {
            let image = run.images.start + line / height;
            let y = line % height;
            let output = run.map::<S>(&self.output, image);
            let start = (image * height + y) * width * 3;
            let bytes = &run.pixels[start..start + width * 3];
            // SAFETY: the line belongs to the slot. Earlier runs or `AlignedBytes` initialised the memory.
            let line = unsafe {
                if y == 0 {
                    clear_border::<S>(output, &self.output);
                }
                std::slice::from_raw_parts_mut(output.add(y * self.output.line()), width * 3)
            };
            let [red, green, blue] = &*self.table;
            for (pixel, bytes) in line.chunks_exact_mut(3).zip(bytes.chunks_exact(3)) {
                pixel[0] = red[usize::from(bytes[0])];
                pixel[1] = green[usize::from(bytes[1])];
                pixel[2] = blue[usize::from(bytes[2])];
            }
        }
    }
}
