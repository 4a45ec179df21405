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
//! convolutions at the end of these blocks have twice the precision. With the other sets, all numbers in memory are f32.
//! NaN stays NaN up to the output, except in a maximum of a window.
//!
//! With [`InstructionSet::Avx512Vnni`] and [`InstructionSet::Avx2`], products with at least 32 outputs round their inputs and
//! weights to 16-bit integers: the sets multiply these up to twice as fast as f32. Up to 384 inputs of a row have a scale in common, and each
//! output's weights have one. The errors of a sum are between a sixtieth (16 inputs) and an eleventh of those of bfloat16, unless a
//! few inputs are much greater than the others near them. Vectors have a cosine of at least 0.99999 to those in f32. An input
//! that is infinite makes its row NaN. Convolutions by Winograd's algorithm stay f32.
//!
//! # 8-bit integers
//!
//! No set multiplies 8-bit integers, although such products are faster: alone, the 1×1 convolutions of
//! EfficientNet-Lite0 take 3.28 ms per image in bfloat16 and 1.75 ms in 8 bits on one thread of an EPYC with both
//! instructions, including the rounding of the outputs. They were 62 % of a run in a prototype of these kernels, so that a run
//! would become 1.4 times as fast.
//!
//! The vectors would no longer be those of the model. A simulation rounded the weights of the 1×1 convolutions per output,
//! and their inputs per map with ranges measured on the same pictures, which is the best case. The cosine with the vectors
//! in f32 was 0.970 for the golden picture, which must have 0.999, and between 0.992 and 0.999 for 40 photos; bfloat16 had
//! at least 0.9997 in the same simulation. With the first eight blocks in f32, it was 0.9985 and 0.9975 at least. The ranking
//! hardly suffers: the precision of the first ten hits among 700 photos of 50 classes falls from 0.8119 to 0.8103. So 8 bits
//! are possible for a model of its own, with its own golden vector and bands, but not for some of the processors that embed
//! pictures of one index.
//!
//! # Checks
//!
//! The tests compare random programs with plain loops in f64 for each set that the processor supports. They fill the
//! memory of a run with NaN, so that a kernel that reads what no step wrote fails. `.ci/kernels` of this repository repeats
//! them with AddressSanitizer, and for NEON under an emulator. Miri checks the memory accesses of the portable set and the
//! threads of a run:
//!
//! ```sh
//! MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-tree-borrows" \
//!     cargo +nightly miri test -p lookalike-kernels --lib -- depthwise_convolutions crew
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
