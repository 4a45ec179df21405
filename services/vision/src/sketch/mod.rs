//! Sketches of pictures: what a vector of a network does not tell.
//!
//! Vectors of pictures with little in them (pages of text, night skies, flat icons, solid colours) are
//! nearly equal although the pictures differ, and a vector says nothing about turned or mirrored
//! copies. A [`Sketch`] stores the brightness of 16 × 16 cells and of 64 strips in each direction, and the
//! colour of 4 × 4 cells of the upright picture. Comparing two sketches confirms that two pictures are the
//! same, one is an altered copy of the other, or one is a turned copy.

mod cells;
mod levels;

mod grid;
mod text;

mod altered;
mod parts;
mod same;

pub use altered::AlterationSearch;
pub use grid::Sketch;
pub use text::MAX_SKETCH_BYTES;

#[cfg(test)]
mod tests;
