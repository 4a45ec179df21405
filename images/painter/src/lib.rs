//! Paints photo-like pictures from seeds: the sample pictures of lookalike, and any number of
//! others for load tests.
//!
//! [`sample_set`] lists the sample pictures in `images/`. Each is a [`picture`]: a scene, a seed, a
//! size and JPEG options. [`scenes`] are the motifs, drawn with the primitives of [`paint`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod paint;
pub mod picture;
pub mod sample_set;
pub mod scenes;
