use super::vector::Bf16;
use super::*;

/// Checks each operation of a set against plain numbers.
struct CheckOperations;

/// Runs the operations inside [`Simd::enter`].
struct Operations<'a> {
    a: &'a [f32; 16],
    b: &'a [f32; 16],
    results: &'a mut Vec<Vec<f32>>,
}

impl<S: Simd> Kernel<S> for Operations<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: the arrays have 16 numbers, which is at least `LANES`.
        unsafe {
            let (a, b) = (S::load(self.a.as_ptr()), S::load(self.b.as_ptr()));
            let vectors = [
                S::add(a, b),
                S::sub(a, b),
                S::mul(a, b),
                S::div(a, b),
                S::mul_add(a, b, S::splat(2.0)),
                S::max(a, b),
                S::min(a, b),
                S::round(a),
                S::scale_by_power_of_two(b, S::round(a)),
                S::splat(S::sum_lanes(a)),
                S::splat(S::max_lane(a)),
            ];
            for vector in vectors {
                let mut lanes = vec![0.0; S::LANES];
                S::store(lanes.as_mut_ptr(), vector);
                self.results.push(lanes);
            }
            let nan = S::splat(f32::NAN);
            for vector in [
                S::max(nan, b),
                S::max(a, nan),
                S::min(nan, b),
                S::min(a, nan),
            ] {
                let mut lanes = vec![0.0; S::LANES];
                S::store(lanes.as_mut_ptr(), vector);
                self.results.push(lanes);
            }
            let mut elements = [S::Element::default(); 32];
            for (index, element) in elements.iter_mut().enumerate() {
                *element = S::Element::from_f32(index as f32);
            }
            let steps = S::multiply_add_steps(
                S::splat(0.5),
                S::broadcast_step(elements.as_ptr().add(3)),
                S::load_steps(elements.as_ptr()),
            );
            let mut lanes = vec![0.0; S::LANES];
            S::store(lanes.as_mut_ptr(), steps);
            self.results.push(lanes);
            let bytes: [u8; 16] = std::array::from_fn(|i| (i * 17) as u8);
            let mut lanes = vec![0.0; S::LANES];
            S::store(lanes.as_mut_ptr(), S::load_bytes(bytes.as_ptr()));
            self.results.push(lanes);
            for count in 0..=S::LANES {
                let mut lanes = vec![-1.0; S::LANES];
                S::store_partial(
                    lanes.as_mut_ptr(),
                    S::load_partial(self.a.as_ptr(), count),
                    count,
                );
                let all = S::load_elements_partial(elements.as_ptr(), count);
                let mut copied = vec![S::Element::from_f32(-1.0); S::LANES];
                S::store_elements_partial(copied.as_mut_ptr(), all, count);
                lanes.extend(copied.iter().map(|element| element.to_f32()));
                let mut unmasked = vec![0.0; S::LANES];
                S::store(unmasked.as_mut_ptr(), all);
                lanes.extend(unmasked);
                self.results.push(lanes);
            }
        }
    }
}

impl SimdVisitor for CheckOperations {
    type Output = ();

    fn visit<S: Simd>(self) {
        let a: [f32; 16] = std::array::from_fn(|i| (i as f32 - 5.3) * 1.7);
        let b: [f32; 16] = std::array::from_fn(|i| (i as f32 * 2.9).sin() * 8.0 + 0.1);
        let mut results = Vec::new();
        // SAFETY: `visit` of this module checks that the processor supports the set.
        unsafe {
            S::enter(Operations {
                a: &a,
                b: &b,
                results: &mut results,
            });
        }
        let lanes = S::LANES;
        let expected: [&dyn Fn(usize) -> f32; 17] = [
            &|i| a[i] + b[i],
            &|i| a[i] - b[i],
            &|i| a[i] * b[i],
            &|i| a[i] / b[i],
            &|i| a[i] * b[i] + 2.0,
            &|i| a[i].max(b[i]),
            &|i| a[i].min(b[i]),
            &|i| a[i].round_ties_even(),
            &|i| b[i] * a[i].round_ties_even().exp2(),
            &|_| a[..lanes].iter().sum(),
            &|_| a[..lanes].iter().copied().fold(f32::MIN, f32::max),
            &|i| b[i],
            &|_| f32::NAN,
            &|i| b[i],
            &|_| f32::NAN,
            &|i| match S::STEP {
                1 => 0.5 + 3.0 * i as f32,
                _ => 0.5 + 3.0 * (2 * i) as f32 + 4.0 * (2 * i + 1) as f32,
            },
            &|i| (i * 17) as f32,
        ];
        for (number, (result, expected)) in results.iter().zip(expected).enumerate() {
            for (lane, value) in result.iter().enumerate() {
                let expected = expected(lane);
                let error = (value - expected).abs();
                assert!(
                    error <= 1e-5 * expected.abs().max(1.0) || value.is_nan() && expected.is_nan(),
                    "{number}: {value} {expected}"
                );
            }
        }
        for (count, result) in results[17..].iter().enumerate() {
            for lane in 0..lanes {
                let is_set = lane < count;
                assert_eq!(result[lane], if is_set { a[lane] } else { -1.0 });
                assert_eq!(
                    result[lanes + lane],
                    if is_set { lane as f32 } else { -1.0 }
                );
                assert_eq!(
                    result[2 * lanes + lane],
                    if is_set { lane as f32 } else { 0.0 }
                );
            }
        }
    }
}

#[test]
fn every_set_computes_the_same() {
    for set in InstructionSet::ALL {
        if set.is_supported() {
            visit(set, CheckOperations);
        }
    }
}

#[test]
fn bf16_rounds_to_the_nearest_even() {
    assert_eq!(Bf16::from_f32(1.0), Bf16(0x3f80));
    assert_eq!(Bf16::from_f32(f32::from_bits(0x3f80_8000)), Bf16(0x3f80));
    assert_eq!(Bf16::from_f32(f32::from_bits(0x3f81_8000)), Bf16(0x3f82));
    assert_eq!(Bf16::from_f32(f32::from_bits(0x3f80_8001)), Bf16(0x3f81));
    assert!(Bf16::from_f32(f32::NAN).to_f32().is_nan());
    assert_eq!(Bf16::from_f32(f32::INFINITY).to_f32(), f32::INFINITY);
}
