//! Turns the samples of pixels into RGB.

use super::directory::{self as tags, FORMAT, TiffDirectory, TiffFile};
use super::layout::{AlphaSample, PageLayout, Photometric};
use crate::error::DecodeError;

/// Converts rows of samples to gray or RGB, with or without alpha.
pub(crate) struct RowPainter {
    photometric: Photometric,
    alpha: Option<AlphaSample>,
    color_samples: usize,
    has_wide_indexes: bool,
    palette: Vec<[u8; 3]>,
    luma: LumaCoefficients,
}

impl RowPainter {
    pub(crate) fn new(
        file: &TiffFile<'_>,
        directory: &TiffDirectory,
        layout: &PageLayout,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            photometric: layout.photometric,
            alpha: layout.alpha,
            color_samples: layout.color_samples,
            has_wide_indexes: layout.bits > 8,
            palette: match layout.photometric {
                Photometric::Palette => read_palette(file, directory, layout.bits)?,
                _ => Vec::new(),
            },
            luma: LumaCoefficients::read(file, directory),
        })
    }

    /// Returns the channels of a converted pixel: gray or RGB, then alpha.
    pub(crate) fn channels(&self) -> usize {
        self.color_channels() + usize::from(self.alpha.is_some())
    }

    fn color_channels(&self) -> usize {
        match self.photometric {
            Photometric::WhiteIsZero | Photometric::BlackIsZero => 1,
            _ => 3,
        }
    }

    /// Converts a row. `is_rgb` says that the codec of the chunk has converted YCbCr.
    pub(crate) fn paint_row(
        &self,
        samples: &[u8],
        samples_per_pixel: usize,
        is_rgb: bool,
        target: &mut [u8],
    ) {
        let photometric = match is_rgb {
            true => Photometric::Rgb,
            false => self.photometric,
        };
        let is_wide = photometric == Photometric::Palette && self.has_wide_indexes;
        let sample_bytes = if is_wide { 2 } else { 1 };
        let colors = self.color_channels();
        let pixels = samples.chunks_exact(samples_per_pixel * sample_bytes);
        for (pixel, target) in pixels.zip(target.chunks_exact_mut(self.channels())) {
            let mut rgb = self.convert(photometric, pixel);
            if let Some(alpha) = self.alpha {
                let opacity = pixel[self.color_samples * sample_bytes];
                if alpha == AlphaSample::Premultiplied {
                    rgb = rgb.map(|value| divide_by_alpha(value, opacity));
                }
                target[colors] = opacity;
            }
            target[..colors].copy_from_slice(&rgb[..colors]);
        }
    }

    fn convert(&self, photometric: Photometric, pixel: &[u8]) -> [u8; 3] {
        match photometric {
            Photometric::WhiteIsZero => [!pixel[0]; 3],
            Photometric::BlackIsZero => [pixel[0]; 3],
            Photometric::Rgb => [pixel[0], pixel[1], pixel[2]],
            Photometric::Palette => {
                let index = match self.has_wide_indexes {
                    true => usize::from(u16::from_be_bytes([pixel[0], pixel[1]])),
                    false => usize::from(pixel[0]),
                };
                self.palette.get(index).copied().unwrap_or_default()
            }
            Photometric::Cmyk => {
                let light = |ink: u8| u32::from(!ink);
                let black = light(pixel[3]);
                [0, 1, 2].map(|index| ((light(pixel[index]) * black + 127) / 255) as u8)
            }
            Photometric::YCbCr => self.luma.to_rgb([pixel[0], pixel[1], pixel[2]]),
            Photometric::CieLab => lab_to_rgb(
                pixel[0],
                f32::from(pixel[1] as i8),
                f32::from(pixel[2] as i8),
            ),
            Photometric::IccLab => lab_to_rgb(
                pixel[0],
                f32::from(pixel[1]) - 128.0,
                f32::from(pixel[2]) - 128.0,
            ),
        }
    }
}

fn divide_by_alpha(value: u8, alpha: u8) -> u8 {
    match u32::from(alpha) {
        0 => 0,
        alpha => ((u32::from(value) * 255 + alpha / 2) / alpha).min(255) as u8,
    }
}

