//! Parity with PyTorch, timm and transformers, against values of `reference/make_reference.py`.

mod seeded;

use burn::tensor::Device;
use lookalike_kernels::InstructionSet;
use serde::Deserialize;

use self::seeded::{sample_pixels, seeded_tensor};
use super::*;
use crate::{
    decode_image,
    model::description::{Architecture, CompoundScaling, Description},
    model::golden::{
        MIN_GOLDEN_COSINE, check_golden_vector, cosine_similarity, draw_golden_picture,
    },
    model::weights::Weights,
    preprocess_image,
};

#[derive(Deserialize)]
struct Reference {
    /// Vectors of noise, of slanted bands, and of the photo if there is one.
    vectors: Vec<Vec<f32>>,
    /// Means of 14 × 14 blocks of the preprocessed photo.
    #[serde(default)]
    blocks: Vec<f32>,
    /// Shape of the position embeddings in the weights, if it differs from the network's.
    #[serde(default)]
    pos_embed: Vec<usize>,
    #[serde(default)]
    texts: Vec<ReferenceText>,
}

#[derive(Deserialize)]
struct ReferenceText {
    text: String,
    tokens: Vec<u32>,
    vector: Vec<f32>,
}

/// The script reads the same photo.
const PHOTO: &[u8] = include_bytes!("../../../../images/objects/cat-4.jpg");

/// Creates a registered model with the script's weights.
fn seeded_model(name: &str, reference: &Reference) -> Model {
    let mut weights = Weights::by_formula(seeded_tensor);
    let description = Description::find_bundled(name).unwrap();
    if let Some(tower) = &description.vision {
        let tokens = (description.side() as usize / tower.patch).pow(2) + 1;
        let as_network = vec![1, tokens, tower.shape.width];
        let shape = match reference.pos_embed.as_slice() {
            [] => &as_network,
            other => other,
        };
        weights.insert_tensor("pos_embed", shape, seeded_tensor("pos_embed", shape));
    }
    Model {
        description,
        weights: weights.into(),
        tokenizer: None,
        golden: None,
    }
}

/// An executor and how near its vectors come to those of the references.
#[derive(Debug)]
struct TestedExecutor {
    executor: Executor,
    min_cosine: f64,
    /// Largest difference of a number of a vector.
    max_difference: f32,
}

impl TestedExecutor {
    /// Least cosine between the vectors of an image alone and in a batch, of which both differ from
    /// the reference.
    fn min_batch_cosine(&self) -> f64 {
        1.0 - (1.0 - self.min_cosine) / 10.0
    }
}

/// burn on the CPU in single precision, with which all other executors are compared.
fn reference_executor() -> Executor {
    Executor::Burn {
        device: Device::flex(),
        precision: Precision::F32,
    }
}

/// Returns the executors of this CPU.
fn tested_executors() -> Vec<TestedExecutor> {
    let kernels = InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_supported());
    std::iter::once(reference_executor())
        .chain(kernels.map(Executor::Kernels))
        .map(|executor| {
            if matches!(executor, Executor::Kernels(InstructionSet::Avx512Bf16)) {
                return TestedExecutor {
                    executor,
                    min_cosine: 0.999_9,
                    max_difference: 1e-2,
                };
            }
            if matches!(
                executor,
                Executor::Kernels(InstructionSet::Avx512Vnni | InstructionSet::Avx2)
            ) {
                return TestedExecutor {
                    executor,
                    min_cosine: 0.999_99,
                    max_difference: 1e-3,
                };
            }
            TestedExecutor {
                executor,
                min_cosine: 0.999_99,
                max_difference: 2e-5,
            }
        })
        .collect()
}

