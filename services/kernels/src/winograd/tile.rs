//! The transformations of Winograd's algorithm for two sizes of tiles.

use crate::simd::Simd;

/// The most inputs per side of a tile.
pub(super) const MAX_INPUTS: usize = 6;

/// The most outputs per side of a tile.
pub(super) const MAX_OUTPUTS: usize = 4;

/// The algorithm F(m×m, 3×3). Functions of one dimension are applied to the columns and then to the lines of a tile; they
/// use the first numbers of each array.
pub(crate) trait WinogradTile: Send + Sync + 'static {
    /// Outputs per side.
    const OUTPUTS: usize;
    /// Inputs per side.
    const INPUTS: usize = Self::OUTPUTS + 2;
    /// Components of a transformed tile.
    const COMPONENTS: usize = Self::INPUTS * Self::INPUTS;
    /// Tiles that are computed at a time are a multiple of this, so that they fill the tiles of the product.
    const UNIT: usize;
    /// Tiles of a chunk are a multiple of this.
    const CHUNK_UNIT: usize;
    /// `G`, whose rows transform windows.
    const WINDOW: [[f64; 3]; MAX_INPUTS];

    /// `Bᵀ` times inputs.
    fn transform_inputs<S: Simd>(inputs: [S::F32; MAX_INPUTS]) -> [S::F32; MAX_INPUTS];

    /// `Aᵀ` times sums.
    fn transform_sums<S: Simd>(sums: [S::F32; MAX_INPUTS]) -> [S::F32; MAX_OUTPUTS];

    /// Transforms the window of an input and an output: the components of `G g Gᵀ`.
    fn transform_window(window: &[f32]) -> impl Iterator<Item = f32> {
        (0..Self::COMPONENTS).map(move |component| {
            let row = &Self::WINDOW[component / Self::INPUTS];
            let column = &Self::WINDOW[component % Self::INPUTS];
            let places =
                (0..9).map(|place| row[place / 3] * column[place % 3] * f64::from(window[place]));
            places.sum::<f64>() as f32
        })
    }
}

/// Tiles of 2 × 2 outputs: 16 products instead of 36. The transformations only add, so that bf16 is exact enough.
pub(crate) struct SmallTile;

impl WinogradTile for SmallTile {
    const OUTPUTS: usize = 2;
    const UNIT: usize = 24;
    const CHUNK_UNIT: usize = 8;
    const WINDOW: [[f64; 3]; MAX_INPUTS] = [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.0, 0.0, 1.0],
        [0.0; 3],
        [0.0; 3],
    ];

    #[inline(always)]
    fn transform_inputs<S: Simd>(d: [S::F32; MAX_INPUTS]) -> [S::F32; MAX_INPUTS] {
        [
            S::sub(d[0], d[2]),
            S::add(d[1], d[2]),
            S::sub(d[2], d[1]),
            S::sub(d[1], d[3]),
            S::zero(),
            S::zero(),
        ]
    }

    #[inline(always)]
    fn transform_sums<S: Simd>(m: [S::F32; MAX_INPUTS]) -> [S::F32; MAX_OUTPUTS] {
        [
            S::add(S::add(m[0], m[1]), m[2]),
            S::sub(S::sub(m[1], m[2]), m[3]),
            S::zero(),
            S::zero(),
        ]
    }
}

/// Tiles of 4 × 4 outputs: 36 products instead of 144. The transformations multiply by up to 8, which needs f32.
pub(crate) struct LargeTile;

impl WinogradTile for LargeTile {
    const OUTPUTS: usize = 4;
    const UNIT: usize = 12;
    const CHUNK_UNIT: usize = 6;
    const WINDOW: [[f64; 3]; MAX_INPUTS] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn transform_inputs<S: Simd>(d: [S::F32; MAX_INPUTS]) -> [S::F32; MAX_INPUTS] {
        let [two, four, minus_five] = [2.0, 4.0, -5.0].map(S::splat);
        let minus_four = S::splat(-4.0);
        // The even and the odd part of the polynomials for the points ±1 and ±2.
        let (even_one, odd_one) = (
            S::mul_add(d[2], minus_four, d[4]),
            S::mul_add(d[1], minus_four, d[3]),
        );
        let (even_two, odd_two) = (S::sub(d[4], d[2]), S::mul(S::sub(d[3], d[1]), two));
        [
            S::mul_add(d[0], four, S::mul_add(d[2], minus_five, d[4])),
            S::add(even_one, odd_one),
            S::sub(even_one, odd_one),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            S::mul_add(d[1], four, S::mul_add(d[3], minus_five, d[5])),
        ]
    }

    #[inline(always)]
    fn transform_sums<S: Simd>(m: [S::F32; MAX_INPUTS]) -> [S::F32; MAX_OUTPUTS] {
        let [two, four, eight] = [2.0, 4.0, 8.0].map(S::splat);
        let (even_one, odd_one) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (even_two, odd_two) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], even_one), even_two),
            S::mul_add(odd_two, two, odd_one),
            S::mul_add(even_two, four, even_one),
            S::add(S::mul_add(odd_two, eight, odd_one), m[5]),
        ]
    }
}
