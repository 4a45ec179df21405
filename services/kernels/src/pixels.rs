//! The input of an image network: bytes become numbers through a table.

use crate::memory::Scratch;
use crate::simd::{Element, Kernel, Simd};
use crate::step::{MapSlot, Run, Step, chunk_range, clear_border};

/// Writes the map of an image from interleaved 8-bit RGB.
pub(crate) struct PixelInput<S: Simd> {
    /// The number of each byte, per channel.
    table: Box<[[S::Element; 256]; 3]>,
    /// Computes the same as the table, if that is possible.
    scale: Option<ByteScale>,
    /// Has a pitch of 3.
    output: MapSlot,
}

/// Bytes that [`ByteScale`] converts at a time: whole pixels and whole vectors.
const PERIOD: usize = 48;

/// A factor and an offset for each byte of some pixels. Almost all tables are of this kind, and a vector of products is
/// faster than a look-up of each byte.
struct ByteScale {
    factors: [f32; PERIOD],
    offsets: [f32; PERIOD],
}

impl ByteScale {
    fn from_table(table: &[[f32; 256]; 3]) -> Option<Self> {
        let mut scale = Self {
            factors: [0.0; PERIOD],
            offsets: [0.0; PERIOD],
        };
        for (channel, numbers) in table.iter().enumerate() {
            let factor = (numbers[255] - numbers[0]) / 255.0;
            let greatest = numbers[0].abs().max(numbers[255].abs());
            for (byte, number) in numbers.iter().enumerate() {
                let error = (byte as f32).mul_add(factor, numbers[0]) - number;
                // The rounding errors of f32 in another order of operations.
                if error.is_nan() || error.abs() > 1e-6 * greatest {
                    return None;
                }
            }
            for place in (channel..PERIOD).step_by(3) {
                scale.factors[place] = factor;
                scale.offsets[place] = numbers[0];
            }
        }
        Some(scale)
    }
}

impl<S: Simd> PixelInput<S> {
    pub(crate) fn new(table: &[[f32; 256]; 3], output: MapSlot) -> Self {
        let elements = table.map(|numbers| numbers.map(S::Element::from_f32));
        Self {
            table: Box::new(elements),
            scale: ByteScale::from_table(table),
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
            let mut done = 0;
            if let Some(scale) = &self.scale {
                done = bytes.len() / PERIOD * PERIOD;
                let scaled = ScaledBytes::<S> {
                    scale,
                    bytes: &bytes[..done],
                    output: &mut line[..done],
                };
                // SAFETY: the caller's promise about the processor.
                unsafe { S::enter(scaled) };
            }
            let [red, green, blue] = &*self.table;
            let pixels = line[done..]
                .chunks_exact_mut(3)
                .zip(bytes[done..].chunks_exact(3));
            for (pixel, bytes) in pixels {
                pixel[0] = red[usize::from(bytes[0])];
                pixel[1] = green[usize::from(bytes[1])];
                pixel[2] = blue[usize::from(bytes[2])];
            }
        }
    }
}

struct ScaledBytes<'a, S: Simd> {
    scale: &'a ByteScale,
    /// Whole periods.
    bytes: &'a [u8],
    /// As many elements.
    output: &'a mut [S::Element],
}

impl<S: Simd> Kernel<S> for ScaledBytes<'_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let mut first = 0;
        while first < self.bytes.len() {
            let mut place = 0;
            while place < PERIOD {
                // SAFETY: the bytes and the output are whole periods, a period is whole vectors.
                unsafe {
                    let bytes = S::load_bytes(self.bytes.as_ptr().add(first + place));
                    let factors = S::load(self.scale.factors.as_ptr().add(place));
                    let offsets = S::load(self.scale.offsets.as_ptr().add(place));
                    let numbers = S::mul_add(bytes, factors, offsets);
                    S::store_elements(self.output.as_mut_ptr().add(first + place), numbers);
                }
                place += S::LANES;
            }
            first += PERIOD;
        }
    }
}
