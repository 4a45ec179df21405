//! What files hold: pictures of many contents that cost little to make, and files that are none.

use lookalike_painter::paint::Random;
use lookalike_painter::picture::{PictureError, PictureSpec};
use lookalike_painter::scenes::FAMILIES;

/// What a file holds, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestContent {
    /// A picture. Other numbers are other bytes that show the same: what follows the end marker of
    /// a JPEG means nothing. Contents of one base have the same size.
    Picture {
        /// Which painted picture.
        base: u32,
        /// Which of its contents.
        number: u32,
    },
    /// The beginning of a JPEG, and nothing of its picture.
    TruncatedPicture {
        /// Which.
        number: u32,
    },
    /// No picture at all.
    Text {
        /// Which.
        number: u32,
    },
    /// No byte.
    Empty,
}

impl TestContent {
    /// Whether a picture can be made of it.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Picture { .. })
    }
}

/// The painted pictures.
#[derive(Debug)]
pub struct PaintedPictures {
    bases: Vec<Vec<u8>>,
}

impl PaintedPictures {
    /// Paints `count` of them, the same for the same seed.
    ///
    /// # Errors
    /// When a picture can't be stored as JPEG.
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

    /// The bytes of a content.
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
