//! A small software painter: what the scenes are drawn with.
//!
//! Scenes measure in *units*: the canvas is one unit high and [`Canvas::width`] units wide, `y`
//! grows downwards, and nothing in a scene knows how many pixels it gets. Colours are
//! gamma-encoded sRGB numbers in 0…1, as a paint program blends them.
//!
//! Everything here gives the same bits on every machine: the only floating-point operations are
//! those that IEEE 754 rounds exactly (`+ - * /` and the square root), sine and cosine are our
//! own, and the generator of random numbers is fixed. That is what lets a test compare the
//! committed sample pictures byte for byte.

pub mod canvas;
pub mod colour;
pub mod mask;
pub mod math;
pub mod noise;
pub mod path;
pub mod random;
pub mod shade;

pub use canvas::Canvas;
pub use colour::Colour;
pub use mask::Mask;
pub use math::{Point, point};
pub use path::Path;
pub use random::Random;
pub use shade::Light;
