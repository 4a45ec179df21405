//! What runs the networks.

use std::fmt;

use burn::tensor::Device;
use lookalike_kernels::InstructionSet;

use super::burn_executor::Precision;
use crate::{error::Error, settings::CpuKernels};

#[derive(Debug, Clone)]
pub(crate) enum Executor {
    /// Our kernels for an instruction set of this CPU.
    Kernels(InstructionSet),
    /// burn on a device.
    Burn {
        device: Device,
        precision: Precision,
    },
}

impl Executor {
    /// Returns the executor of the settings for the CPU.
    ///
    /// # Errors
    /// Fails if the CPU does not support the instruction set.
    pub(crate) fn for_cpu(kernels: CpuKernels) -> Result<Self, Error> {
        let set = match kernels {
            CpuKernels::Auto => InstructionSet::detect(),
            CpuKernels::Avx512Bf16 => InstructionSet::Avx512Bf16,
            CpuKernels::Avx512Vnni => InstructionSet::Avx512Vnni,
            CpuKernels::Avx512 => InstructionSet::Avx512,
            CpuKernels::Avx2 => InstructionSet::Avx2,
            CpuKernels::Neon => InstructionSet::Neon,
            CpuKernels::Portable => InstructionSet::Portable,
            CpuKernels::Flex => {
                return Ok(Self::Burn {
                    device: Device::flex(),
                    precision: Precision::F32,
                });
            }
        };
        if set.is_supported() {
            return Ok(Self::Kernels(set));
        }
        let supported: Vec<&str> = InstructionSet::ALL
            .into_iter()
            .filter(|set| set.is_supported())
            .map(InstructionSet::name)
            .collect();
        Err(Error::Kernels {
            kernels: set.name(),
            supported: supported.join(", "),
        })
    }

    /// Returns the executor in single precision to use instead of one that rounds to bfloat16, or
    /// `None` for the other executors.
    pub(crate) fn with_full_precision(&self) -> Option<Self> {
        let Self::Kernels(InstructionSet::Avx512Bf16) = self else {
            return None;
        };
        InstructionSet::ALL
            .into_iter()
            .filter(|set| !matches!(set, InstructionSet::Avx512Bf16 | InstructionSet::Avx512Vnni))
            .find(|set| set.is_supported())
            .map(Self::Kernels)
    }
}

impl fmt::Display for Executor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernels(set) => write!(formatter, "own kernels, {set}"),
            Self::Burn { device, precision } if *device == Device::flex() => {
                write!(formatter, "burn flex, {precision}")
            }
            Self::Burn { precision, .. } => write!(formatter, "burn, {precision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_instruction_set_is_refused() {
        let unsupported = if cfg!(target_arch = "aarch64") {
            CpuKernels::Avx2
        } else {
            CpuKernels::Neon
        };
        let error = Executor::for_cpu(unsupported).unwrap_err().to_string();
        assert!(
            error.contains("auto, ") && error.contains("portable or flex"),
            "{error}"
        );
        let name = |kernels| Executor::for_cpu(kernels).unwrap().to_string();
        assert_eq!(name(CpuKernels::Portable), "own kernels, portable");
        assert_eq!(name(CpuKernels::Flex), "burn flex, f32");
        assert!(name(CpuKernels::Auto).starts_with("own kernels"));
    }
}
