use super::*;
use crate::{
    InstructionSet,
    memory::Scratch,
    random::TestNumbers,
    simd::{self, Element, Simd, SimdVisitor},
    step::pad_channels,
};

/// Attends with random numbers, and compares the outputs with those of plain loops in f64.
struct CheckAttention {
    shape: AttentionShape,
    seed: u64,
}

fn random_elements<E: Element>(random: &mut TestNumbers, count: usize) -> Vec<E> {
    let numbers = random.normals(count);
    numbers.into_iter().map(E::from_f32).collect()
}

/// Softmax of the scores of one query, times the values.
fn attend_naively(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let root = (query.len() as f64).sqrt();
    let weights: Vec<f64> = keys
        .iter()
        .map(|key| {
            let product: f64 = key.iter().zip(query).map(|(a, b)| a * b).sum();
            (product / root).exp()
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    (0..query.len())
        .map(|column| {
            let pairs = weights.iter().zip(values);
            pairs
                .map(|(weight, value)| weight / sum * value[column])
                .sum()
        })
        .collect()
}

/// The columns of a head in each row, from column `start` on.
fn slice_columns<E: Element>(
    rows: &[E],
    width: usize,
    start: usize,
    count: usize,
) -> Vec<Vec<f64>> {
    rows.chunks_exact(width)
        .map(|row| {
            let columns = &row[start..][..count];
            columns.iter().map(|e| f64::from(e.to_f32())).collect()
        })
        .collect()
}

fn assert_close<E: Element>(output: &[E], expected: &[f64], step: usize, context: &str) {
    let tolerance = if step == 1 { 2e-6 } else { 1e-2 };
    for (output, expected) in output.iter().zip(expected) {
        let error = (f64::from(output.to_f32()) - expected).abs();
        assert!(
            error <= tolerance * expected.abs().max(1.0),
            "{context}: {} instead of {expected}",
            output.to_f32()
        );
    }
}

impl SimdVisitor for CheckAttention {
    type Output = ();

    fn visit<S: Simd>(self) {
        let shape = self.shape;
        let (width, head_width) = (shape.width(), shape.head_width);
        let mut random = TestNumbers::new(self.seed);
        let qkv: Vec<S::Element> = random_elements(&mut random, shape.tokens * shape.input_pitch());
        let pitch = shape.output_pitch();
        let unset = S::Element::from_f32(-77.0);
        let mut output = vec![unset; shape.tokens * pitch];
        let mut scratch = Scratch::default();
        let scratch = scratch.take(shape.scratch_bytes::<S>());
        // SAFETY: the scratch has as many bytes. Every bit set is NaN.
        unsafe { scratch.write_bytes(0xff, shape.scratch_bytes::<S>()) };
        let split = random.below(shape.tokens + 1);
        for head in 0..shape.heads {
            for rows in [0..split, split..shape.tokens] {
                // SAFETY: the slices have the sizes that the kernel needs, and `visit` checks that the
                // processor supports the set.
                unsafe {
                    S::enter(AttendHead {
                        shape,
                        qkv: qkv.as_ptr(),
                        output: output.as_mut_ptr(),
                        head,
                        rows,
                        scratch,
                    });
                }
            }
        }
        for head in 0..shape.heads {
            let part = |i| {
                slice_columns(
                    &qkv,
                    shape.input_pitch(),
                    i * width + head * head_width,
                    head_width,
                )
            };
            let (queries, keys, values) = (part(0), part(1), part(2));
            for (row, query) in queries.iter().enumerate() {
                let count = if shape.is_causal {
                    row + 1
                } else {
                    shape.tokens
                };
                let expected = attend_naively(query, &keys[..count], &values[..count]);
                let start = row * pitch + head * head_width;
                let context = format!("{shape:?}, head {head}, row {row}");
                assert_close(&output[start..][..head_width], &expected, S::STEP, &context);
            }
        }
        for row in output.chunks_exact(pitch) {
            assert!(row[width..].iter().all(|x| x.to_f32() == 0.0), "{shape:?}");
        }
    }
}

#[test]
fn attention_equals_plain_loops() {
    let mut random = TestNumbers::new(1);
    let usual = [(197, 64), (50, 64), (77, 64), (257, 32), (64, 72), (1, 64)];
    let shapes = usual.into_iter().chain((0..20).map(|_| {
        let tokens = 1 + random.below(90);
        (tokens, 1 + random.below(90))
    }));
    for (i, (tokens, head_width)) in shapes.enumerate() {
        for set in InstructionSet::ALL {
            if !set.is_supported() {
                continue;
            }
            for is_causal in [false, true] {
                let shape = AttentionShape {
                    tokens,
                    heads: 1 + i % 3,
                    head_width,
                    is_causal,
                };
                simd::visit(
                    set,
                    CheckAttention {
                        shape,
                        seed: i as u64,
                    },
                );
            }
        }
    }
}

/// Attends to a thousand keys that are all alike except one, which has a much higher score.
struct CheckHighScore;

impl SimdVisitor for CheckHighScore {
    type Output = ();

    fn visit<S: Simd>(self) {
        let shape = AttentionShape {
            tokens: 1025,
            heads: 1,
            head_width: 8,
            is_causal: false,
        };
        let mut rows = vec![[0.0_f32; 32]; shape.tokens];
        for (token, row) in rows.iter_mut().enumerate() {
            row[..8].fill(30.0);
            row[8..16].fill(if token == 700 { 30.0 } else { -30.0 });
            row[16..24].fill(token as f32 / 16.0);
        }
        let qkv: Vec<S::Element> = rows
            .iter()
            .flatten()
            .map(|x| S::Element::from_f32(*x))
            .collect();
        let mut output = vec![S::Element::default(); shape.tokens * 16];
        let mut scratch = Scratch::default();
        let scratch = scratch.take(shape.scratch_bytes::<S>());
        // SAFETY: the scratch has as many bytes. Every bit set is NaN.
        unsafe { scratch.write_bytes(0xff, shape.scratch_bytes::<S>()) };
        // SAFETY: as in `CheckAttention`.
        unsafe {
            S::enter(AttendHead {
                shape,
                qkv: qkv.as_ptr(),
                output: output.as_mut_ptr(),
                head: 0,
                rows: 0..shape.tokens,
                scratch,
            });
        }
        for row in output.chunks_exact(16) {
            assert!(row[..8].iter().all(|x| (x.to_f32() - 43.75).abs() < 1e-3));
        }
    }
}

#[test]
fn a_high_score_takes_all_weight() {
    for set in InstructionSet::ALL {
        if set.is_supported() {
            simd::visit(set, CheckHighScore);
        }
    }
}

struct CheckPooledAttention {
    tokens: usize,
    heads: usize,
    head_width: usize,
}

impl SimdVisitor for CheckPooledAttention {
    type Output = ();

    fn visit<S: Simd>(self) {
        let (heads, head_width) = (self.heads, self.head_width);
        let width = heads * head_width;
        let mut random = TestNumbers::new(self.tokens as u64);
        let pitch = pad_channels(2 * width);
        let rows: Vec<S::Element> = random_elements(&mut random, self.tokens * pitch);
        let query = random.normals(width);
        let attention = PooledAttention::new(&query, heads);
        let mut output = vec![S::Element::from_f32(-77.0); pad_channels(width)];
        let mut scratch = Scratch::default();
        let scratch = scratch.take(attention.scratch_bytes::<S>(self.tokens));
        let split = heads / 2;
        for heads in [0..split, split..heads] {
            // SAFETY: the slices have the sizes that the kernel needs, and `visit` checks that the
            // processor supports the set.
            unsafe {
                S::enter(AttendWithQuery {
                    attention: &attention,
                    keys_values: rows.as_ptr(),
                    tokens: self.tokens,
                    heads,
                    output: output.as_mut_ptr(),
                    scratch,
                });
            }
        }
        assert!(output[width..].iter().all(|x| x.to_f32() == 0.0));
        for head in 0..heads {
            let start = head * head_width;
            let keys = slice_columns(&rows, pitch, start, head_width);
            let values = slice_columns(&rows, pitch, width + start, head_width);
            let query = &query[start..][..head_width];
            let query: Vec<f64> = query.iter().map(|x| f64::from(*x)).collect();
            let expected = attend_naively(&query, &keys, &values);
            assert_close(&output[start..][..head_width], &expected, S::STEP, "pooled");
        }
    }
}

#[test]
fn pooled_attention_equals_plain_loops() {
    let mut random = TestNumbers::new(9);
    let mut shapes = vec![(196, 12, 64), (1, 1, 1), (63, 3, 72), (7, 2, 37)];
    shapes.extend((0..12).map(|_| {
        let (tokens, heads) = (1 + random.below(90), 1 + random.below(4));
        (tokens, heads, 1 + random.below(80))
    }));
    for (tokens, heads, head_width) in shapes {
        for set in InstructionSet::ALL {
            if set.is_supported() {
                simd::visit(
                    set,
                    CheckPooledAttention {
                        tokens,
                        heads,
                        head_width,
                    },
                );
            }
        }
    }
}

/// Attends to keys of which one is NaN.
struct CheckNan;

impl SimdVisitor for CheckNan {
    type Output = ();

    fn visit<S: Simd>(self) {
        let shape = AttentionShape {
            tokens: 21,
            heads: 1,
            head_width: 16,
            is_causal: true,
        };
        let mut random = TestNumbers::new(5);
        let pitch = shape.input_pitch();
        let mut qkv: Vec<S::Element> = random_elements(&mut random, shape.tokens * pitch);
        let first_nan = 13;
        qkv[first_nan * pitch + 16 + 3] = S::Element::from_f32(f32::NAN);
        let mut output = vec![S::Element::default(); shape.tokens * 16];
        let mut scratch = Scratch::default();
        let scratch = scratch.take(shape.scratch_bytes::<S>());
        // SAFETY: as in `CheckAttention`.
        unsafe {
            S::enter(AttendHead {
                shape,
                qkv: qkv.as_ptr(),
                output: output.as_mut_ptr(),
                head: 0,
                rows: 0..shape.tokens,
                scratch,
            });
        }
        for (row, numbers) in output.chunks_exact(16).enumerate() {
            let is_nan = numbers.iter().all(|x| x.to_f32().is_nan());
            let is_finite = numbers.iter().all(|x| x.to_f32().is_finite());
            // Queries before the key do not see it. A score of NaN has a weight of NaN.
            assert!(if row < first_nan { is_finite } else { is_nan }, "{row}");
        }
    }
}

#[test]
fn nan_reaches_the_output() {
    for set in InstructionSet::ALL {
        if set.is_supported() {
            simd::visit(set, CheckNan);
        }
    }
}
