//! Products of matrices with packed weights: convolutions as implicit products, and linear layers.

mod integers;
mod pack;
mod product;
mod shape;
mod tile;

pub(crate) use integers::INTEGER_UNIT;
pub(crate) use pack::PackedWeights;
pub(crate) use product::Product;
pub(crate) use shape::{Extent, OutputForm, Segments, Strides};

#[cfg(test)]
mod integers_tests;
