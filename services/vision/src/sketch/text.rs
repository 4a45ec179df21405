//! Sketches as text, for the index.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::grid::{COLOR_SIDE, MAX_LEVEL, MAX_RANGE, SIDE, Sketch};

/// First byte. Sketches of another version are not comparable.
const VERSION: u8 = 1;

const HEAD_BYTES: usize = 5;
/// Four levels of six bits are stored in three bytes.
const LUMA_BYTES: usize = SIDE * SIDE * 3 / 4;
const BYTES: usize = HEAD_BYTES + LUMA_BYTES + COLOR_SIDE * COLOR_SIDE * 2;

/// Length of a sketch as text.
pub const MAX_SKETCH_BYTES: usize = BYTES.div_ceil(3) * 4;

impl Sketch {
    /// Encodes the sketch as text of at most [`MAX_SKETCH_BYTES`].
    pub fn to_text(&self) -> String {
        let [high, low] = self.shape.to_be_bytes();
        let mut bytes = vec![VERSION, self.mean, self.range, high, low];
        for levels in self.luma.chunks_exact(4) {
            let bits = levels.iter().fold(0_u32, |bits, level| {
                (bits << 6) | u32::from((level + MAX_LEVEL + 1) as u8)
            });
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
        }
        bytes.extend(self.chroma.iter().flatten().map(|value| *value as u8));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes a sketch; `None` if the text is empty, invalid, or of another version.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_SKETCH_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let [VERSION, mean, range, high, low, cells @ ..] = bytes.as_slice() else {
            return None;
        };
        if bytes.len() != BYTES || *range > MAX_RANGE {
            return None;
        }
        let (luma_bytes, chroma_bytes) = cells.split_at(LUMA_BYTES);
        let mut luma = [0; SIDE * SIDE];
        for (levels, bytes) in luma.chunks_exact_mut(4).zip(luma_bytes.chunks_exact(3)) {
            let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
            for (position, level) in levels.iter_mut().enumerate() {
                *level = ((bits >> (18 - 6 * position)) & 63) as i8 - MAX_LEVEL - 1;
            }
        }
        let mut chroma = [[0; 2]; COLOR_SIDE * COLOR_SIDE];
        for (pair, bytes) in chroma.iter_mut().zip(chroma_bytes.chunks_exact(2)) {
            *pair = [bytes[0] as i8, bytes[1] as i8];
        }
        Some(Self {
            shape: i16::from_be_bytes([*high, *low]),
            mean: *mean,
            range: *range,
            luma,
            chroma,
        })
    }
}
