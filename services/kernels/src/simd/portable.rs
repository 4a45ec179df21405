//! Plain Rust that the compiler turns into the vector instructions of the target.

use super::vector::{Kernel, Simd};

/// The instruction set of the target.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Portable;

/// The size of the smallest vector registers in use, so that a vector is one register.
const LANES: usize = 4;

type Lanes = [f32; LANES];

/// Evaluates an expression for each lane.
macro_rules! lanes {
    (|$lane:ident| $value:expr) => {{
        let mut result = [0.0; LANES];
        let mut $lane = 0;
        while $lane < LANES {
            result[$lane] = $value;
            $lane += 1;
        }
        result
    }};
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const STEP: usize = 1;
    const REGISTERS: usize = 16;

    type Element = f32;
    type F32 = Lanes;
    type Steps = Lanes;

    #[inline(always)]
    unsafe fn enter<K: Kernel<Self>>(kernel: K) -> K::Output {
        // SAFETY: every processor supports this set; the rest is the caller's promise.
        unsafe { kernel.run() }
    }

    #[inline(always)]
    fn splat(value: f32) -> Lanes {
        [value; LANES]
    }

    #[inline(always)]
    fn add(a: Lanes, b: Lanes) -> Lanes {
        lanes!(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(a: Lanes, b: Lanes) -> Lanes {
        lanes!(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(a: Lanes, b: Lanes) -> Lanes {
        lanes!(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(a: Lanes, b: Lanes) -> Lanes {
        lanes!(|i| a[i] / b[i])
    }

    /// Rounds twice: `f32::mul_add` is a slow library call on processors without fused multiplication.
    #[inline(always)]
    fn mul_add(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        lanes!(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(a: Lanes, b: Lanes) -> Lanes {
        lanes!(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(a: Lanes, b: Lanes) -> Lanes {
        lanes!(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn round(a: Lanes) -> Lanes {
        // Adding 1.5 × 2²³ leaves no bits for the fraction.
        const SHIFT: f32 = 12_582_912.0;
        lanes!(|i| (a[i] + SHIFT) - SHIFT)
    }

    #[inline(always)]
    fn scale_by_power_of_two(a: Lanes, exponent: Lanes) -> Lanes {
        lanes!(|i| {
            // This conversion accepts NaN, which is an exponent if the network computes NaN.
            let exponent = exponent[i] as i32;
            f32::from_bits(a[i].to_bits().wrapping_add((exponent << 23) as u32))
        })
    }

    #[inline(always)]
    fn sum_lanes(a: Lanes) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }

    #[inline(always)]
    fn max_lane(a: Lanes) -> f32 {
        a[0].max(a[2]).max(a[1].max(a[3]))
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Lanes>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Lanes) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Lanes>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Lanes {
        // SAFETY: the caller's promise.
        let bytes = unsafe { from.cast::<[u8; LANES]>().read() };
        lanes!(|i| f32::from(bytes[i]))
    }

    #[inline(always)]
    unsafe fn load_elements(from: *const f32) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn store_elements(to: *mut f32, value: Lanes) {
        // SAFETY: the caller's promise.
        unsafe { Self::store(to, value) }
    }

    #[inline(always)]
    unsafe fn broadcast_step(from: *const f32) -> Lanes {
        // SAFETY: the caller's promise.
        [unsafe { from.read() }; LANES]
    }

    #[inline(always)]
    unsafe fn load_steps(from: *const f32) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    fn multiply_add_steps(sum: Lanes, a: Lanes, b: Lanes) -> Lanes {
        Self::mul_add(a, b, sum)
    }
}
