//! Inference kernels for CPUs. A network is a program: a list of steps over maps and rows of numbers, built by
//! [`ProgramBuilder`], compiled for one [`InstructionSet`], and run by [`KernelProgram`].
//!
//! The crate has a safe interface that checks all shapes. Inside, the kernels are generic over the vector instructions.
//!
//! # Numbers
//!
//! With [`InstructionSet::Avx512Bf16`], maps, rows between layers and weights are bfloat16, and sums are f32. The residual stream of a
//! transformer and the output are f32. So are the inputs and windows of the first two depthwise convolutions of a network, whose
//! rounding errors the later layers would multiply, if each is a part of an inverted residual block; the weights of the
//! convolutions at the end of these blocks have twice the precision. With the other sets, all numbers are f32. NaN stays
//! NaN up to the output, except in a maximum of a window.
//!
//! # Checks
//!
//! The tests compare random programs with plain loops in f64 for each set that the processor supports. Miri checks the
//! memory accesses of the portable set and the threads of a run, and the type checker those of NEON on other machines:
//!
//! ```sh
//! MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-tree-borrows" \
//!     cargo +nightly miri test -p lookalike-kernels --lib -- depthwise_convolutions crew
//! cargo check -p lookalike-kernels --target aarch64-unknown-linux-gnu
//! ```

mod activation;
mod attention;
mod convolution;
mod depthwise;
mod depthwise_step;
mod gemm;
mod instruction_set;
mod inverted_residual;
mod layer_norm;
mod linear;
mod memory;
mod paired_depthwise;
mod pixels;
mod pooling;
mod program;
#[cfg(test)]
mod random;
mod simd;
mod step;
mod tokens;
mod winograd;

pub use activation::KernelActivation;
pub use instruction_set::InstructionSet;
pub use program::{ConvSpec, KernelProgram, ProgramBuilder, Value};
pub use tokens::RowPlace;
