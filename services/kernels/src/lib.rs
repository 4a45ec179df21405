//! Inference kernels for CPUs. A network is a program: a list of steps over maps and rows of numbers, built by
//! `ProgramBuilder` and compiled for one instruction set.
//!
//! The crate has a safe interface that checks all shapes. Inside, the kernels are generic over the vector
//! instructions.

// Pieces that the steps do not use yet.
#![allow(dead_code)]

mod activation;
mod attention;
mod convolution;
mod depthwise;
mod gemm;
mod instruction_set;
mod inverted_residual;
mod layer_norm;
mod linear;
mod memory;
mod pixels;
mod pooling;
mod program;
#[cfg(test)]
mod random;
mod simd;
mod step;
mod tokens;

pub use activation::KernelActivation;
pub use instruction_set::InstructionSet;
pub use program::{ConvSpec, KernelProgram, ProgramBuilder, Value};
pub use tokens::RowPlace;
