//! Altered copies of a photo, as users make them.
//!
//! The service returns photos as JPEG. They are decoded with `zune-jpeg`, because loadtest sees lookalike
//! from outside and does not use its decoder.

use anyhow::Context as _;
use jpeg_encoder::{ColorType, Encoder};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use lookalike_painter::paint::Random;

/// JPEG quality of all copies except [`Alteration::Quality30`].
const COPY_JPEG_QUALITY: u8 = 95;

/// A change of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alteration {
    /// 80 % of the area, at a corner.
    CornerCrop,
    /// 80 % of each side, in the middle.
    MiddleCrop,
    /// Stored at JPEG quality 30.
    Quality30,
    /// Half of each side.
    HalfSize,
    /// Left and right swapped.
    Mirror,
    /// Every value times 1.2.
    Brighter,
    /// A quarter turn clockwise.
    QuarterTurn,
    /// Upside down.
    HalfTurn,
    /// A quarter turn anticlockwise.
    ThreeQuarterTurn,
    /// Without colour.
    Gray,
    /// Within a white frame of 6 % of the short side.
    Frame,
    /// The lowest eighth replaced by a black strip with white marks.
    Caption,
    /// 80 % of the width, all of the height.
    Squeeze,
    /// Within a page that is 1.4 times as wide and 1.5 times as high.
    Screenshot,
    /// Turned by 5° around the middle, with black corners.
    Tilt,
}

impl Alteration {
    /// All alterations, in the order of the report.
    pub const ALL: [Self; 15] = [
        Self::CornerCrop,
        Self::MiddleCrop,
        Self::Quality30,
        Self::HalfSize,
        Self::Mirror,
        Self::Brighter,
        Self::QuarterTurn,
        Self::HalfTurn,
        Self::ThreeQuarterTurn,
        Self::Gray,
        Self::Frame,
        Self::Caption,
        Self::Squeeze,
        Self::Screenshot,
        Self::Tilt,
    ];

    pub fn display_label(self) -> &'static str {
        match self {
            Self::CornerCrop => "crop: 80 % of the area, a corner",
            Self::MiddleCrop => "crop: 80 % of each side, the middle",
            Self::Quality30 => "JPEG quality 30",
            Self::HalfSize => "half size",
            Self::Mirror => "mirrored",
            Self::Brighter => "20 % brighter",
            Self::QuarterTurn => "turned by 90°",
            Self::HalfTurn => "turned by 180°",
            Self::ThreeQuarterTurn => "turned by 270°",
            Self::Gray => "without colour",
            Self::Frame => "white frame",
            Self::Caption => "caption",
            Self::Squeeze => "80 % of the width",
            Self::Screenshot => "within a larger page",
            Self::Tilt => "tilted by 5°",
        }
    }

    pub fn json_key(self) -> &'static str {
        match self {
            Self::CornerCrop => "crop_80_area_corner",
            Self::MiddleCrop => "crop_80_sides_middle",
            Self::Quality30 => "jpeg_quality_30",
            Self::HalfSize => "half_size",
            Self::Mirror => "mirror",
            Self::Brighter => "brighter_20",
            Self::QuarterTurn => "turn_90",
            Self::HalfTurn => "turn_180",
            Self::ThreeQuarterTurn => "turn_270",
            Self::Gray => "gray",
            Self::Frame => "frame",
            Self::Caption => "caption",
            Self::Squeeze => "squeeze_80",
            Self::Screenshot => "screenshot",
            Self::Tilt => "tilt_5",
        }
    }

    /// Returns the altered copy as a JPEG file.
    pub fn apply_to(self, photo: &PhotoPixels, random: &mut Random) -> anyhow::Result<Vec<u8>> {
        let quality = match self {
            Self::Quality30 => 30,
            _ => COPY_JPEG_QUALITY,
        };
        self.alter_pixels(photo, random).encode_jpeg(quality)
    }

    fn alter_pixels(self, photo: &PhotoPixels, random: &mut Random) -> PhotoPixels {
        match self {
            Self::CornerCrop => {
                let side = |of: usize| scaled_side(of, 0.8_f64.sqrt());
                let (width, height) = (side(photo.width), side(photo.height));
                let (right, low) = (random.next_bool(0.5), random.next_bool(0.5));
                let left = if right { photo.width - width } else { 0 };
                let top = if low { photo.height - height } else { 0 };
                photo.crop_to(left, top, width, height)
            }
            Self::MiddleCrop => {
                let (width, height) = (
                    scaled_side(photo.width, 0.8),
                    scaled_side(photo.height, 0.8),
                );
                let left = (photo.width - width) / 2;
                let top = (photo.height - height) / 2;
                photo.crop_to(left, top, width, height)
            }
            Self::Quality30 => photo.clone(),
            Self::HalfSize => photo.halve_size(),
            Self::Mirror => photo.mirror_horizontally(),
            Self::Brighter => photo.brighten_by_fifth(),
            Self::QuarterTurn => photo.turn_clockwise(),
            Self::HalfTurn => photo.turn_clockwise().turn_clockwise(),
            Self::ThreeQuarterTurn => photo.turn_clockwise().turn_clockwise().turn_clockwise(),
            Self::Gray => photo.remove_color(),
            Self::Frame => photo.add_frame(),
            Self::Caption => photo.add_caption(),
            Self::Squeeze => photo.squeeze_width(),
            Self::Screenshot => photo.put_on_page(),
            Self::Tilt => photo.tilt(),
        }
    }
}

