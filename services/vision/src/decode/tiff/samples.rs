//! Turns the decompressed bytes of a chunk into samples of 8 bits.

use super::directory::{self as tags, TiffDirectory, TiffFile};
use super::layout::{Differencing, PageLayout, Photometric, SampleKind};

/// The values that become 0 and 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampleRange {
    pub min: f64,
    pub max: f64,
}

/// Fractions up to this value are taken for pictures between 0 and 1 with a few brighter lights,
/// which are cut off, as viewers do.
const MAX_BRIGHT_LIGHT: f64 = 16.0;

impl SampleRange {
    /// A range that contains nothing.
    pub(crate) const EMPTY: Self = Self {
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    };

    /// Returns the range that a page's tags state.
    pub(crate) fn from_tags(file: &TiffFile<'_>, directory: &TiffDirectory) -> Option<Self> {
        let fraction = |tag| file.entry_fraction(directory.find_entry(tag)?, 0);
        let min = fraction(tags::MIN_SAMPLE_VALUE)?;
        let max = fraction(tags::MAX_SAMPLE_VALUE)?;
        (min.is_finite() && max.is_finite() && min < max).then_some(Self { min, max })
    }

    /// Returns the range to display, given the range of the stored values.
    pub(crate) fn to_display(self, kind: SampleKind, bits: u32) -> Self {
        let full = 2_f64.powf(f64::from(bits));
        match self {
            // Numbers that use their highest bits are colours, not measurements.
            Self { max, .. } if kind == SampleKind::Unsigned && max >= full / 256.0 => Self {
                min: 0.0,
                max: full - 1.0,
            },
            _ if kind == SampleKind::Float && self.min >= -0.5 && self.max <= MAX_BRIGHT_LIGHT => {
                Self { min: 0.0, max: 1.0 }
            }
            Self { min, max } if min < max => self,
            // One value, or none at all.
            Self { min, .. } if min.is_finite() => Self {
                min: min.min(0.0),
                max: min.max(1.0),
            },
            _ => Self { min: 0.0, max: 1.0 },
        }
    }

    fn include(&mut self, value: f64) {
        if value.is_finite() {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }

    fn to_byte(self, value: f64) -> u8 {
        let fraction = (value - self.min) / (self.max - self.min);
        // A conversion of a float saturates, and turns NaN into 0.
        (fraction * 255.0 + 0.5) as u8
    }
}

impl PageLayout {
    /// Whether the numbers do not say what is black and white, so that the picture's own range is
    /// used: floating-point and signed numbers, and those of 32 bits or more, which hold measurements.
    pub(crate) fn needs_range(&self) -> bool {
        self.kind != SampleKind::Unsigned || self.bits >= 32
    }
}

/// Reads the rows of a chunk as numbers.
pub(crate) struct SampleReader<'l> {
    layout: &'l PageLayout,
    is_little_endian: bool,
    /// Samples of a row.
    row_samples: usize,
    numbers: Vec<u64>,
    bytes: Vec<u8>,
}

