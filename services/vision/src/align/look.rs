//! What differs in brightness, contrast and colour.

use super::affine::AffineMap;
use crate::decode::decoded::DecodedImage;

/// Points of a picture that are measured, about.
const MAX_POINTS: f64 = 20_000.0;

/// The look of two pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LookDifference {
    pub first: MeanLook,
    pub second: MeanLook,
}

/// The mean look of a picture, in levels of 8 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeanLook {
    /// Mean brightness (luma), 0 to 255.
    pub brightness: f64,
    /// Standard deviation of the brightness.
    pub contrast: f64,
    /// Mean distance from gray: the length of the differences Cb and Cr.
    pub saturation: f64,
    /// Mean blue difference (Cb without its offset).
    pub blue: f64,
    /// Mean red difference (Cr without its offset).
    pub red: f64,
}

#[derive(Default)]
struct LookSums {
    count: f64,
    luma: f64,
    luma_squares: f64,
    saturation: f64,
    blue: f64,
    red: f64,
}

impl LookSums {
    /// Adds a pixel, converted to Y′CbCr as JPEG does (ITU-R BT.601, full range).
    fn add_pixel(&mut self, pixel: &[u8]) {
        let [red, green, blue] = [0, 1, 2].map(|of| f64::from(pixel[of]));
        let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
        let (blue, red) = ((blue - luma) / 1.772, (red - luma) / 1.402);
        self.count += 1.0;
        self.luma += luma;
        self.luma_squares += luma * luma;
        self.saturation += blue.hypot(red);
        self.blue += blue;
        self.red += red;
    }

    fn mean(&self) -> MeanLook {
        let count = self.count.max(1.0);
        let brightness = self.luma / count;
        let variance = self.luma_squares / count - brightness * brightness;
        MeanLook {
            brightness,
            contrast: variance.max(0.0).sqrt(),
            saturation: self.saturation / count,
            blue: self.blue / count,
            red: self.red / count,
        }
    }
}

impl LookDifference {
    /// Measures where the map lays the second picture on the first one, or both as a whole.
    pub(super) fn measure(
        image: &DecodedImage,
        other: &DecodedImage,
        map: Option<&AffineMap>,
    ) -> Self {
        let (mut first, mut second) = (LookSums::default(), LookSums::default());
        for (column, row) in grid_points(image) {
            let Some(map) = map else {
                first.add_pixel(pixel_at(image, column, row));
                continue;
            };
            let (x, y) = map.apply(f64::from(column) + 0.5, f64::from(row) + 0.5);
            let is_inside = (0.0..f64::from(other.width)).contains(&x)
                && (0.0..f64::from(other.height)).contains(&y);
            if is_inside {
                first.add_pixel(pixel_at(image, column, row));
                second.add_pixel(pixel_at(other, x as u32, y as u32));
            }
        }
        if map.is_none() {
            for (column, row) in grid_points(other) {
                second.add_pixel(pixel_at(other, column, row));
            }
        }
        Self {
            first: first.mean(),
            second: second.mean(),
        }
    }
}

fn grid_points(image: &DecodedImage) -> impl Iterator<Item = (u32, u32)> {
    let pixels = f64::from(image.width) * f64::from(image.height);
    let stride = (pixels / MAX_POINTS).sqrt().ceil().max(1.0) as usize;
    let (width, height) = (image.width, image.height);
    let rows = (0..height).step_by(stride);
    rows.flat_map(move |row| (0..width).step_by(stride).map(move |column| (column, row)))
}

fn pixel_at(image: &DecodedImage, column: u32, row: u32) -> &[u8] {
    let at = (row as usize * image.width as usize + column as usize) * 3;
    &image.rgb[at..at + 3]
}
