//! The instruction sets that the kernels are compiled for.

use std::fmt;
use std::str::FromStr;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// AVX-512 with products of bfloat16 pairs (x86-64: Zen 4, Cooper Lake, Sapphire Rapids and later). Maps and weights are
    /// stored in bfloat16, sums are computed in f32.
    Avx512Bf16,
    /// AVX-512 with sums of products of 16-bit integer pairs, VNNI (x86-64: Cascade Lake, Ice Lake, Zen 4 and later).
    /// Numbers in memory are f32; most products are of integers, with scales for parts of rows.
    Avx512Vnni,
    /// AVX-512 F, BW, DQ and VL (x86-64-v4). All numbers are f32, as with NEON and plain Rust.
    Avx512,
    /// AVX2 and FMA (x86-64-v3). Numbers in memory are f32; most products are of 16-bit integers, as with
    /// [`Self::Avx512Vnni`].
    Avx2,
    /// NEON (AArch64).
    Neon,
    /// Plain Rust, for every processor.
    Portable,
}

impl InstructionSet {
    /// All sets, the fastest first.
    pub const ALL: [Self; 6] = [
        Self::Avx512Bf16,
        Self::Avx512Vnni,
        Self::Avx512,
        Self::Avx2,
        Self::Neon,
        Self::Portable,
    ];

    /// Returns the set that is fastest on this processor.
    ///
    /// Intel's processors multiply bfloat16 with these instructions no faster than f32, and converting
    /// takes time: on two threads of a Xeon, EfficientNet-Lite0 at batch 8 reaches 396 images/s with
    /// AVX-512 and 246 with AVX-512-BF16, MobileNetV2 515 and 312, ResNet-34 48 and 50. They get
    /// AVX-512-VNNI: on two threads of an EPYC (Zen 5), EfficientNet-Lite0 is 1.35 times as fast with it as with
    /// AVX-512, MobileNetV2 1.27 times and ResNet-34 1.04 times. On Intel's processors this was not measured.
    ///
    /// The choice depends on the processor alone and not on a measurement at the start. The sets round
    /// differently, and so the vectors of the same picture would change from start to start, and between
    /// equal machines, whenever other programs disturb the measurement: ResNet-34 above differs by 4 %.
    pub fn detect() -> Self {
        let is_fast = |set: Self| set != Self::Avx512Bf16 || !is_made_by_intel();
        let mut fast = Self::ALL
            .into_iter()
            .filter(|set| set.is_supported() && is_fast(*set));
        fast.next().unwrap_or(Self::Portable)
    }

    /// Returns whether this processor and operating system support the set.
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                Self::Avx512.is_supported() && std::arch::is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                Self::Avx512.is_supported() && std::arch::is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_supported()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Portable => true,
            _ => false,
        }
    }

    /// Returns the name used in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for InstructionSet {
    type Err = String;

    /// # Errors
    ///
    /// Lists the valid names if the name is unknown, and the supported ones if this processor lacks the set.
    fn from_str(name: &str) -> Result<Self, String> {
        let list = |sets: &mut dyn Iterator<Item = Self>| {
            let names: Vec<_> = sets.map(Self::name).collect();
            names.join(", ")
        };
        let mut supported = Self::ALL.into_iter().filter(|set| set.is_supported());
        let Some(set) = Self::ALL.into_iter().find(|set| set.name() == name) else {
            return Err(format!(
                "unknown instruction set {name:?}: use one of {} (this processor supports {})",
                list(&mut Self::ALL.into_iter()),
                list(&mut supported)
            ));
        };
        if set.is_supported() {
            return Ok(set);
        }
        Err(format!(
            "this processor does not support the instruction set {name:?}: use one of {}",
            list(&mut supported)
        ))
    }
}

#[cfg(target_arch = "x86_64")]
fn is_made_by_intel() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx]
        .map(u32::to_le_bytes)
        .as_flattened()
        == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_made_by_intel() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        assert!(InstructionSet::detect().is_supported());
        for set in InstructionSet::ALL {
            match set.name().parse::<InstructionSet>() {
                Ok(parsed) => assert_eq!((parsed, true), (set, set.is_supported())),
                Err(error) => assert!(!set.is_supported() && error.contains("portable"), "{error}"),
            }
        }
        let error = "sse9".parse::<InstructionSet>().unwrap_err();
        assert!(
            error.contains("avx512-bf16, avx512-vnni, avx512, avx2, neon, portable"),
            "{error}"
        );
    }
}
