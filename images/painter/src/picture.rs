//! One picture: from family, seed and size to the bytes of a JPEG file.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::paint::{Canvas, Random};
use crate::scenes::SceneFamily;

/// At most this many pixels are painted; larger pictures are enlarged from that many and get their grain at the final
/// size. A phone's twelve megapixels are not sharp to the pixel either, and painting is what takes the time.
const MAX_PAINTED_PIXELS: usize = 1_500_000;

/// The largest side of a JPEG file.
pub const SIDE_MAX: u32 = 65_500;

/// What to paint, and how to store it.
#[derive(Debug, Clone, Copy)]
pub struct PictureSpec {
    /// What it shows.
    pub family: &'static SceneFamily,
    /// Decides everything else about it.
    pub seed: u64,
    /// Width in pixels, 1…[`SIDE_MAX`].
    pub width: u32,
    /// Height in pixels, 1…[`SIDE_MAX`].
    pub height: u32,
    /// How strong the film grain is, in 1/255ths. It is most of a large file's size.
    pub grain: f32,
    /// JPEG quality, 1…100.
    pub quality: u8,
    /// Whether the JPEG is progressive.
    pub progressive: bool,
}

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The JPEG encoder refused it; only sizes beyond the format's are known to do this.
    #[error("cannot encode {width}×{height} pixels as JPEG")]
    Encode {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the encoder said.
        source: jpeg_encoder::EncodingError,
    },
}

impl PictureSpec {
    /// The pixels: 8-bit RGB, row by row, `width × height × 3` bytes.
    pub fn render_pixels(&self) -> Vec<u8> {
        let (width, height) = (self.width as usize, self.height as usize);
        let (columns, rows) = painted_size(width, height);
        let mut canvas = Canvas::new(columns, rows);
        // Families that share a stage would choose the same wall and light for the same seed.
        let stream = self.family.name.bytes().fold(0, |stream: u64, byte| {
            stream.wrapping_mul(257).wrapping_add(u64::from(byte))
        });
        let mut random = Random::new(self.seed, stream);
        (self.family.paint)(&mut canvas, &mut random);
        canvas.darken_corners(0.18);
        canvas.render_rgb(width, height, self.grain, random.next_u64())
    }

    /// The bytes of the JPEG file.
    pub fn encode_jpeg(&self) -> Result<Vec<u8>, PictureError> {
        let failed = |source| PictureError::Encode {
            width: self.width,
            height: self.height,
            source,
        };
        let pixels = self.render_pixels();
        let mut bytes = Vec::with_capacity(pixels.len() / 8);
        let mut encoder = Encoder::new(&mut bytes, self.quality);
        // What cameras write: colours at half the resolution.
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.set_progressive(self.progressive);
        let side = |pixels: u32| u16::try_from(pixels).expect("sides are at most SIDE_MAX");
        encoder
            .encode(&pixels, side(self.width), side(self.height), ColorType::Rgb)
            .map_err(failed)?;
        Ok(bytes)
    }
}

/// The size to paint at: the final one, or one of the same shape with at most [`MAX_PAINTED_PIXELS`].
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
