//! AVX-512, with f32 maps, with products of 16-bit integers, or with bfloat16 maps.
//!
//! The functions that are not `unsafe` are only called below [`Simd::enter`], whose caller promises that the
//! processor supports the set.

use std::arch::x86_64::*;

use super::vector::{Bf16, Kernel, Simd};

/// AVX-512 F, BW, DQ and VL.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Avx512;

/// [`Avx512`] and sums of products of 16-bit integer pairs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Avx512Vnni;

/// [`Avx512`] and products of bfloat16 pairs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Avx512Bf16;

/// Defines the arithmetic that all sets share.
macro_rules! arithmetic {
    () => {
        const LANES: usize = 16;
        const REGISTERS: usize = 32;

        type F32 = __m512;

        #[inline(always)]
        fn splat(value: f32) -> __m512 {
            // SAFETY: see the module. This holds for each function below.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        fn sub(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        fn mul(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_mul_ps(a, b) }
        }

        #[inline(always)]
        fn div(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_div_ps(a, b) }
        }

        #[inline(always)]
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn max(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_max_ps(a, b) }
        }

        #[inline(always)]
        fn min(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_min_ps(a, b) }
        }

        #[inline(always)]
        fn round(a: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }

        #[inline(always)]
        fn scale_by_power_of_two(a: __m512, exponent: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_scalef_ps(a, exponent) }
        }

        #[inline(always)]
        fn sum_lanes(a: __m512) -> f32 {
            // SAFETY: as above.
            unsafe { _mm512_reduce_add_ps(a) }
        }

        #[inline(always)]
        fn max_lane(a: __m512) -> f32 {
            // SAFETY: as above.
            unsafe { _mm512_reduce_max_ps(a) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m512) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to, value) }
        }

        #[inline(always)]
        unsafe fn load_bytes(from: *const u8) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
        }

        #[inline(always)]
        unsafe fn load_partial(from: *const f32, count: usize) -> __m512 {
            // SAFETY: the caller's promise; masked lanes are not read.
            unsafe { _mm512_maskz_loadu_ps(mask(count), from) }
        }
    };
}

/// Defines the elements of sets whose maps are f32.
macro_rules! f32_elements {
    () => {
        const STEP: usize = 1;

        type Element = f32;
        type Steps = __m512;

        #[inline(always)]
        unsafe fn load_elements(from: *const f32) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe { Self::load(from) }
        }

        #[inline(always)]
        unsafe fn store_elements(to: *mut f32, value: __m512) {
            // SAFETY: the caller's promise.
            unsafe { Self::store(to, value) }
        }

        #[inline(always)]
        unsafe fn broadcast_step(from: *const f32) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe { _mm512_set1_ps(from.read()) }
        }

        #[inline(always)]
        unsafe fn load_steps(from: *const f32) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe { Self::load(from) }
        }

        #[inline(always)]
        fn multiply_add_steps(sum: __m512, a: __m512, b: __m512) -> __m512 {
            Self::mul_add(a, b, sum)
        }
    };
}

#[repr(align(64))]
struct Order {
    _indices: [u16; 32],
}

/// The order that interleaves the halves of a vector.
static INTERLEAVED: Order = {
    let mut order = [0; 32];
    let mut index = 0;
    while index < 32 {
        order[index] = (index / 2 + index % 2 * 16) as u16;
        index += 1;
    }
    Order { _indices: order }
};

/// The mask of the first `count` lanes.
#[inline(always)]
fn mask(count: usize) -> u16 {
    ((1_u32 << count.min(16)) - 1) as u16
}

impl Simd for Avx512 {
    arithmetic!();
    f32_elements!();

    #[inline(always)]
    unsafe fn enter<K: Kernel<Self>>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe fn enter<K: Kernel<Avx512>>(kernel: K) -> K::Output {
            // SAFETY: the caller's promise.
            unsafe { kernel.run() }
        }
        // SAFETY: the caller's promise.
        unsafe { enter(kernel) }
    }
}

impl Simd for Avx512Vnni {
    arithmetic!();
    f32_elements!();

    const MULTIPLIES_INTEGERS: bool = true;