impl<'l> SampleReader<'l> {
    pub(crate) fn new(layout: &'l PageLayout, is_little_endian: bool) -> Self {
        Self {
            layout,
            is_little_endian,
            row_samples: layout.chunk_width as usize * layout.chunk_samples(),
            numbers: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Widens `range` by the colours of a row.
    pub(crate) fn measure_row(&mut self, row: &[u8], range: &mut SampleRange) {
        self.read_numbers(row);
        let (samples, colors) = (self.layout.chunk_samples(), self.layout.color_samples);
        for pixel in self.numbers.chunks_exact(samples) {
            for number in &pixel[..colors.min(samples)] {
                range.include(self.to_value(*number));
            }
        }
    }

    /// Appends the samples of a row as bytes. Indexes of a palette of more than 8 bits take two
    /// bytes, the higher first.
    pub(crate) fn append_row(&mut self, row: &[u8], range: SampleRange, target: &mut Vec<u8>) {
        let layout = self.layout;
        if layout.bits == 8 && layout.kind == SampleKind::Unsigned {
            let begin = target.len();
            target.extend(&row[..self.row_samples]);
            if layout.differencing == Differencing::Horizontal {
                let step = layout.chunk_samples();
                let row = &mut target[begin..];
                for index in step..row.len() {
                    row[index] = row[index].wrapping_add(row[index - step]);
                }
            }
            return;
        }
        self.read_numbers(row);
        let numbers = self.numbers.iter();
        let is_lab = matches!(
            layout.photometric,
            Photometric::CieLab | Photometric::IccLab
        );
        if layout.photometric == Photometric::Palette && layout.bits > 8 {
            target.extend(numbers.flat_map(|number| (*number as u16).to_be_bytes()));
        } else if layout.photometric == Photometric::Palette {
            target.extend(numbers.map(|number| *number as u8));
        } else if is_lab && !layout.needs_range() && layout.bits >= 8 {
            // a* and b* may be signed, so only the higher bits count.
            target.extend(numbers.map(|number| (number >> (layout.bits - 8)) as u8));
        } else if layout.needs_range() {
            target.extend(
                self.numbers
                    .iter()
                    .map(|number| range.to_byte(self.to_value(*number))),
            );
        } else {
            let max = (1_u64 << layout.bits) - 1;
            target.extend(numbers.map(|number| ((number * 255 + max / 2) / max) as u8));
        }
    }

    fn to_value(&self, number: u64) -> f64 {
        let bits = self.layout.bits;
        match (self.layout.kind, bits) {
            (SampleKind::Unsigned, _) => number as f64,
            (SampleKind::Signed, _) => ((number << (64 - bits)) as i64 >> (64 - bits)) as f64,
            (SampleKind::Float, 16) => half::f16::from_bits(number as u16).to_f64(),
            (SampleKind::Float, 32) => f64::from(f32::from_bits(number as u32)),
            (SampleKind::Float, _) => f64::from_bits(number),
        }
    }

    /// Fills `numbers` with the samples of a row, as they are before interpretation.
    fn read_numbers(&mut self, row: &[u8]) {
        let bits = self.layout.bits;
        self.numbers.clear();
        if self.layout.differencing == Differencing::FloatingPoint {
            self.read_float_differences(row);
            return;
        }
        if bits.is_multiple_of(8) {
            let join = |bytes: &[u8]| {
                let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
                match self.is_little_endian {
                    true => bytes.iter().rev().fold(0, add),
                    false => bytes.iter().fold(0, add),
                }
            };
            self.numbers
                .extend(row.chunks_exact(bits as usize / 8).map(join));
        } else {
            // Bits are packed, the highest first.
            let (mut window, mut filled) = (0_u64, 0);
            for byte in row {
                window = window << 8 | u64::from(*byte);
                filled += 8;
                while filled >= bits {
                    filled -= bits;
                    self.numbers.push(window >> filled & ((1 << bits) - 1));
                }
            }
        }
        self.numbers.truncate(self.row_samples);
        if self.layout.differencing == Differencing::Horizontal {
            let mask = u64::MAX >> (64 - bits);
            let step = self.layout.chunk_samples();
            for index in step..self.numbers.len() {
                let sum = self.numbers[index].wrapping_add(self.numbers[index - step]);
                self.numbers[index] = sum & mask;
            }
        }
    }

    /// Undoes differencing of floating-point numbers (Adobe's TIFF technical note 3): the bytes of a
    /// row are sorted by significance, the highest first, and then replaced by their differences.
    fn read_float_differences(&mut self, row: &[u8]) {
        let width = self.layout.bits as usize / 8;
        let step = self.layout.chunk_samples();
        self.bytes.clear();
        self.bytes.extend(&row[..self.row_samples * width]);
        for index in step..self.bytes.len() {
            self.bytes[index] = self.bytes[index].wrapping_add(self.bytes[index - step]);
        }
        for sample in 0..self.row_samples {
            let number = (0..width).fold(0, |number, byte| {
                number << 8 | u64::from(self.bytes[byte * self.row_samples + sample])
            });
            self.numbers.push(number);
        }
    }
}

/// Turns blocks of subsampled YCbCr into three samples per pixel (TIFF 6.0, section 21).
pub(crate) fn expand_blocks(
    bytes: &[u8],
    (width, rows): (usize, usize),
    (horizontal, vertical): (usize, usize),
) -> Vec<u8> {
    let block_bytes = horizontal * vertical + 2;
    let blocks_across = width.div_ceil(horizontal);
    let mut samples = vec![0; width * rows * 3];
    for (index, block) in bytes.chunks_exact(block_bytes).enumerate() {
        let (left, top) = (
            index % blocks_across * horizontal,
            index / blocks_across * vertical,
        );
        let (luma, chroma) = block.split_at(horizontal * vertical);
        for (position, value) in luma.iter().enumerate() {
            let (x, y) = (left + position % horizontal, top + position / horizontal);
            if x < width && y < rows {
                let target = &mut samples[(y * width + x) * 3..][..3];
                target.copy_from_slice(&[*value, chroma[0], chroma[1]]);
            }
        }
    }
    samples
}
