//! Contents of the test files: many different pictures that are cheap to make, and other files.

use lookalike_painter::paint::Random;
use lookalike_painter::picture::{PictureError, PictureSpec};
use lookalike_painter::scenes::FAMILIES;

/// Describes the content of a file; [`PaintedPictures`] makes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestContent {
    /// A picture. `number` is appended after the end marker of the JPEG, where decoders ignore it:
    /// contents of one base have different bytes, the same size and the same appearance.
    Picture {
        /// Index of the painted picture.
        base: u32,
        number: u32,
    },
    /// The first bytes of a JPEG without any image data.
    TruncatedPicture {
        number: u32,
    },
    Text {
        number: u32,
    },
    Empty,
}

impl TestContent {
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Picture { .. })
    }
}

#[derive(Debug)]
pub struct PaintedPictures {
    bases: Vec<Vec<u8>>,
}

impl PaintedPictures {
    /// Paints `count` pictures, the same for the same seed.
    pub fn paint_bases(seed: u64, count: u32) -> Result<Self, PictureError> {
        let mut random = Random::new(seed, 1);
        let paint = |base: u32| {
            let picture = PictureSpec {
                family: &FAMILIES[base as usize % FAMILIES.len()],
                seed: random.next_u64(),
                width: 192,
                height: 144,
                grain: 6.0,
                quality: 80,
                progressive: base % 4 == 3,
            };
            picture.encode_jpeg()
        };
        let bases = (0..count).map(paint).collect::<Result<_, _>>()?;
        Ok(Self { bases })
    }

    pub fn bytes_of(&self, content: TestContent) -> Vec<u8> {
        match content {
            TestContent::Picture { base, number } => {
                let base = &self.bases[base as usize % self.bases.len()];
                [base, format!("{number:010}").as_bytes()].concat()
            }
            TestContent::TruncatedPicture { number } => {
                [b"\xff\xd8\xff\xe0", format!("{number:010}").as_bytes()].concat()
            }
            TestContent::Text { number } => format!("note {number}: no picture\n").into_bytes(),
            TestContent::Empty => Vec::new(),
        }
    }
}