/// Returns a share of a side, at least one pixel.
fn scaled_side(side: usize, share: f64) -> usize {
    ((side as f64 * share).round() as usize).clamp(1, side)
}

/// 8-bit RGB, row by row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoPixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl PhotoPixels {
    pub fn decode_jpeg(jpeg: &[u8]) -> anyhow::Result<Self> {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        let rgb = decoder.decode().context("not a readable JPEG")?;
        let info = decoder.info().context("a JPEG without a size")?;
        let (width, height) = (usize::from(info.width), usize::from(info.height));
        anyhow::ensure!(
            width > 0 && height > 0 && rgb.len() == width * height * 3,
            "a JPEG of {width} × {height} pixels decoded to {} bytes",
            rgb.len()
        );
        Ok(Self { width, height, rgb })
    }

    pub fn encode_jpeg(&self, quality: u8) -> anyhow::Result<Vec<u8>> {
        let (width, height) = (u16::try_from(self.width)?, u16::try_from(self.height)?);
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, quality).encode(&self.rgb, width, height, ColorType::Rgb)?;
        Ok(jpeg)
    }

    /// Draws a picture.
    pub fn from_fn(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Self {
        let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = rows.flat_map(|(x, y)| pixel(x, y)).collect();
        Self { width, height, rgb }
    }

    fn pixel_at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    fn crop_to(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        Self::from_fn(width, height, |x, y| self.pixel_at(left + x, top + y))
    }

    fn mirror_horizontally(&self) -> Self {
        Self::from_fn(self.width, self.height, |x, y| {
            self.pixel_at(self.width - 1 - x, y)
        })
    }

    /// Averages every four pixels; an odd last row or column is dropped.
    fn halve_size(&self) -> Self {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let (right, below) = (self.width.min(2) - 1, self.height.min(2) - 1);
        Self::from_fn(width, height, |x, y| {
            let (x, y) = (x * 2, y * 2);
            let four = [(0, 0), (right, 0), (0, below), (right, below)];
            let four = four.map(|(right, below)| self.pixel_at(x + right, y + below));
            std::array::from_fn(|channel| {
                let sum: u16 = four.iter().map(|rgb| u16::from(rgb[channel])).sum();
                ((sum + 2) / 4) as u8
            })
        })
    }

    fn turn_clockwise(&self) -> Self {
        Self::from_fn(self.height, self.width, |x, y| {
            self.pixel_at(y, self.height - 1 - x)
        })
    }

    fn remove_color(&self) -> Self {
        Self::from_fn(self.width, self.height, |x, y| {
            let [red, green, blue] = self.pixel_at(x, y).map(u32::from);
            [((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8; 3]
        })
    }

    /// Places the photo on a larger area with the given pixels around it.
    fn place_within(
        &self,
        (width, height): (usize, usize),
        (left, top): (usize, usize),
        around: impl Fn(usize, usize) -> [u8; 3],
    ) -> Self {
        Self::from_fn(width, height, |x, y| {
            let is_inside =
                (left..left + self.width).contains(&x) && (top..top + self.height).contains(&y);
            if is_inside {
                self.pixel_at(x - left, y - top)
            } else {
                around(x, y)
            }
        })
    }

    fn add_frame(&self) -> Self {
        let frame = scaled_side(self.width.min(self.height), 0.06);
        let size = (self.width + 2 * frame, self.height + 2 * frame);
        self.place_within(size, (frame, frame), |_, _| [255; 3])
    }

    fn add_caption(&self) -> Self {
        let strip = scaled_side(self.height, 0.125);
        let top = self.height - strip;
        Self::from_fn(self.width, self.height, |x, y| {
            if y < top {
                return self.pixel_at(x, y);
            }
            let is_line = (y - top) * 3 / strip == 1;
            let is_mark =
                is_line && !(x * 60 / self.width).is_multiple_of(3) && x * 8 / self.width < 5;
            [if is_mark { 255 } else { 0 }; 3]
        })
    }

    fn squeeze_width(&self) -> Self {
        let width = scaled_side(self.width, 0.8);
        let step = self.width as f32 / width as f32;
        Self::from_fn(width, self.height, |x, y| {
            self.pixel_between((x as f32 + 0.5) * step - 0.5, y as f32)
        })
    }

    fn put_on_page(&self) -> Self {
        let size = (self.width * 7 / 5 + 1, self.height * 3 / 2 + 1);
        let position = (self.width / 5, self.height * 3 / 10);
        let bar = self.height / 8;
        self.place_within(size, position, |_, y| {
            if y < bar {
                [40, 60, 120]
            } else {
                [240, 240, 245]
            }
        })
    }

    fn tilt(&self) -> Self {
        let (sine, cosine) = 5.0_f32.to_radians().sin_cos();
        let middle = [self.width, self.height].map(|side| (side as f32 - 1.0) / 2.0);
        Self::from_fn(self.width, self.height, |x, y| {
            let (right, below) = (x as f32 - middle[0], y as f32 - middle[1]);
            let x = middle[0] + cosine * right + sine * below;
            let y = middle[1] - sine * right + cosine * below;
            let is_inside = (-0.5..self.width as f32 - 0.5).contains(&x)
                && (-0.5..self.height as f32 - 0.5).contains(&y);
            if is_inside {
                self.pixel_between(x, y)
            } else {
                [0; 3]
            }
        })
    }

    /// Interpolates between four pixels; positions beyond the edge have the colour of the edge.
    fn pixel_between(&self, x: f32, y: f32) -> [u8; 3] {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (left, top) = (x as usize, y as usize);
        let (right, low) = (
            (left + 1).min(self.width - 1),
            (top + 1).min(self.height - 1),
        );
        let (x, y) = (x - left as f32, y - top as f32);
        let four = [(left, top), (right, top), (left, low), (right, low)];
        let four = four.map(|(x, y)| self.pixel_at(x, y).map(f32::from));
        std::array::from_fn(|channel| {
            let [a, b, c, d] = four.map(|rgb| rgb[channel]);
            let upper = a + (b - a) * x;
            let lower = c + (d - c) * x;
            (upper + (lower - upper) * y).round() as u8
        })
    }

    fn brighten_by_fifth(&self) -> Self {
        let more = |value: &u8| (f32::from(*value) * 1.2).round().min(255.0) as u8;
        Self {
            rgb: self.rgb.iter().map(more).collect(),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a picture whose pixels encode their position: red grows to the right, green downwards.
    fn ramp_photo(width: usize, height: usize) -> PhotoPixels {
        PhotoPixels::from_fn(width, height, |x, y| [(x * 2) as u8, (y * 2) as u8, 90])
    }

    fn alter_and_decode(change: Alteration, photo: &PhotoPixels) -> PhotoPixels {
        let jpeg = change.apply_to(photo, &mut Random::new(1, 1)).unwrap();
        PhotoPixels::decode_jpeg(&jpeg).unwrap()
    }

    #[track_caller]
    fn assert_near(actual: [u8; 3], expected: [u8; 3]) {
        let off = actual
            .iter()
            .zip(expected)
            .map(|(a, b)| a.abs_diff(b))
            .max();
        assert!(off <= Some(6), "{actual:?} should be {expected:?}");
    }

    #[test]
    fn copies_have_the_size_and_the_pixels_that_they_should() {
        let photo = ramp_photo(100, 60);
        let mirrored = alter_and_decode(Alteration::Mirror, &photo);
        assert_eq!((mirrored.width, mirrored.height), (100, 60));
        assert_near(mirrored.pixel_at(90, 10), photo.pixel_at(9, 10));
        let half = alter_and_decode(Alteration::HalfSize, &photo);
        assert_eq!((half.width, half.height), (50, 30));
        assert_near(half.pixel_at(20, 10), photo.pixel_at(40, 20));
        let middle = alter_and_decode(Alteration::MiddleCrop, &photo);
        assert_eq!((middle.width, middle.height), (80, 48));
        assert_near(middle.pixel_at(20, 10), photo.pixel_at(30, 16));
        let corner = alter_and_decode(Alteration::CornerCrop, &photo);
        assert_eq!((corner.width, corner.height), (89, 54));
        let brighter = alter_and_decode(Alteration::Brighter, &photo);
        assert_near(brighter.pixel_at(80, 20), [192, 48, 108]);
        let turned = alter_and_decode(Alteration::QuarterTurn, &photo);
        assert_eq!((turned.width, turned.height), (60, 100));
        assert_near(turned.pixel_at(59, 10), photo.pixel_at(10, 0));
        let upside_down = alter_and_decode(Alteration::HalfTurn, &photo);
        assert_near(upside_down.pixel_at(90, 10), photo.pixel_at(9, 49));
        let turned_back = alter_and_decode(Alteration::ThreeQuarterTurn, &photo);
        assert_near(turned_back.pixel_at(0, 90), photo.pixel_at(9, 0));
        let gray = alter_and_decode(Alteration::Gray, &photo).pixel_at(50, 30);
        assert_near(gray, [gray[0]; 3]);
        let framed = alter_and_decode(Alteration::Frame, &photo);
        assert_eq!((framed.width, framed.height), (108, 68));
        assert_near(framed.pixel_at(54, 34), photo.pixel_at(50, 30));
        let captioned = alter_and_decode(Alteration::Caption, &photo);
        assert_near(captioned.pixel_at(80, 58), [0; 3]);
        assert_near(captioned.pixel_at(80, 30), photo.pixel_at(80, 30));
        let squeezed = alter_and_decode(Alteration::Squeeze, &photo);
        assert_eq!((squeezed.width, squeezed.height), (80, 60));
        assert_near(squeezed.pixel_at(40, 20), photo.pixel_at(50, 20));
        let page = alter_and_decode(Alteration::Screenshot, &photo);
        assert_eq!((page.width, page.height), (141, 91));
        assert_near(page.pixel_at(70, 48), photo.pixel_at(50, 30));
        let tilted = alter_and_decode(Alteration::Tilt, &photo);
        assert_near(tilted.pixel_at(50, 30), photo.pixel_at(50, 30));
        // Clockwise: what was above the middle moves to the right.
        assert_near(tilted.pixel_at(52, 5), photo.pixel_at(50, 5));
        let stored = alter_and_decode(Alteration::Quality30, &photo);
        assert_eq!((stored.width, stored.height), (100, 60));
    }

    #[test]
    fn every_corner_has_its_turn() {
        let photo = ramp_photo(100, 60);
        let mut random = Random::new(1, 1);
        let mut corners = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let jpeg = Alteration::CornerCrop
                .apply_to(&photo, &mut random)
                .unwrap();
            let first = PhotoPixels::decode_jpeg(&jpeg).unwrap().pixel_at(1, 1);
            corners.insert((first[0] > 12, first[1] > 8));
        }
        assert_eq!(corners.len(), 4);
    }

    #[test]
    fn the_smallest_pictures_can_be_altered() {
        for photo in [
            ramp_photo(1, 1),
            ramp_photo(1, 3),
            ramp_photo(3, 1),
            ramp_photo(3, 3),
        ] {
            for change in Alteration::ALL {
                alter_and_decode(change, &photo);
            }
        }
    }

    #[test]
    fn what_is_no_jpeg_is_an_error() {
        assert!(PhotoPixels::decode_jpeg(b"").is_err());
        assert!(PhotoPixels::decode_jpeg(b"no picture").is_err());
    }
}
