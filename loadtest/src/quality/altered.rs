//! Altered copies of a photo, as people make them.
//!
//! Pixels are read by a decoder of our own (`zune-jpeg`): from outside nothing of lookalike's
//! decoding is at hand, and what it gives out is JPEG.

use anyhow::Context as _;
use jpeg_encoder::{ColorType, Encoder};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::paint::Random;

/// The quality that copies are stored at when the quality is not what is altered.
const QUALITY: u8 = 95;

/// What is done to a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// 80 % of the area, at a corner.
    CornerCrop,
    /// 80 % of each side, in the middle.
    MiddleCrop,
    /// Stored at JPEG quality 30.
    Quality30,
    /// Half of each side.
    HalfSize,
    /// Left and right exchanged.
    Mirror,
    /// Every value times 1.2.
    Brighter,
}

impl Change {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::CornerCrop,
        Self::MiddleCrop,
        Self::Quality30,
        Self::HalfSize,
        Self::Mirror,
        Self::Brighter,
    ];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::CornerCrop => "crop: 80 % of the area, a corner",
            Self::MiddleCrop => "crop: 80 % of each side, the middle",
            Self::Quality30 => "JPEG quality 30",
            Self::HalfSize => "half size",
            Self::Mirror => "mirrored",
            Self::Brighter => "20 % brighter",
        }
    }

    /// For programs.
    pub fn key(self) -> &'static str {
        match self {
            Self::CornerCrop => "crop_80_area_corner",
            Self::MiddleCrop => "crop_80_sides_middle",
            Self::Quality30 => "jpeg_quality_30",
            Self::HalfSize => "half_size",
            Self::Mirror => "mirror",
            Self::Brighter => "brighter_20",
        }
    }

    /// The altered copy, as a JPEG file.
    ///
    /// # Errors
    /// When it can't be stored.
    pub fn apply(self, photo: &Pixels, random: &mut Random) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::CornerCrop => {
                let side = |of: usize| kept(of, 0.8_f64.sqrt());
                let (width, height) = (side(photo.width), side(photo.height));
                let (right, low) = (random.chance(0.5), random.chance(0.5));
                let left = if right { photo.width - width } else { 0 };
                let top = if low { photo.height - height } else { 0 };
                photo.crop(left, top, width, height).jpeg(QUALITY)
            }
            Self::MiddleCrop => {
                let (width, height) = (kept(photo.width, 0.8), kept(photo.height, 0.8));
                let left = (photo.width - width) / 2;
                let top = (photo.height - height) / 2;
                photo.crop(left, top, width, height).jpeg(QUALITY)
            }
            Self::Quality30 => photo.jpeg(30),
            Self::HalfSize => photo.half().jpeg(QUALITY),
            Self::Mirror => photo.mirrored().jpeg(QUALITY),
            Self::Brighter => photo.brighter().jpeg(QUALITY),
        }
    }
}

/// A share of a side, at least one pixel.
fn kept(side: usize, share: f64) -> usize {
    ((side as f64 * share).round() as usize).clamp(1, side)
}

/// 8-bit RGB, row by row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Pixels {
    /// Reads a JPEG file.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(jpeg: &[u8]) -> anyhow::Result<Self> {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        let rgb = decoder.decode().context("no readable JPEG")?;
        let info = decoder.info().context("a JPEG without a size")?;
        let (width, height) = (usize::from(info.width), usize::from(info.height));
        anyhow::ensure!(
            width > 0 && height > 0 && rgb.len() == width * height * 3,
            "a JPEG of {width} x {height} gave {} bytes of pixels",
            rgb.len()
        );
        Ok(Self { width, height, rgb })
    }

    fn jpeg(&self, quality: u8) -> anyhow::Result<Vec<u8>> {
        let (width, height) = (u16::try_from(self.width)?, u16::try_from(self.height)?);
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, quality).encode(&self.rgb, width, height, ColorType::Rgb)?;
        Ok(jpeg)
    }

    fn made(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Self {
        let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = rows.flat_map(|(x, y)| pixel(x, y)).collect();
        Self { width, height, rgb }
    }

    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    fn crop(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        Self::made(width, height, |x, y| self.at(left + x, top + y))
    }

    fn mirrored(&self) -> Self {
        Self::made(self.width, self.height, |x, y| {
            self.at(self.width - 1 - x, y)
        })
    }

    /// The mean of every four; a last odd row or column is left out.
    fn half(&self) -> Self {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let (right, below) = (self.width.min(2) - 1, self.height.min(2) - 1);
        Self::made(width, height, |x, y| {
            let (x, y) = (x * 2, y * 2);
            let four = [(0, 0), (right, 0), (0, below), (right, below)];
            let four = four.map(|(right, below)| self.at(x + right, y + below));
            std::array::from_fn(|channel| {
                let sum: u16 = four.iter().map(|rgb| u16::from(rgb[channel])).sum();
                ((sum + 2) / 4) as u8
            })
        })
    }

    fn brighter(&self) -> Self {
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

    /// A picture whose pixels tell where they are: red grows to the right, green downwards.
    fn ramp(width: usize, height: usize) -> Pixels {
        Pixels::made(width, height, |x, y| [(x * 2) as u8, (y * 2) as u8, 90])
    }

    fn changed(change: Change, photo: &Pixels) -> Pixels {
        let jpeg = change.apply(photo, &mut Random::new(1, 1)).unwrap();
        Pixels::read(&jpeg).unwrap()
    }

    #[track_caller]
    fn near(seen: [u8; 3], wanted: [u8; 3]) {
        let off = seen.iter().zip(wanted).map(|(a, b)| a.abs_diff(b)).max();
        assert!(off <= Some(6), "{seen:?} should be {wanted:?}");
    }

    #[test]
    fn copies_have_the_size_and_the_pixels_that_they_should() {
        let photo = ramp(100, 60);
        let mirrored = changed(Change::Mirror, &photo);
        assert_eq!((mirrored.width, mirrored.height), (100, 60));
        near(mirrored.at(90, 10), photo.at(9, 10));
        let half = changed(Change::HalfSize, &photo);
        assert_eq!((half.width, half.height), (50, 30));
        near(half.at(20, 10), photo.at(40, 20));
        let middle = changed(Change::MiddleCrop, &photo);
        assert_eq!((middle.width, middle.height), (80, 48));
        near(middle.at(20, 10), photo.at(30, 16));
        let corner = changed(Change::CornerCrop, &photo);
        assert_eq!((corner.width, corner.height), (89, 54));
        let brighter = changed(Change::Brighter, &photo);
        near(brighter.at(80, 20), [192, 48, 108]);
        let stored = changed(Change::Quality30, &photo);
        assert_eq!((stored.width, stored.height), (100, 60));
    }

    #[test]
    fn every_corner_has_its_turn() {
        let photo = ramp(100, 60);
        let mut random = Random::new(1, 1);
        let mut corners = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let jpeg = Change::CornerCrop.apply(&photo, &mut random).unwrap();
            let first = Pixels::read(&jpeg).unwrap().at(1, 1);
            corners.insert((first[0] > 12, first[1] > 8));
        }
        assert_eq!(corners.len(), 4);
    }

    #[test]
    fn the_smallest_pictures_can_be_altered() {
        for photo in [ramp(1, 1), ramp(1, 3), ramp(3, 1), ramp(3, 3)] {
            for change in Change::ALL {
                changed(change, &photo);
            }
        }
    }

    #[test]
    fn what_is_no_jpeg_is_an_error() {
        assert!(Pixels::read(b"").is_err());
        assert!(Pixels::read(b"no picture").is_err());
    }
}
