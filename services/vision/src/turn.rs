//! The eight orientations of a picture: turned by quarters, and mirrored.

use crate::decode::decoded::DecodedImage;

/// One of the eight orientations: bit 0 mirrors left and right, bit 1 top and bottom, and bit 2 then swaps
/// rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureTurn(u8);

impl PictureTurn {
    /// The upright picture.
    pub const NONE: Self = Self(0);

    /// All orientations, the upright one first.
    pub const ALL: [Self; 8] = [
        Self(0),
        Self(1),
        Self(2),
        Self(3),
        Self(4),
        Self(5),
        Self(6),
        Self(7),
    ];

    fn mirrors(self) -> bool {
        self.0 & 1 != 0
    }

    fn flips(self) -> bool {
        self.0 & 2 != 0
    }

    pub(crate) fn swaps_sides(self) -> bool {
        self.0 & 4 != 0
    }

    /// Returns the width and the height after the turn.
    pub(crate) fn turn_size(self, width: u32, height: u32) -> [u32; 2] {
        match self.swaps_sides() {
            true => [height, width],
            false => [width, height],
        }
    }

    /// Converts a box of the turned picture to the box of the upright one. A box is left, top, width and
    /// height in pixels; `width` and `height` are the size of the upright picture.
    pub(crate) fn find_upright_box(self, turned: [f64; 4], width: u32, height: u32) -> [f64; 4] {
        let [mut left, mut top, mut box_width, mut box_height] = turned;
        if self.swaps_sides() {
            (left, top) = (top, left);
            (box_width, box_height) = (box_height, box_width);
        }
        if self.mirrors() {
            left = f64::from(width) - left - box_width;
        }
        if self.flips() {
            top = f64::from(height) - top - box_height;
        }
        // Rounding must not move the box beyond the edge.
        [left.max(0.0), top.max(0.0), box_width, box_height]
    }

    /// Turns an upright picture of this size: 8-bit RGB, row by row from the top.
    pub(crate) fn turn_pixels(self, rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
        let [turned_width, turned_height] = self.turn_size(width, height).map(|side| side as usize);
        let (width, height) = (width as usize, height as usize);
        let mut turned = Vec::with_capacity(rgb.len());
        for row in 0..turned_height {
            for column in 0..turned_width {
                let (x, y) = match self.swaps_sides() {
                    true => (row, column),
                    false => (column, row),
                };
                let x = if self.mirrors() { width - 1 - x } else { x };
                let y = if self.flips() { height - 1 - y } else { y };
                let at = (y * width + x) * 3;
                turned.extend_from_slice(&rgb[at..at + 3]);
            }
        }
        turned
    }
}

impl DecodedImage {
    /// Returns this picture in another orientation.
    pub fn turned(&self, turn: PictureTurn) -> Self {
        let [width, height] = turn.turn_size(self.width, self.height);
        Self {
            width,
            height,
            rgb: turn.turn_pixels(&self.rgb, self.width, self.height),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::Sketch;

    #[test]
    fn all_orientations_differ_and_keep_the_pixels() {
        let rgb: Vec<u8> = (0..18).collect();
        let image = DecodedImage {
            width: 3,
            height: 2,
            rgb,
        };
        let turned = PictureTurn::ALL.map(|turn| image.turned(turn));
        assert_eq!(turned[0], image);
        for (number, one) in turned.iter().enumerate() {
            assert!(turned[..number].iter().all(|other| other != one));
            let mut pixels = one.rgb.as_chunks::<3>().0.to_vec();
            pixels.sort_unstable();
            assert_eq!(pixels, image.rgb.as_chunks::<3>().0);
        }
        // Mirrored, then rows and columns swapped: a quarter turn to the left.
        assert_eq!((turned[5].width, turned[5].height), (2, 3));
        assert_eq!(turned[5].rgb[..6], [6, 7, 8, 15, 16, 17]);
    }

    #[test]
    fn sketches_know_all_orientations() {
        let rgb = (0..60_u32 * 40).flat_map(|at| {
            let (x, y) = (at % 60, at / 60);
            [(x * x / 20 + y) as u8, (y * 3) as u8, (x + y) as u8]
        });
        let image = DecodedImage {
            width: 60,
            height: 40,
            rgb: rgb.collect(),
        };
        let sketch = Sketch::from_image(&image, 60, 40);
        for turn in &PictureTurn::ALL[1..] {
            let turned = image.turned(*turn);
            let turned = Sketch::from_image(&turned, turned.width, turned.height);
            assert!(sketch.is_turned_copy(&turned), "{turn:?}");
        }
    }
}
