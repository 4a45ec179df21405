//! Inference kernels for CPUs. A network is a program: a list of steps over maps and rows of numbers, built by
//! `ProgramBuilder` and compiled for one instruction set.
//!
//! The crate has a safe interface that checks all shapes. Inside, the kernels are generic over the vector
//! instructions.

// Pieces that the steps do not use yet.
#![allow(dead_code)]

mod activation;
mod attention;
mod instruction_set;
mod layer_norm;
#[cfg(test)]
mod random;
mod simd;
mod tokens;

pub use activation::KernelActivation;
pub use instruction_set::InstructionSet;
pub use tokens::RowPlace;