fn subtract_vectors(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Vectors of the executors of this CPU may be mixed in an index; vectors of a network that differs a
/// little may not.
#[test]
fn the_golden_picture_tells_executors_from_wrong_networks() {
    let model = Model::load("lookalike-mini").unwrap();
    let expected = model.golden.as_deref().unwrap();
    let picture = draw_golden_picture(model.description.side());
    let embed = |model: &Model, executor: &Executor| {
        Network::from_model(model, executor)
            .unwrap()
            .forward(&picture, 1)
    };
    for TestedExecutor { executor, .. } in tested_executors() {
        let vector = embed(&model, &executor);
        let similarity = cosine_similarity(expected, &vector);
        assert!(similarity >= 0.999_9, "{executor:?}: {similarity}");
        check_golden_vector(expected, &vector).unwrap();
    }
    let best = Executor::Kernels(InstructionSet::detect());
    type Change = fn(&mut Model);
    let wrong: [(&str, Change); 3] = [
        ("another mean of the pixels", |model| {
            model.description.preprocessing.mean = [0.5; 3]
        }),
        ("a missing shortcut", |model| {
            let zeros = vec![0.0; 384 * 256];
            model
                .weights_mut()
                .insert_tensor("blocks.5.proj.weight", &[384, 256, 1, 1], zeros);
        }),
        ("a missing bias", |model| {
            model
                .weights_mut()
                .insert_tensor("head.bias", &[384], vec![0.0; 384]);
        }),
    ];
    for (name, change) in wrong {
        let mut model = Model::load("lookalike-mini").unwrap();
        change(&mut model);
        let cosine = check_golden_vector(expected, &embed(&model, &best)).unwrap_err();
        assert!(cosine < MIN_GOLDEN_COSINE, "{name}: {cosine}");
    }
}

/// Compares the network on every executor with the reference. For the same pixels the vectors are
/// equal; for the photo's file they are nearly equal. An image has the same vector alone as in a batch.
fn check_network(model: &Model, reference: &Reference) {
    for tested in tested_executors() {
        check_network_on(&tested, model, reference);
    }
}

/// The code for half precision on GPUs runs on the CPU, too.
#[test]
fn burn_computes_in_half_precision() {
    let reference = include_str!("../../reference/lookalike-mini.json");
    let reference: Reference = serde_json::from_str(reference).unwrap();
    let mini = Model::load("lookalike-mini").unwrap();
    let (clip, clip_reference) = tiny_clip();
    let (siglip, siglip_reference) = tiny_siglip();
    for precision in [Precision::F16, Precision::Bf16] {
        let tested = TestedExecutor {
            executor: Executor::Burn {
                device: Device::flex(),
                precision,
            },
            min_cosine: 0.999,
            max_difference: 2e-2,
        };
        check_network_on(&tested, &mini, &reference);
        check_network_on(&tested, &clip, &clip_reference);
        check_texts_on(&tested, &clip, &clip_reference);
        check_network_on(&tested, &siglip, &siglip_reference);
        check_texts_on(&tested, &siglip, &siglip_reference);
    }
}

fn check_network_on(tested: &TestedExecutor, model: &Model, reference: &Reference) {
    let executor = &tested.executor;
    let network = Network::from_model(model, executor).unwrap();
    let pixels = sample_pixels(model.description.side() as usize);
    let both = network.forward(&pixels, 2);
    for (i, (vector, expected)) in both
        .chunks_exact(network.dimension)
        .zip(&reference.vectors)
        .enumerate()
    {
        assert_eq!(vector.len(), expected.len());
        let similarity = cosine_similarity(vector, expected);
        // With random weights all images have similar vectors, so every number is compared.
        let worst = subtract_vectors(vector, expected)
            .into_iter()
            .fold(0.0, |worst, off| f32::max(worst, off.abs()));
        assert!(
            similarity >= tested.min_cosine && worst <= tested.max_difference,
            "{executor:?}, image {i}: {similarity}, off by {worst}"
        );
        let alone = network.forward(&pixels[i * pixels.len() / 2..][..pixels.len() / 2], 1);
        let similarity = cosine_similarity(vector, &alone);
        assert!(
            similarity >= tested.min_batch_cosine(),
            "{executor:?}: batched and alone, image {i}: {similarity}"
        );
    }
    let [noise, bands, photo @ ..] = reference.vectors.as_slice() else {
        panic!("the reference contains two vectors");
    };
    assert!(cosine_similarity(noise, bands) < 0.999, "the images differ");
    if let [expected] = photo {
        let vector = photo_vector(model, &network, &reference.blocks);
        let similarity = cosine_similarity(&vector, expected);
        assert!(similarity >= 0.995, "{executor:?}, the photo: {similarity}");
        // The vectors are also similar without the part that all images have in common.
        let similarity = cosine_similarity(
            &subtract_vectors(&vector, noise),
            &subtract_vectors(expected, noise),
        );
        assert!(
            similarity >= 0.99,
            "{executor:?}, the photo, minus noise: {similarity}"
        );
    }
}

/// Embeds the photo from its file and compares its preprocessed pixels with the reference.
fn photo_vector(model: &Model, network: &Network, blocks: &[f32]) -> Vec<f32> {
    let description = &model.description;
    let (image, _) = decode_image(
        PHOTO,
        description.min_short_side(),
        &crate::Limits::default(),
    )
    .unwrap();
    let input = preprocess_image(description, &image);
    let side = description.side() as usize;
    let block = side / 14;
    for (i, expected) in blocks.iter().enumerate() {
        let (y, x, channel) = (i / 3 / 14 * block, i / 3 % 14 * block, i % 3);
        let sum: u32 = (y..y + block)
            .flat_map(|y| (x..x + block).map(move |x| (y * side + x) * 3 + channel))
            .map(|at| u32::from(input[at]))
            .sum();
        let mean = sum as f32 / (block * block) as f32;
        assert!(
            (mean - expected).abs() < 3.0,
            "block {i} of the photo is {mean}, not {expected}"
        );
    }
    network.forward(&input, 1)
}

fn check_seeded(name: &str, reference: &str) {
    let reference: Reference = serde_json::from_str(reference).unwrap();
    assert_eq!(reference.vectors.len(), 3, "two drawn images and a photo");
    check_network(&seeded_model(name, &reference), &reference);
}

#[test]
fn mini_equals_pytorch() {
    let model = Model::load("lookalike-mini").unwrap();
    let reference = include_str!("../../reference/lookalike-mini.json");
    check_network(&model, &serde_json::from_str(reference).unwrap());
}

#[test]
fn resnet34_equals_timm() {
    check_seeded("resnet34", include_str!("../../reference/resnet34.json"));
}

#[test]
fn resnet50_equals_timm() {
    check_seeded("resnet50", include_str!("../../reference/resnet50.json"));
}

#[test]
fn mobilenetv2_equals_timm() {
    let reference = include_str!("../../reference/mobilenetv2.json");
    check_seeded("mobilenetv2", reference);
}

/// Creates an EfficientNet-Lite with the script's weights.
fn efficientnet_lite(
    side: u32,
    dimension: usize,
    scaling: Option<CompoundScaling>,
    reference: &Reference,
) -> Model {
    let mut model = seeded_model("mobilenetv2", reference);
    let description = &mut model.description;
    description.architecture = Some(Architecture::EfficientNetLite);
    description.scaling = scaling;
    description.dimension = dimension;
    description.input = [3, side, side];
    let preprocessing = &mut description.preprocessing;
    preprocessing.crop = [side; 2];
    preprocessing.resize_short_side = side + 32;
    preprocessing.mean = [127.0 / 255.0; 3];
    preprocessing.std = [128.0 / 255.0; 3];
    model
}

#[test]
fn efficientnet_lite0_equals_its_package() {
    let reference = include_str!("../../reference/efficientnet-lite0.json");
    let reference = serde_json::from_str(reference).unwrap();
    check_network(&efficientnet_lite(224, 1280, None, &reference), &reference);
}

#[test]
fn efficientnet_lite2_with_a_projection_equals_its_package() {
    let reference = include_str!("../../reference/efficientnet-lite2.json");
    let reference = serde_json::from_str(reference).unwrap();
    let scaling = Some(CompoundScaling {
        width: 1.1,
        depth: 1.2,
    });
    check_network(
        &efficientnet_lite(260, 384, scaling, &reference),
        &reference,
    );
}

/// The weights of the pooling are relative, and only those of the points matter.
#[test]
fn efficientnet_lite_can_weight_the_points_of_its_last_map() {
    let reference = include_str!("../../reference/efficientnet-lite0.json");
    let reference = serde_json::from_str(reference).unwrap();
    let mut model = efficientnet_lite(224, 1280, None, &reference);
    let mut insert_pooling = |weight: Vec<f32>| {
        model
            .weights_mut()
            .insert_tensor("pooling.weight", &[7, 7], weight);
        Network::from_model(&model, &reference_executor())
            .unwrap()
            .forward(&sample_pixels(224), 2)
    };
    let equal = insert_pooling(vec![3.0; 49]);
    for (vector, expected) in equal.chunks_exact(1280).zip(&reference.vectors) {
        assert!(cosine_similarity(vector, expected) >= 0.999_99);
    }
    let centred = insert_pooling((0..49).map(|i| if i == 24 { 1.0 } else { 0.0 }).collect());
    for (vector, expected) in centred.chunks_exact(1280).zip(&reference.vectors) {
        assert!(cosine_similarity(vector, expected) < 0.999);
    }
}

#[test]
fn vit_equals_timm() {
    check_seeded("vit-s16", include_str!("../../reference/vit-s16.json"));
}

#[test]
fn dinov2_equals_timm_at_224_pixels() {
    let reference = include_str!("../../reference/dinov2-s14.json");
    check_seeded("dinov2-s14", reference);
}

#[test]
fn dinov2_with_registers_equals_timm_at_224_pixels() {
    let reference = include_str!("../../reference/dinov2-s14-reg.json");
    check_seeded("dinov2-s14-reg", reference);
}

/// Loads a model of random weights with a text encoder: `tiny-clip` as transformers saves it,
/// `tiny-siglip` with our description.
fn load_tiny_model(name: &str, reference: &str) -> (Model, Reference) {
    let folder = format!("{}/reference/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut reference: Reference = serde_json::from_str(reference).unwrap();
    // 64 pixels cannot be divided into 14 blocks.
    reference.blocks.clear();
    (Model::load(&folder).unwrap(), reference)
}

fn tiny_clip() -> (Model, Reference) {
    load_tiny_model("tiny-clip", include_str!("../../reference/tiny-clip.json"))
}

fn tiny_siglip() -> (Model, Reference) {
    load_tiny_model(
        "tiny-siglip",
        include_str!("../../reference/tiny-siglip.json"),
    )
}

#[test]
fn clip_equals_transformers() {
    let (model, reference) = tiny_clip();
    check_network(&model, &reference);
}

#[test]
fn siglip_equals_transformers() {
    let (model, reference) = tiny_siglip();
    check_network(&model, &reference);
}

#[test]
fn clip_reads_texts_as_transformers() {
    let (model, reference) = tiny_clip();
    check_texts(&model, &reference);
}

#[test]
fn siglip_reads_texts_as_transformers() {
    let (model, reference) = tiny_siglip();
    check_texts(&model, &reference);
}

fn check_texts(model: &Model, reference: &Reference) {
    for tested in tested_executors() {
        check_texts_on(&tested, model, reference);
    }
}

fn check_texts_on(tested: &TestedExecutor, model: &Model, reference: &Reference) {
    let executor = &tested.executor;
    let network = Network::from_model(model, executor).unwrap();
    let texts: Vec<String> = reference
        .texts
        .iter()
        .map(|reference| reference.text.clone())
        .collect();
    assert!(texts.len() > 5);
    let together = network.forward_texts(&texts).unwrap();
    for (expected, vector) in reference
        .texts
        .iter()
        .zip(together.chunks_exact(network.dimension))
    {
        let text = &expected.text;
        let input = &network.text_encoder.as_ref().unwrap().input;
        assert_eq!(input.tokenize(text).unwrap(), expected.tokens, "{text:?}");
        let similarity = cosine_similarity(vector, &expected.vector);
        assert!(
            similarity >= tested.min_cosine,
            "{executor:?}, {text:?}: {similarity}"
        );
        let alone = network.forward_texts(std::slice::from_ref(text)).unwrap();
        let similarity = cosine_similarity(vector, &alone);
        assert!(
            similarity >= tested.min_batch_cosine(),
            "{executor:?}, {text:?} alone: {similarity}"
        );
    }
    // Of a long text the beginning is read, cut between two characters.
    let long = network
        .forward_texts(&["x".to_owned() + &"ü".repeat(1 << 20)])
        .unwrap();
    assert!(long.iter().all(|value| value.is_finite()));
    assert!(network.forward_texts(&[]).unwrap().is_empty());
}

/// Creates a model whose weights are all 0, with the names and shapes of a reference.
fn zero_model(name: &str, shapes: &str, change: impl Fn(&str, &mut Vec<usize>)) -> Model {
    let shapes: std::collections::BTreeMap<String, Vec<usize>> =
        serde_json::from_str(shapes).unwrap();
    let mut weights = Weights::default();
    for (name, mut shape) in shapes {
        change(&name, &mut shape);
        weights.insert_tensor(&name, &shape, vec![0.0; shape.iter().product()]);
    }
    Model {
        description: Description::find_bundled(name).unwrap(),
        weights: weights.into(),
        tokenizer: None,
        golden: None,
    }
}

#[test]
fn clip_b32_has_the_shapes_of_transformers() {
    let reference = include_str!("../../reference/clip-b32-shapes.json");
    let mut model = zero_model("clip-b32", reference, |_, _| ());
    let load = |model: &Model| Network::from_model(model, &reference_executor()).map(|_| ());
    let error = load(&model).unwrap_err().to_string();
    assert!(error.contains("no tokenizer.json"), "{error}");
    let (other, _) = tiny_clip();
    model.tokenizer = other.tokenizer;
    let error = load(&model).unwrap_err().to_string();
    assert!(error.contains("no token 49407 ends a text"), "{error}");
    let tower = model.description.text.take().unwrap();
    load(&model).unwrap();
    let graph = architectures::text::build_text_graph(&tower, &model.weights, 512).unwrap();
    assert_eq!(graph.output_width(), 512);
}

#[test]
fn siglip2_b16_has_the_shapes_of_transformers() {
    let reference = include_str!("../../reference/siglip2-b16-shapes.json");
    let (other, _) = tiny_siglip();
    let vocabulary = other.description.text.as_ref().unwrap().vocabulary;
    // The full vocabulary (256,000 tokens) would take most of the test's time.
    let mut model = zero_model("siglip2-b16", reference, |name, shape| {
        if name == "text_model.embeddings.token_embedding.weight" {
            assert_eq!(shape[0], 256_000);
            shape[0] = vocabulary;
        }
    });
    model.description.text.as_mut().unwrap().vocabulary = vocabulary;
    model.tokenizer = other.tokenizer;
    Network::from_model(&model, &reference_executor()).unwrap();
}

#[test]
fn a_folder_of_transformers_says_what_its_network_is() {
    let (model, _) = tiny_clip();
    let description = &model.description;
    assert!(description.has_text());
    assert_eq!((description.dimension, description.side()), (24, 64));
    let config = include_str!("../../reference/tiny-clip/config.json");
    let error = Description::from_json(config, "config.json").unwrap_err();
    let error = error.to_string();
    assert!(error.contains("preprocessor_config.json"), "{error}");
}

#[test]
fn missing_and_misshapen_weights_are_named() {
    let error = |name: &str, change: &dyn Fn(&mut Weights)| {
        let mut model = Model::load(name).unwrap();
        change(model.weights_mut());
        Network::from_model(&model, &reference_executor())
            .unwrap_err()
            .to_string()
    };
    let mini = "lookalike-mini";
    let misshapen = error(mini, &|weights| {
        weights.insert_tensor("head.bias", &[3], vec![0.0; 3]);
    });
    assert!(
        misshapen.contains("head.bias has the shape [3], not [384]"),
        "{misshapen}"
    );
    let missing = error(mini, &|weights| *weights = Weights::default());
    assert!(missing.contains("stem.weight is missing"), "{missing}");
    let infinite = error(mini, &|weights| {
        weights.insert_tensor("stem_bn.bias", &[32], vec![f32::NAN; 32]);
    });
    assert!(infinite.contains("not finite"), "{infinite}");

    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/reference/tiny-clip");
    let places = "vision_model.embeddings.position_embedding.weight";
    let no_square = error(clip, &|weights| {
        weights.insert_tensor(places, &[12, 32], vec![0.0; 12 * 32]);
    });
    assert!(no_square.contains("not a square"), "{no_square}");
    let infinite = error(clip, &|weights| {
        let name = "text_model.encoder.layers.1.mlp.fc1.weight";
        weights.insert_tensor(name, &[96, 32], vec![f32::INFINITY; 96 * 32]);
    });
    assert!(infinite.contains("fc1 contains numbers"), "{infinite}");
}
