//! Inference kernels for CPUs. A network is a program: a list of steps over maps and rows of numbers, built by
//! `ProgramBuilder` and compiled for one instruction set.
//!
//! The crate has a safe interface that checks all shapes. Inside, the kernels are generic over the vector
//! instructions.

// Pieces that the steps do not use yet.
#![allow(dead_code)]

mod activation;
mod instruction_set;
mod simd;

pub use activation::KernelActivation;
pub use instruction_set::InstructionSet;
