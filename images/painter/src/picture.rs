//! One picture: renders family, seed and size to the bytes of a JPEG file.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::paint::{Canvas, Random};
use crate::scenes::SceneFamily;

/// Most pixels that are painted. Larger pictures are enlarged from this size and get their grain at the
/// final size. Painting takes most of the time, and photos are not sharp to the pixel either.
const MAX_PAINTED_PIXELS: usize = 1_500_000;

/// The largest side of a JPEG file.
pub const MAX_SIDE: u32 = 65_500;

/// What to paint, and how to store it.
#[derive(Debug, Clone, Copy)]
pub struct PictureSpec {
    pub family: &'static SceneFamily,
    /// Decides everything else about the picture.
    pub seed: u64,
    /// Width in pixels, 1…[`MAX_SIDE`].
    pub width: u32,
    /// Height in pixels, 1…[`MAX_SIDE`].
    pub height: u32,
    /// Strength of the film grain in 1/255ths. It accounts for most of the size of a large file.
    pub grain: f32,
    /// JPEG quality, 1…100.
    pub quality: u8,
    pub progressive: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The JPEG encoder failed; only sizes beyond the format's limit are known to cause this.
    #[error("cannot encode {width}×{height} pixels as JPEG")]
    Encode {
        width: u32,
        height: u32,
        source: jpeg_encoder::EncodingError,
    },
}

impl PictureSpec {
    /// Returns 8-bit RGB, row by row, `width × height × 3` bytes.
    pub fn render_pixels(&self) -> Vec<u8> {
        let (width, height) = (self.width as usize, self.height as usize);
        let (columns, rows) = painted_size(width, height);
        let mut canvas = Canvas::new(columns, rows);
        // Without a stream per family, families that share a table would draw the same wall and light for a seed.
        let stream = self.family.name.bytes().fold(0, |stream: u64, byte| {
            stream.wrapping_mul(257).wrapping_add(u64::from(byte))
        });
        let mut random = Random::new(self.seed, stream);
        (self.family.paint)(&mut canvas, &mut random);
        canvas.darken_corners(0.18);
        canvas.render_rgb(width, height, self.grain, random.next_u64())
    }

    /// Returns the bytes of the JPEG file.
    pub fn encode_jpeg(&self) -> Result<Vec<u8>, PictureError> {
        let failed = |source| PictureError::Encode {
            width: self.width,
            height: self.height,
            source,
        };
        let pixels = self.render_pixels();
        let mut bytes = Vec::with_capacity(pixels.len() / 8);
        let mut encoder = Encoder::new(&mut bytes, self.quality);
        // As cameras do: colours at half the resolution.
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.set_progressive(self.progressive);
        let side = |pixels: u32| u16::try_from(pixels).expect("sides are at most MAX_SIDE");
        encoder
            .encode(&pixels, side(self.width), side(self.height), ColorType::Rgb)
            .map_err(failed)?;
        Ok(bytes)
    }
}

/// Returns the size to paint at: the final one, or one of the same shape with at most [`MAX_PAINTED_PIXELS`].
fn painted_size(width: usize, height: usize) -> (usize, usize) {
    let mut shrink = 1;
    while (width / shrink) * (height / shrink) > MAX_PAINTED_PIXELS {
        shrink += 1;
    }
    ((width / shrink).max(1), (height / shrink).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::FAMILIES;

    fn small_picture(seed: u64, width: u32, height: u32) -> PictureSpec {
        PictureSpec {
            family: &FAMILIES[0],
            seed,
            width,
            height,
            grain: 4.0,
            quality: 80,
            progressive: false,
        }
    }

    #[test]
    fn the_seed_decides_the_picture() {
        let first = small_picture(1, 80, 60).encode_jpeg().unwrap();
        assert_eq!(first, small_picture(1, 80, 60).encode_jpeg().unwrap());
        assert_ne!(first, small_picture(2, 80, 60).encode_jpeg().unwrap());
    }

    #[test]
    fn every_family_paints_at_every_shape() {
        for family in &FAMILIES {
            for (width, height) in [(96, 64), (48, 90), (1, 1), (200, 8), (8, 120)] {
                for seed in 0..6 {
                    let pixels = PictureSpec {
                        family,
                        ..small_picture(seed, width, height)
                    }
                    .render_pixels();
                    assert_eq!(
                        pixels.len(),
                        (width * height * 3) as usize,
                        "{}",
                        family.name
                    );
                }
            }
        }
    }

    #[test]
    fn large_pictures_are_painted_smaller() {
        assert_eq!(painted_size(800, 600), (800, 600));
        let (columns, rows) = painted_size(4000, 3000);
        assert!(columns * rows <= MAX_PAINTED_PIXELS);
        assert!((columns * 3).abs_diff(rows * 4) < 4, "{columns}×{rows}");
        let pixels = small_picture(3, 1600, 1200).render_pixels();
        assert_eq!(pixels.len(), 1600 * 1200 * 3);
    }
}
