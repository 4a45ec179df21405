//! Programs: built from operations, planned, and run.

mod builder;
mod compile;
mod crew;
mod execute;
mod fuse;
mod memory_plan;
mod operation;
mod row_form;
mod transformer;
mod transformer_builder;
mod transformer_steps;
mod wide_maps;

pub use builder::{ConvSpec, ProgramBuilder};
pub use execute::KernelProgram;
pub use operation::Value;

#[cfg(test)]
mod convolution_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transformer_tests;
#[cfg(test)]
mod wide_maps_tests;
