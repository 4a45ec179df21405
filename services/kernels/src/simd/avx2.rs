//! AVX2 with FMA.
//!
//! The functions that are not `unsafe` are only called below [`Simd::enter`], whose caller promises that the
//! processor supports the set.

use std::arch::x86_64::*;

use super::vector::{Kernel, Simd};

/// AVX2 and FMA.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Avx2;

impl Simd for Avx2 {
    const LANES: usize = 8;
    const STEP: usize = 1;
    const REGISTERS: usize = 16;
    const MULTIPLIES_INTEGERS: bool = true;

    type Element = f32;
    type F32 = __m256;
    type Steps = __m256;

    #[inline(always)]
    unsafe fn enter<K: Kernel<Self>>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn enter<K: Kernel<Avx2>>(kernel: K) -> K::Output {
            // SAFETY: the caller's promise.
            unsafe { kernel.run() }
        }
        // SAFETY: the caller's promise.
        unsafe { enter(kernel) }
    }

    #[inline(always)]
    fn splat(value: f32) -> __m256 {
        // SAFETY: see the module. This holds for each function below.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn round(a: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn scale_by_power_of_two(a: __m256, exponent: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(exponent));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent))
        }
    }

    #[inline(always)]
    fn sum_lanes(a: __m256) -> f32 {
        // SAFETY: as above.
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        }
    }

    #[inline(always)]
    fn max_lane(a: __m256) -> f32 {
        // SAFETY: as above.
        unsafe {
            let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_elements(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn store_elements(to: *mut f32, value: __m256) {
        // SAFETY: the caller's promise.
        unsafe { Self::store(to, value) }
    }

    #[inline(always)]
    unsafe fn store_integers(to: *mut i16, from: *const f32, scale: __m256) {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = [0, 8].map(|at| {
                let scaled = _mm256_mul_ps(_mm256_loadu_ps(from.add(at)), scale);
                _mm256_cvtps_epi32(scaled)
            });
            // The instruction packs the halves of both vectors in turns.
            let packed = _mm256_packs_epi32(low, high);
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            _mm256_storeu_si256(to.cast(), packed);
        }
    }

    #[inline(always)]
    unsafe fn multiply_integers<const ROWS: usize, const VECTORS: usize>(
        rows: *const i16,
        stride: usize,
        integers: usize,
        weights: *const i16,
    ) -> [[__m256; VECTORS]; ROWS] {
        // SAFETY: the caller's promise: pairs of integers per row, and as many vectors of weights.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
            let mut weights = weights.cast::<__m256i>();
            // Two pointers reach six rows with what an address can contain: 0, 1 and 2 strides.
            let mut starts = [rows, rows.wrapping_add(3 * stride)];
            for _ in 0..integers / 4 {
                for _ in 0..2 {
                    let mut factors = [_mm256_setzero_si256(); VECTORS];
                    for factor in &mut factors {
                        *factor = _mm256_loadu_si256(weights);
                        weights = weights.add(1);
                    }
                    for row in 0..ROWS {
                        let pair = starts[row / 3].wrapping_add(row % 3 * stride);
                        let pair = _mm256_set1_epi32(pair.cast::<i32>().read_unaligned());
                        for vector in 0..VECTORS {
                            let products = _mm256_madd_epi16(pair, factors[vector]);
                            sums[row][vector] = _mm256_add_epi32(sums[row][vector], products);
                        }
                    }
                    starts = [starts[0].wrapping_add(2), starts[1].wrapping_add(2)];
                }
            }
            let mut results = [[_mm256_setzero_ps(); VECTORS]; ROWS];
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    results[row][vector] = _mm256_cvtepi32_ps(sums[row][vector]);
                }
            }
            results
        }
    }

    #[inline(always)]
    unsafe fn broadcast_step(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_broadcast_ss(&from.read()) }
    }

    #[inline(always)]
    unsafe fn load_steps(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    fn multiply_add_steps(sum: __m256, a: __m256, b: __m256) -> __m256 {
        Self::mul_add(a, b, sum)
    }
}
