//! Images and weights by the formulas of `reference/make_reference.py`.

/// The same as the script's `random_bits`: SplitMix64 of (FNV-1a of the name) + 0, 1, 2, …
fn random_bits(name: &str, count: usize) -> impl Iterator<Item = u64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |seed, byte| {
        (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (0..count as u64).map(move |i| {
        let z = seed.wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The same as the script's `pictures`: noise, and slanted bands.
pub(super) fn sample_pixels(side: usize) -> Vec<u8> {
    let noise = random_bits("pixels", side * side * 3).map(|bits| bits as u8);
    let bands = (0..side * side * 3).map(|i| {
        let (y, x, c) = (i / 3 / side, i / 3 % side, i % 3);
        (3 * x + 2 * y + 40 * c) as u8
    });
    noise.chain(bands).collect()
}

/// The same as the script's `seeded`: the numbers of one tensor.
pub(super) fn seeded_tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let is_product = matches!(shape.len(), 2 | 4);
    let fan_in = shape[1..].iter().product::<usize>();
    let scale = if is_product {
        2.0 * (6.0 / fan_in as f64).sqrt()
    } else {
        0.5
    } as f32;
    random_bits(name, shape.iter().product())
        .map(|bits| {
            let u = (bits >> 40) as f32 * f32::powi(2.0, -24);
            if is_product {
                (u - 0.5) * scale
            } else if name.ends_with("running_var") {
                u + 0.5
            } else if name.ends_with("weight") {
                u * 0.5 + 0.5
            } else {
                (u - 0.5) * scale
            }
        })
        .collect()
}
