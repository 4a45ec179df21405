//! Turns coefficients into samples, and the samples of all components into pixels.
//!
//! This is the part that the fast decoders get wrong for unusual files: components of any relation
//! of sizes, and four components at a reduced size.

use image::{DynamicImage, GrayImage, RgbImage};

use super::blocks::CoefficientBlock;
use super::frame::{FrameComponent, JpegFrame};
use crate::decode::{appearance::CmykConverter, deadline::CpuDeadline};
use crate::error::DecodeError;

/// Samples of one component at 1/`reduction` of their size.
#[derive(Debug)]
pub(super) struct ComponentPlane {
    samples: Vec<u8>,
    /// Stored samples per row: those of whole blocks.
    stride: usize,
    /// Samples that belong to the image.
    width: usize,
    height: usize,
    reduction: usize,
}

/// How the components relate to red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColorModel {
    Rgb,
    YCbCr,
    /// Stored inverted, as all programs do. With `is_ycck`, the first three are YCbCr.
    Cmyk {
        is_ycck: bool,
    },
}

impl ComponentPlane {
    /// Creates a plane of medium gray, which libjpeg shows where data is missing.
    pub(super) fn new(frame: &JpegFrame, component: &FrameComponent, reduction: usize) -> Self {
        let (across, down) = frame.stored_blocks(component);
        let (width, height) = frame.component_size(component);
        let stride = across * 8 / reduction;
        Self {
            samples: vec![128; stride * (down * 8 / reduction)],
            stride,
            width: width.div_ceil(reduction),
            height: height.div_ceil(reduction),
            reduction,
        }
    }

    /// Bytes of a plane at 1/`reduction` of its size.
    pub(super) fn count_bytes(
        frame: &JpegFrame,
        component: &FrameComponent,
        reduction: usize,
    ) -> u64 {
        let (across, down) = frame.stored_blocks(component);
        (across * 8 / reduction * (down * 8 / reduction)) as u64
    }

    /// Writes the samples of the block at `column` and `row`.
    pub(super) fn put_block(
        &mut self,
        (column, row): (usize, usize),
        block: &CoefficientBlock,
        quantization: &[u16; 64],
    ) {
        let side = 8 / self.reduction;
        let begin = row * side * self.stride + column * side;
        let rows = self.samples[begin..].chunks_mut(self.stride).take(side);
        if block[1..].iter().all(|coefficient| *coefficient == 0) {
            let level = f32::from(block[0]) * f32::from(quantization[0]) / 8.0;
            let value = to_sample(level);
            rows.for_each(|row| row[..side].fill(value));
            return;
        }
        let levels = transform_back(block, quantization);
        let parts = (self.reduction * self.reduction) as f32;
        for (y, row) in rows.enumerate() {
            for (x, sample) in row[..side].iter_mut().enumerate() {
                let mut sum = 0.0;
                for part in y * self.reduction..(y + 1) * self.reduction {
                    let begin = part * 8 + x * self.reduction;
                    sum += levels[begin..begin + self.reduction].iter().sum::<f32>();
                }
                *sample = to_sample(sum / parts);
            }
        }
    }

    /// Writes the pixels of row `y` into `line`.
    fn resample_row(&self, y: usize, (across, down): (SampleRatio, SampleRatio), line: &mut [u8]) {
        let row = |row: usize| {
            let begin = row.min(self.height - 1) * self.stride;
            &self.samples[begin..begin + self.width]
        };
        let (upper, fraction_down) = down.locate(y);
        let (first, second) = (row(upper), row(upper + 1));
        if across.is_one() && fraction_down == 0 {
            line.copy_from_slice(&first[..line.len()]);
            return;
        }
        let last = self.width - 1;
        for (x, value) in line.iter_mut().enumerate() {
            let (left, fraction) = across.locate(x);
            let (left, right) = (left.min(last), (left + 1).min(last));
            let mix = |row: &[u8]| {
                u32::from(row[left]) * (256 - fraction) + u32::from(row[right]) * fraction
            };
            let sum = mix(first) * (256 - fraction_down) + mix(second) * fraction_down;
            *value = ((sum + (1 << 15)) >> 16) as u8;
        }
    }
}

/// The samples of a component per sample of the largest one, in one direction.
#[derive(Debug, Clone, Copy)]
struct SampleRatio {
    factor: usize,
    largest: usize,
    /// Whether pixels repeat the sample instead of interpolating between two.
    is_repeated: bool,
}

impl SampleRatio {
    fn is_one(self) -> bool {
        self.factor == self.largest
    }

    /// Returns the ratios of a component, across and down. Like libjpeg, interpolates in components of
    /// half the size, and repeats the samples of smaller ones.
    fn of_component(frame: &JpegFrame, component: &FrameComponent) -> (Self, Self) {
        let across = (component.horizontal, frame.max_horizontal);
        let down = (component.vertical, frame.max_vertical);
        let is_whole = |(factor, largest): (usize, usize)| largest.is_multiple_of(factor);
        let is_small = |(factor, largest): (usize, usize)| largest > 2 * factor;
        let is_repeated =
            is_whole(across) && is_whole(down) && (is_small(across) || is_small(down));
        let ratio = |(factor, largest)| Self {
            factor,
            largest,
            is_repeated,
        };
        (ratio(across), ratio(down))
    }

