//! NEON.
//!
//! The functions that are not `unsafe` are only called below [`Simd::enter`], whose caller promises that the
//! processor supports the set.

use std::arch::aarch64::*;

use super::vector::{Kernel, Simd};

/// NEON.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Neon;

impl Simd for Neon {
    const LANES: usize = 4;
    const STEP: usize = 1;
    const REGISTERS: usize = 32;

    type Element = f32;
    type F32 = float32x4_t;
    type Steps = float32x4_t;

    #[inline(always)]
    unsafe fn enter<K: Kernel<Self>>(kernel: K) -> K::Output {
        #[target_feature(enable = "neon")]
        unsafe fn enter<K: Kernel<Neon>>(kernel: K) -> K::Output {
            // SAFETY: the caller's promise.
            unsafe { kernel.run() }
        }
        // SAFETY: the caller's promise.
        unsafe { enter(kernel) }
    }

    #[inline(always)]
    fn splat(value: f32) -> float32x4_t {
        // SAFETY: see the module. This holds for each function below.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    /// Compares and selects: the instruction `fmax` returns NaN if `a` is NaN.
    #[inline(always)]
    fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn round(a: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vrndnq_f32(a) }
    }

    #[inline(always)]
    fn scale_by_power_of_two(a: float32x4_t, exponent: float32x4_t) -> float32x4_t {
        // SAFETY: as above.
        unsafe {
            let exponent = vshlq_n_s32::<23>(vcvtnq_s32_f32(exponent));
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), exponent))
        }
    }

    #[inline(always)]
    fn sum_lanes(a: float32x4_t) -> f32 {
        // SAFETY: as above.
        unsafe { vaddvq_f32(a) }
    }

    #[inline(always)]
    fn max_lane(a: float32x4_t) -> f32 {
        // SAFETY: as above.
        unsafe { vmaxvq_f32(a) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_f32(to, value) }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe {
            let bytes = vcreate_u8(u64::from(from.cast::<u32>().read_unaligned()));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
        }
    }

    #[inline(always)]
    unsafe fn load_elements(from: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn store_elements(to: *mut f32, value: float32x4_t) {
        // SAFETY: the caller's promise.
        unsafe { Self::store(to, value) }
    }

    #[inline(always)]
    unsafe fn broadcast_step(from: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_dup_f32(from) }
    }

    #[inline(always)]
    unsafe fn load_steps(from: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    fn multiply_add_steps(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        Self::mul_add(a, b, sum)
    }
}
