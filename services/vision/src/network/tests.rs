//! Parity with PyTorch, on values that `reference/make_reference.py` makes.

use serde::Deserialize;

use super::*;
use crate::{description::Description, weights::Weights};

#[derive(Deserialize)]
struct Reference {
    vectors: Vec<Vec<f32>>,
}

/// The script's `random_bits`: SplitMix64 of (FNV-1a of the name) + 0, 1, 2, …
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

/// The script's `pictures`: noise, and slanted bands.
fn pictures(side: usize) -> Vec<u8> {
    let noise = random_bits("pixels", side * side * 3).map(|bits| bits as u8);
    let bands = (0..side * side * 3).map(|i| {
        let (y, x, c) = (i / 3 / side, i / 3 % side, i % 3);
        (3 * x + 2 * y + 40 * c) as u8
    });
    noise.chain(bands).collect()
}

/// The script's `seeded`, for every tensor of ResNet-34.
fn seeded_resnet34() -> Weights {
    let mut weights = Weights::default();
    let mut add = |name: String, shape: &[usize]| {
        let scale = match shape {
            [_, inputs, kernel, _] => 2.0 * (6.0 / (inputs * kernel * kernel) as f64).sqrt(),
            _ => 0.5,
        } as f32;
        let numbers = random_bits(&name, shape.iter().product())
            .map(|bits| {
                let u = (bits >> 40) as f32 * f32::powi(2.0, -24);
                match shape {
                    [_, _, _, _] => (u - 0.5) * scale,
                    _ if name.ends_with("running_var") => u + 0.5,
                    _ if name.ends_with("weight") => u * 0.5 + 0.5,
                    _ => (u - 0.5) * scale,
                }
            })
            .collect();
        weights.insert(&name, shape, numbers);
    };
    let mut conv = |conv: String, norm: String, shape: [usize; 4]| {
        add(format!("{conv}.weight"), &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(format!("{norm}.{part}"), &shape[..1]);
        }
    };
    conv("conv1".to_owned(), "bn1".to_owned(), [64, 3, 7, 7]);
    let mut channels = 64;
    for (layer, (outputs, depth)) in [(64, 3), (128, 4), (256, 6), (512, 3)]
        .into_iter()
        .enumerate()
    {
        for i in 0..depth {
            let block = format!("layer{}.{i}", layer + 1);
            let name = |part: &str| format!("{block}.{part}");
            conv(name("conv1"), name("bn1"), [outputs, channels, 3, 3]);
            conv(name("conv2"), name("bn2"), [outputs, outputs, 3, 3]);
            if channels != outputs {
                let shape = [outputs, channels, 1, 1];
                conv(name("downsample.0"), name("downsample.1"), shape);
            }
            channels = outputs;
        }
    }
    weights
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn check(model: &Model, reference: &str) {
    let network = Network::load(model, &Device::flex()).unwrap();
    let reference: Reference = serde_json::from_str(reference).unwrap();
    let pixels = pictures(network.side);
    let both = network.forward(&pixels, 2);
    for (i, (vector, expected)) in both
        .chunks_exact(network.dimension)
        .zip(&reference.vectors)
        .enumerate()
    {
        assert_eq!(vector.len(), expected.len());
        let similarity = cosine(vector, expected);
        assert!(similarity >= 0.999_99, "picture {i}: {similarity}");
        // Random weights give all pictures much the same vector, so every number counts.
        let worst = vector
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 2e-5, "picture {i}: off by {worst}");
        let alone = network.forward(&pixels[i * pixels.len() / 2..][..pixels.len() / 2], 1);
        let similarity = cosine(vector, &alone);
        assert!(
            similarity >= 0.999_999,
            "batched and alone, picture {i}: {similarity}"
        );
    }
    let [noise, bands] = reference.vectors.as_slice() else {
        panic!("the reference holds two vectors");
    };
    assert!(cosine(noise, bands) < 0.999, "the pictures differ");
}

#[test]
fn mini_equals_pytorch() {
    let model = Model::load("lookalike-mini").unwrap();
    check(&model, include_str!("../../reference/lookalike-mini.json"));
}

#[test]
fn resnet34_equals_pytorch() {
    let model = Model {
        description: Description::bundled("resnet34").unwrap(),
        weights: seeded_resnet34(),
    };
    check(&model, include_str!("../../reference/resnet34.json"));
}

#[test]
fn missing_and_misshapen_weights_are_named() {
    let error = |change: &dyn Fn(&mut Weights)| {
        let mut model = Model::load("lookalike-mini").unwrap();
        change(&mut model.weights);
        Network::load(&model, &Device::flex())
            .unwrap_err()
            .to_string()
    };
    let misshapen = error(&|weights| weights.insert("head.bias", &[3], vec![0.0; 3]));
    assert!(
        misshapen.contains("head.bias has the shape [3], not [384]"),
        "{misshapen}"
    );
    let missing = error(&|weights| *weights = Weights::default());
    assert!(missing.contains("stem.weight is missing"), "{missing}");
    let infinite = error(&|weights| weights.insert("stem_bn.bias", &[32], vec![f32::NAN; 32]));
    assert!(infinite.contains("not finite"), "{infinite}");
}