    /// Returns the sample left of a pixel's centre and the distance from it, in 1/256.
    fn locate(self, pixel: usize) -> (usize, u32) {
        if self.is_repeated || self.is_one() {
            return (pixel * self.factor / self.largest, 0);
        }
        // (pixel + 1/2) · factor / largest − 1/2, in units of 1 / (2 · largest).
        let doubled = ((2 * pixel + 1) * self.factor).saturating_sub(self.largest);
        let unit = 2 * self.largest;
        (doubled / unit, (doubled % unit * 256 / unit) as u32)
    }
}

fn to_sample(level: f32) -> u8 {
    (level + 128.5).clamp(0.0, 255.0) as u8
}

/// Inverse discrete cosine transform, separable, in floating point.
fn transform_back(block: &CoefficientBlock, quantization: &[u16; 64]) -> [f32; 64] {
    let basis = &*BASIS;
    let mut columns = [0.0_f32; 64];
    for v in 0..8 {
        let mut row = [0.0_f32; 8];
        for u in 0..8 {
            let coefficient = block[v * 8 + u];
            if coefficient != 0 {
                let value = f32::from(coefficient) * f32::from(quantization[v * 8 + u]);
                for (sum, weight) in row.iter_mut().zip(&basis[u]) {
                    *sum += value * weight;
                }
            }
        }
        columns[v * 8..v * 8 + 8].copy_from_slice(&row);
    }
    let mut levels = [0.0_f32; 64];
    for (y, out) in levels.chunks_exact_mut(8).enumerate() {
        for (v, row) in columns.chunks_exact(8).enumerate() {
            let weight = basis[v][y];
            for (level, value) in out.iter_mut().zip(row) {
                *level += weight * value;
            }
        }
    }
    levels
}

/// `BASIS[u][x]` is the value of the cosine of frequency `u` at sample `x`, with its normalisation.
static BASIS: std::sync::LazyLock<[[f32; 8]; 8]> = std::sync::LazyLock::new(|| {
    std::array::from_fn(|u| {
        std::array::from_fn(|x| {
            let scale = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
            (0.5 * scale * angle.cos()) as f32
        })
    })
});

/// Joins the planes to an image. Without a converter of the `inks`, CMYK becomes RGB by a formula.
///
/// # Errors
/// Fails only if the time for the decode is over.
pub(super) fn join_planes(
    frame: &JpegFrame,
    planes: &[ComponentPlane],
    model: ColorModel,
    inks: Option<&CmykConverter>,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let reduction = planes.first().map_or(1, |plane| plane.reduction);
    let (width, height) = (
        frame.width.div_ceil(reduction),
        frame.height.div_ceil(reduction),
    );
    let ratios: Vec<_> = frame
        .components
        .iter()
        .map(|component| SampleRatio::of_component(frame, component))
        .collect();
    let mut lines = vec![vec![0; width]; planes.len()];
    let channels = if planes.len() == 1 { 1 } else { 3 };
    let mut pixels = vec![0; width * height * channels];
    for (y, out) in pixels.chunks_exact_mut(width * channels).enumerate() {
        for ((plane, ratio), line) in planes.iter().zip(&ratios).zip(&mut lines) {
            plane.resample_row(y, *ratio, line);
        }
        match (&lines[..], model, inks) {
            ([first, second, third, fourth], ColorModel::Cmyk { is_ycck }, Some(inks)) => {
                let pixels = (0..width)
                    .flat_map(|x| to_inks([first[x], second[x], third[x], fourth[x]], is_ycck));
                let pixels: Vec<u8> = pixels.collect();
                out.copy_from_slice(&inks.convert_to_srgb(&pixels, deadline)?);
            }
            ([first, second, third, rest @ ..], _, _) => {
                for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                    let black = rest.first().map_or(255, |line| line[x]);
                    pixel.copy_from_slice(&to_rgb([first[x], second[x], third[x], black], model));
                }
            }
            (lines, _, _) => out.copy_from_slice(&lines[0]),
        }
    }
    // A JPEG's sides fit into 16 bits, and the buffer has exactly their product.
    let (width, height) = (width as u32, height as u32);
    let image = match channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    Ok(image.expect("the buffer was allocated with this size"))
}

fn to_rgb([first, second, third, fourth]: [u8; 4], model: ColorModel) -> [u8; 3] {
    match model {
        ColorModel::Rgb => [first, second, third],
        ColorModel::YCbCr => ycbcr_to_rgb([first, second, third]),
        ColorModel::Cmyk { is_ycck } => {
            let [cyan, magenta, yellow, black] =
                to_inks([first, second, third, fourth], is_ycck).map(|ink| 255 - ink);
            let darken = |value: u8| ((u32::from(value) * u32::from(black) + 127) / 255) as u8;
            [cyan, magenta, yellow].map(darken)
        }
    }
}

/// Returns the inks of a stored pixel; 255 means full ink.
fn to_inks([first, second, third, fourth]: [u8; 4], is_ycck: bool) -> [u8; 4] {
    let [cyan, magenta, yellow] = match is_ycck {
        true => ycbcr_to_rgb([first, second, third]),
        false => [255 - first, 255 - second, 255 - third],
    };
    [cyan, magenta, yellow, 255 - fourth]
}

fn ycbcr_to_rgb([luma, blue, red]: [u8; 3]) -> [u8; 3] {
    let (luma, blue, red) = (
        i32::from(luma) << 16,
        i32::from(blue) - 128,
        i32::from(red) - 128,
    );
    let round = |value: i32| ((value + (1 << 15)) >> 16).clamp(0, 255) as u8;
    [
        round(luma + 91_881 * red),
        round(luma - 22_554 * blue - 46_802 * red),
        round(luma + 116_130 * blue),
    ]
}