/// Reads the palette: all red values, then green, then blue.
fn read_palette(
    file: &TiffFile<'_>,
    directory: &TiffDirectory,
    bits: u32,
) -> Result<Vec<[u8; 3]>, DecodeError> {
    let corrupt = |reason: &str| DecodeError::Corrupt {
        format: FORMAT,
        reason: reason.to_owned(),
    };
    let entry = directory
        .find_entry(tags::COLOR_MAP)
        .ok_or_else(|| corrupt("its palette is missing"))?;
    let colors = (entry.count / 3).min(1 << bits);
    let stride = (entry.count / 3).max(1);
    let mut palette = Vec::new();
    for color in 0..colors {
        let value = |channel: u64| file.entry_number(entry, channel * stride + color);
        let (Some(red), Some(green), Some(blue)) = (value(0), value(1), value(2)) else {
            return Err(corrupt("its palette is not within the file"));
        };
        palette.push([red, green, blue]);
    }
    // The values have 16 bits, but some programs write 8.
    let is_narrow = palette.iter().flatten().all(|value| *value < 256);
    let shift = if is_narrow { 0 } else { 8 };
    Ok(palette
        .into_iter()
        .map(|color| color.map(|value| (value >> shift).min(255) as u8))
        .collect())
}

/// How Y, Cb and Cr are made of red, green and blue.
struct LumaCoefficients {
    red: f32,
    green: f32,
    blue: f32,
    /// Black and white of each component.
    reference: [[f32; 2]; 3],
}

impl LumaCoefficients {
    fn read(file: &TiffFile<'_>, directory: &TiffDirectory) -> Self {
        let fractions = |tag, count: u64| -> Option<Vec<f32>> {
            let entry = directory.find_entry(tag)?;
            (0..count)
                .map(|index| {
                    let value = file.entry_fraction(entry, index)? as f32;
                    value.is_finite().then_some(value)
                })
                .collect()
        };
        let [red, green, blue] = match fractions(tags::YCBCR_COEFFICIENTS, 3).as_deref() {
            Some(&[red, green, blue]) if green > 0.0 => [red, green, blue],
            _ => [0.299, 0.587, 0.114],
        };
        let reference = match fractions(tags::REFERENCE_BLACK_WHITE, 6).as_deref() {
            Some(&[a, b, c, d, e, f]) if a < b && c < d && e < f => [[a, b], [c, d], [e, f]],
            _ => [[0.0, 255.0], [128.0, 255.0], [128.0, 255.0]],
        };
        Self {
            red,
            green,
            blue,
            reference,
        }
    }

    fn to_rgb(&self, pixel: [u8; 3]) -> [u8; 3] {
        let scale = |index: usize, range: f32| {
            let [black, white] = self.reference[index];
            (f32::from(pixel[index]) - black) * range / (white - black)
        };
        let (luma, blue_chroma, red_chroma) = (scale(0, 255.0), scale(1, 127.0), scale(2, 127.0));
        let red = luma + red_chroma * (2.0 - 2.0 * self.red);
        let blue = luma + blue_chroma * (2.0 - 2.0 * self.blue);
        let green = (luma - self.red * red - self.blue * blue) / self.green;
        [red, green, blue].map(|value| (value + 0.5) as u8)
    }
}

/// Converts CIE L*a*b* under the light D50 to sRGB, with the matrix of Bradford's adaptation
/// (<http://www.brucelindbloom.com/index.html?Eqn_RGB_XYZ_Matrix.html>).
fn lab_to_rgb(lightness: u8, a: f32, b: f32) -> [u8; 3] {
    let y = (f32::from(lightness) * 100.0 / 255.0 + 16.0) / 116.0;
    let to_linear = |value: f32| match value > 6.0 / 29.0 {
        true => value * value * value,
        false => (value - 16.0 / 116.0) * (108.0 / 841.0),
    };
    let x = to_linear(y + a / 500.0) * 0.9642;
    let z = to_linear(y - b / 200.0) * 0.8249;
    let y = to_linear(y);
    [
        3.133_856 * x - 1.616_867 * y - 0.490_615 * z,
        -0.978_768 * x + 1.916_142 * y + 0.033_454 * z,
        0.071_945 * x - 0.228_991 * y + 1.405_243 * z,
    ]
    .map(|linear| {
        let linear = linear.clamp(0.0, 1.0);
        let encoded = match linear <= 0.003_130_8 {
            true => 12.92 * linear,
            false => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
        };
        (encoded * 255.0 + 0.5) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_has_known_colors() {
        assert_eq!(lab_to_rgb(255, 0.0, 0.0), [255, 255, 255]);
        assert_eq!(lab_to_rgb(0, 0.0, 0.0), [0, 0, 0]);
        // L* 53.2, a* 80.1, b* 67.2 is sRGB's red under D65; under D50 it is L* 54.3, 80.8, 69.9.
        let red = lab_to_rgb(138, 80.8, 69.9);
        assert!(red[0] > 250 && red[1] < 12 && red[2] < 12, "{red:?}");
    }

    #[test]
    fn premultiplied_colors_are_divided() {
        assert_eq!(divide_by_alpha(50, 100), 128);
        assert_eq!(divide_by_alpha(50, 0), 0);
        assert_eq!(divide_by_alpha(200, 100), 255);
    }
}
