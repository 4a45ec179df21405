//! Numbers that a network computes with.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    #[cfg_attr(
        not(any(feature = "cuda", feature = "vulkan")),
        allow(dead_code, reason = "only GPUs use it")
    )]
    F16,
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only CUDA uses it"))]
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}
