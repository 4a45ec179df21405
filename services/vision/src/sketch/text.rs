//! Sketches as text, for the index.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::grid::{CELLS, COLOR_SIDE, STRIPS, Sketch};
use super::levels::{Levels, MAX_RANGE};

/// First byte. Sketches of another version are not comparable. Version 1 had fewer levels and no strips.
const VERSION: u8 = 2;

const HEAD_BYTES: usize = 8;
const BYTES: usize = HEAD_BYTES + CELLS + 2 * STRIPS + COLOR_SIDE * COLOR_SIDE * 2;

/// Length of a sketch as text.
pub const MAX_SKETCH_BYTES: usize = BYTES.div_ceil(3) * 4;

impl Sketch {
    /// Encodes the sketch as text of at most [`MAX_SKETCH_BYTES`].
    pub fn to_text(&self) -> String {
        let [high, low] = self.shape.to_be_bytes();
        let ranges = [self.luma.range, self.rows.range, self.columns.range];
        let mut bytes = vec![VERSION, self.mean, self.cell_size, high, low];
        bytes.extend(ranges);
        let values = [
            &self.luma.values[..],
            &self.rows.values,
            &self.columns.values,
            self.chroma.as_flattened(),
        ];
        bytes.extend(values.into_iter().flatten().map(|value| *value as u8));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes a sketch; `None` if the text is empty, invalid, or of another version.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_SKETCH_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let [VERSION, mean, cell_size, high, low, ranges @ ..] = bytes.as_slice() else {
            return None;
        };
        let (ranges, mut values) = ranges.split_first_chunk::<3>()?;
        if ranges.iter().any(|range| *range > MAX_RANGE) {
            return None;
        }
        let luma = take_levels(ranges[0], &mut values)?;
        let rows = take_levels(ranges[1], &mut values)?;
        let columns = take_levels(ranges[2], &mut values)?;
        let (pairs, rest) = values.as_chunks::<2>();
        let pairs: &[[u8; 2]; COLOR_SIDE * COLOR_SIDE] = pairs.try_into().ok()?;
        rest.is_empty().then(|| Self {
            shape: i16::from_be_bytes([*high, *low]),
            cell_size: *cell_size,
            mean: *mean,
            luma,
            rows,
            columns,
            chroma: pairs.map(|pair| pair.map(|value| value as i8)),
        })
    }
}

/// Removes `N` values from the front of the bytes.
fn take_levels<const N: usize>(range: u8, bytes: &mut &[u8]) -> Option<Levels<N>> {
    let (values, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(Levels {
        range,
        values: values.map(|value| value as i8),
    })
}
