//! Products of matrices with packed weights: convolutions as implicit products, and linear layers.

mod pack;
mod product;
mod tile;

pub(crate) use pack::PackedWeights;
pub(crate) use product::{Extent, OutputForm, Product, Segments, Strides};