    #[inline(always)]
    unsafe fn enter<K: Kernel<Self>>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
        unsafe fn enter<K: Kernel<Avx512Vnni>>(kernel: K) -> K::Output {
            // SAFETY: the caller's promise.
            unsafe { kernel.run() }
        }
        // SAFETY: the caller's promise.
        unsafe { enter(kernel) }
    }

    #[inline(always)]
    unsafe fn store_integers(to: *mut i16, from: *const f32, scale: __m512) {
        // SAFETY: the caller's promise.
        unsafe {
            let scaled = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from), scale));
            _mm256_storeu_si256(to.cast(), _mm512_cvtsepi32_epi16(scaled));
        }
    }

    #[inline(always)]
    unsafe fn multiply_integers<const ROWS: usize, const VECTORS: usize>(
        rows: *const i16,
        stride: usize,
        integers: usize,
        weights: *const i16,
    ) -> [[__m512; VECTORS]; ROWS] {
        // SAFETY: the caller's promise: pairs of integers per row, and as many vectors of weights.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); VECTORS]; ROWS];
            let mut weights = weights.cast::<__m512i>();
            // A pointer reaches three rows with what an address can contain: 0, 1 and 2 strides.
            let mut starts = [0, 3, 6, 9].map(|row| rows.wrapping_add(row * stride));
            for _ in 0..integers / 4 {
                for _ in 0..2 {
                    let mut factors = [_mm512_setzero_si512(); VECTORS];
                    for factor in &mut factors {
                        *factor = _mm512_loadu_si512(weights);
                        weights = weights.add(1);
                    }
                    for row in 0..ROWS {
                        let pair = starts[row / 3].wrapping_add(row % 3 * stride);
                        let pair = _mm512_set1_epi32(pair.cast::<i32>().read_unaligned());
                        for vector in 0..VECTORS {
                            let sum = sums[row][vector];
                            sums[row][vector] = _mm512_dpwssd_epi32(sum, pair, factors[vector]);
                        }
                    }
                    for start in &mut starts {
                        *start = start.wrapping_add(2);
                    }
                }
            }
            let mut results = [[_mm512_setzero_ps(); VECTORS]; ROWS];
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    results[row][vector] = _mm512_cvtepi32_ps(sums[row][vector]);
                }
            }
            results
        }
    }
}

impl Simd for Avx512Bf16 {
    arithmetic!();

    const STEP: usize = 2;

    type Element = Bf16;
    type Steps = __m512i;

    #[inline(always)]
    unsafe fn enter<K: Kernel<Self>>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        unsafe fn enter<K: Kernel<Avx512Bf16>>(kernel: K) -> K::Output {
            // SAFETY: the caller's promise.
            unsafe { kernel.run() }
        }
        // SAFETY: the caller's promise.
        unsafe { enter(kernel) }
    }

    #[inline(always)]
    unsafe fn load_elements(from: *const Bf16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let halves = _mm256_loadu_si256(from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    unsafe fn store_elements(to: *mut Bf16, value: __m512) {
        // SAFETY: the caller's promise. Both types are vectors of 256 bits.
        unsafe {
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value));
            _mm256_storeu_si256(to.cast(), halves);
        }
    }

    #[inline(always)]
    unsafe fn load_elements_partial(from: *const Bf16, count: usize) -> __m512 {
        // SAFETY: the caller's promise; masked lanes are not read.
        unsafe {
            let halves = _mm256_maskz_loadu_epi16(mask(count), from.cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    #[inline(always)]
    unsafe fn store_elements_partial(to: *mut Bf16, value: __m512, count: usize) {
        // SAFETY: the caller's promise; masked lanes are not written. Both types are vectors of 256 bits.
        unsafe {
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value));
            _mm256_mask_storeu_epi16(to.cast(), mask(count), halves);
        }
    }

    #[inline(always)]
    unsafe fn store_pairs(to: *mut Bf16, first: __m512, second: __m512) {
        // SAFETY: the caller's promise. Both types are vectors of 512 bits.
        unsafe {
            // The elements of `first`, then those of `second`.
            let both = _mm512_cvtne2ps_pbh(second, first);
            let both = std::mem::transmute::<__m512bh, __m512i>(both);
            let order = _mm512_load_si512((&raw const INTERLEAVED).cast());
            _mm512_storeu_si512(to.cast(), _mm512_permutexvar_epi16(order, both));
        }
    }

    #[inline(always)]
    unsafe fn broadcast_step(from: *const Bf16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_steps(from: *const Bf16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn multiply_add_steps(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: see the module. The types are vectors of 512 bits.
        unsafe {
            let a = std::mem::transmute::<__m512i, __m512bh>(a);
            let b = std::mem::transmute::<__m512i, __m512bh>(b);
            _mm512_dpbf16_ps(sum, a, b)
        }
    }
}
