//! Vector instructions behind one trait, so that each kernel is written once.
//!
//! A kernel is a struct with its arguments that implements [`Kernel`]. Its `run` and all functions below it
//! are `#[inline(always)]` and generic over [`Simd`]. [`Simd::enter`] calls `run` inside a function that is
//! compiled with the instructions of the set. Code inside `run` must not use closures or iterator adapters in hot loops:
//! the compiler may compile them without these instructions, which is correct, but slow.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod vector;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512, Avx512Bf16, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;
#[cfg(test)]
pub(crate) use vector::Bf16;
pub(crate) use vector::{Element, Kernel, Simd, SimdVisitor};

use crate::instruction_set::InstructionSet;

/// Calls the visitor with the type of an instruction set.
///
/// # Panics
///
/// Panics if the processor does not support the set.
pub(crate) fn visit<V: SimdVisitor>(set: InstructionSet, visitor: V) -> V::Output {
    assert!(set.is_supported(), "this processor does not support {set}");
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Bf16 => visitor.visit::<Avx512Bf16>(),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni => visitor.visit::<Avx512Vnni>(),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => visitor.visit::<Avx512>(),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => visitor.visit::<Avx2>(),
        #[cfg(target_arch = "aarch64")]
        InstructionSet::Neon => visitor.visit::<Neon>(),
        _ => visitor.visit::<Portable>(),
    }
}

#[cfg(test)]
mod tests;
