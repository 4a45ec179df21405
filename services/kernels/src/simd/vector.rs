//! The traits that each instruction set implements.

/// A number of a map or a weight in memory.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

/// The upper half of an f32: 8 bits of exponent, 7 of mantissa.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Bf16(pub(crate) u16);

impl Element for Bf16 {
    /// Rounds to the nearest, ties to even. NaN stays NaN.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        if value.is_nan() {
            return Self((bits >> 16) as u16 | 0x40);
        }
        Self(((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// Code that runs with the instructions of a set.
pub(crate) trait Kernel<S: Simd> {
    type Output;

    /// Must be `#[inline(always)]`.
    ///
    /// # Safety
    ///
    /// The processor supports the set. The pointers of the kernel are valid for what its documentation says.
    unsafe fn run(self) -> Self::Output;
}

/// Code that is generic over the instruction set.
pub(crate) trait SimdVisitor {
    type Output;

    fn visit<S: Simd>(self) -> Self::Output;
}

/// The vector operations of an instruction set.
///
/// # Safety
///
/// All functions that are `unsafe` need a processor that supports the set, and pointers that are valid for the
/// number of values that the function names. No alignment is needed.
pub(crate) trait Simd: Copy + Default + Send + Sync + 'static {
    /// Numbers per vector: a divisor of 16.
    const LANES: usize;
    /// Consecutive elements that [`Self::multiply_add_steps`] multiplies per lane.
    const STEP: usize;
    /// Vector registers, which decides the size of tiles.
    const REGISTERS: usize;

    /// Whether products of 16-bit integers are faster than products of elements, which must be f32.
    const MULTIPLIES_INTEGERS: bool = false;

    /// A number of a map or a weight in memory.
    type Element: Element;
    /// [`Self::LANES`] numbers.
    type F32: Copy;
    /// `LANES * STEP` elements.
    type Steps: Copy;

    /// Runs a kernel in a function that is compiled with the instructions of this set.
    unsafe fn enter<K: Kernel<Self>>(kernel: K) -> K::Output;

    fn splat(value: f32) -> Self::F32;
    #[inline(always)]
    fn zero() -> Self::F32 {
        Self::splat(0.0)
    }
    fn add(a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once where the processor can.
    fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The greater of each pair. Returns `b` if one of them is NaN.
    fn max(a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller of each pair. Returns `b` if one of them is NaN.
    fn min(a: Self::F32, b: Self::F32) -> Self::F32;
    /// Rounds to the nearest whole number, ties to even. Needs numbers between −2²² and 2²².
    fn round(a: Self::F32) -> Self::F32;
    /// `a * 2^exponent` for whole exponents between −126 and 127. `a` and the product are normal numbers. NaN stays NaN.
    fn scale_by_power_of_two(a: Self::F32, exponent: Self::F32) -> Self::F32;
    /// The sum of all lanes.
    fn sum_lanes(a: Self::F32) -> f32;
    /// The greatest lane. Needs lanes that are not NaN.
    fn max_lane(a: Self::F32) -> f32;

    /// Reads `LANES` numbers.
    unsafe fn load(from: *const f32) -> Self::F32;
    /// Writes `LANES` numbers.
    unsafe fn store(to: *mut f32, value: Self::F32);
    /// Reads `LANES` bytes as numbers from 0 to 255.
    unsafe fn load_bytes(from: *const u8) -> Self::F32;
    /// Reads `LANES` elements.
    unsafe fn load_elements(from: *const Self::Element) -> Self::F32;
    /// Writes `LANES` elements.
    unsafe fn store_elements(to: *mut Self::Element, value: Self::F32);
    /// Reads `count` numbers. The other lanes are 0.
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::F32 {
        if count >= Self::LANES {
            // SAFETY: the caller's promise about `count` numbers.
            return unsafe { Self::load(from) };
        }
        let mut lanes = [0.0; 16];
        for (index, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller's promise about `count` numbers.
            *lane = unsafe { from.add(index).read() };
        }
        // SAFETY: `LANES` is at most 16.
        unsafe { Self::load(lanes.as_ptr()) }
    }
    /// Writes the first `count` lanes.
    #[cfg(test)]
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: Self::F32, count: usize) {
        let mut lanes = [0.0; 16];
        // SAFETY: `LANES` is at most 16; the caller's promise about `count` numbers.
        unsafe {
            Self::store(lanes.as_mut_ptr(), value);
            to.copy_from_nonoverlapping(lanes.as_ptr(), count.min(Self::LANES));
        }
    }
    /// Reads `count` elements. The other lanes are 0.
    #[inline(always)]
    unsafe fn load_elements_partial(from: *const Self::Element, count: usize) -> Self::F32 {
        if count >= Self::LANES {
            // SAFETY: the caller's promise about `count` elements.
            return unsafe { Self::load_elements(from) };
        }
        let mut lanes = [0.0; 16];
        for (index, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller's promise about `count` elements.
            *lane = unsafe { from.add(index).read() }.to_f32();
        }
        // SAFETY: `LANES` is at most 16.
        unsafe { Self::load(lanes.as_ptr()) }
    }
    /// Writes the first `count` lanes as elements.
    #[inline(always)]
    unsafe fn store_elements_partial(to: *mut Self::Element, value: Self::F32, count: usize) {
        if count >= Self::LANES {
            // SAFETY: the caller's promise about `count` elements.
            return unsafe { Self::store_elements(to, value) };
        }
        let mut lanes = [Self::Element::default(); 16];
        // SAFETY: `LANES` is at most 16; the caller's promise about `count` elements.
        unsafe {
            Self::store_elements(lanes.as_mut_ptr(), value);
            to.copy_from_nonoverlapping(lanes.as_ptr(), count.min(Self::LANES));
        }
    }

    /// Writes for each lane the element of `first` and that of `second`. Needs a `STEP` of 2.
    #[inline(always)]
    unsafe fn store_pairs(to: *mut Self::Element, first: Self::F32, second: Self::F32) {
        let mut lanes = [[0.0; 16]; 2];
        // SAFETY: `LANES` is at most 16; the caller's promise about `LANES * 2` elements.
        unsafe {
            Self::store(lanes[0].as_mut_ptr(), first);
            Self::store(lanes[1].as_mut_ptr(), second);
            for index in 0..2 * Self::LANES {
                let value = Self::Element::from_f32(lanes[index % 2][index / 2]);
                to.add(index).write(value);
            }
        }
    }

    /// Scales 16 elements and writes them as integers, rounded to the nearest.
    ///
    /// This and [`Self::multiply_integers`] need a set that multiplies integers.
    unsafe fn store_integers(to: *mut i16, from: *const Self::Element, scale: Self::F32) {
        let _ = (to, from, scale);
        unreachable!("the set does not multiply integers");
    }
    /// Returns the sums of a tile of up to 12 rows, or 6 with less than 32 registers, as f32. The sum of a row's products with an output's weights is over
    /// `integers` integers, a multiple of 4, and must be between −2³¹ and 2³¹. The next row is `stride` integers further. The
    /// weights are `VECTORS * LANES` pairs for each pair of a row.
    unsafe fn multiply_integers<const ROWS: usize, const VECTORS: usize>(
        rows: *const i16,
        stride: usize,
        integers: usize,
        weights: *const i16,
    ) -> [[Self::F32; VECTORS]; ROWS] {
        let _ = (rows, stride, integers, weights);
        unreachable!("the set does not multiply integers");
    }

    /// Reads `STEP` elements and repeats them in all lanes.
    unsafe fn broadcast_step(from: *const Self::Element) -> Self::Steps;
    /// Reads `LANES * STEP` elements.
    unsafe fn load_steps(from: *const Self::Element) -> Self::Steps;
    /// Adds to each lane the `STEP` products of the elements of that lane.
    fn multiply_add_steps(sum: Self::F32, a: Self::Steps, b: Self::Steps) -> Self::F32;
}
