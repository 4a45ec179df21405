//! A small software painter: the primitives that scenes are drawn with.
//!
//! Scenes measure in *units*: the canvas is one unit high and [`Canvas::width`] units wide, `y`
//! grows downwards, and a scene does not know its size in pixels. Colours are gamma-encoded sRGB
//! numbers in 0…1, as a paint program blends them.
//!
//! Results are bit-identical on every machine. The only floating-point operations are those that
//! IEEE 754 rounds exactly (`+ - * /` and the square root). Sine and cosine are implemented here,
//! and the random number generator is fixed. A test therefore compares the committed sample
//! pictures byte for byte.

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
