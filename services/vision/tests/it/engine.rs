//! Vectors of the bundled model, through the engine.

use lookalike_vision::{
    BUNDLED_MODEL, Description, Engine, GoldenFile, Limits, Model, Settings, decode_image,
    preprocess_image,
};

use crate::{
    drawn::{draw_quarters, encode_test_jpeg, jpeg_with_exif},
    memory::{run_alone, run_alone_async},
    shared,
};

fn start_engine(settings: &Settings) -> Engine {
    Engine::start(&Model::load(BUNDLED_MODEL).unwrap(), settings).unwrap()
}

pub fn prepare_input(description: &Description, file: &[u8]) -> lookalike_vision::Input {
    let (picture, _) =
        decode_image(file, description.min_short_side(), &Limits::default()).unwrap();
    preprocess_image(description, &picture)
}

pub fn cosine_similarity(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn batched_is_alone_and_queries_are_the_same() {
    let _alone = run_alone_async().await;
    let engine = start_engine(&Settings {
        batch_images: 3,
        ..Settings::default()
    });
    let description = engine.description().clone();
    let inputs: Vec<_> = (0..7)
        .map(|i| {
            prepare_input(
                &description,
                &encode_test_jpeg(&draw_quarters(150 + 40 * i, 300 - 20 * i)),
            )
        })
        .collect();
    let together = engine.embed_images(inputs.clone()).await.unwrap();
    assert_eq!(together.len(), 7);
    for (input, expected) in inputs.into_iter().zip(&together) {
        assert_eq!(expected.len(), description.dimension);
        assert!((cosine_similarity(expected, expected) - 1.0).abs() < 1e-5);
        let alone = engine.embed_query(vec![input]).await.unwrap();
        assert!(cosine_similarity(&alone[0], expected) > 0.999_99);
    }
    let line = engine.describe_device();
    assert!(
        line.starts_with("lookalike-mini (384 numbers) on cpu: own kernels, "),
        "{line}"
    );
}

#[tokio::test]
async fn turned_photos_have_one_vector() {
    let _alone = run_alone_async().await;
    let engine = start_engine(&Settings::default());
    let upright = image::DynamicImage::ImageRgb8(draw_quarters(400, 300));
    let turned = jpeg_with_exif(&upright.rotate270().into_rgb8(), 6);
    let plain = encode_test_jpeg(&draw_quarters(400, 300));
    let inputs = [plain, turned].map(|file| prepare_input(engine.description(), &file));
    let vectors = engine.embed_images(inputs.to_vec()).await.unwrap();
    assert!(cosine_similarity(&vectors[0], &vectors[1]) > 0.999);
}

#[test]
fn devices_that_are_not_there_are_errors() {
    let _alone = run_alone();
    let settings = Settings {
        device: "cuda:1".to_owned(),
        ..Settings::default()
    };
    let error = Engine::start(&Model::load(BUNDLED_MODEL).unwrap(), &settings).unwrap_err();
    assert!(error.to_string().contains("no cuda support"), "{error}");
}

/// A model with an image and a text encoder and random weights, in a folder as transformers saves it.
const TINY_CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reference/tiny-clip");

#[tokio::test]
async fn texts_and_images_have_one_space() {
    let _alone = run_alone_async().await;
    let model = Model::load(TINY_CLIP).unwrap();
    let settings = Settings {
        batch_images: 2,
        ..Settings::default()
    };
    let engine = Engine::start(&model, &settings).unwrap();
    assert!(engine.description().has_text());
    let texts = ["a photo of a cat", "", "two dogs", "A photo of  a CAT"];
    let texts: Vec<String> = texts.map(str::to_owned).to_vec();
    let together = engine.embed_text(texts.clone()).await.unwrap();
    for (text, expected) in texts.iter().zip(&together) {
        assert_eq!(expected.len(), engine.description().dimension);
        assert!((cosine_similarity(expected, expected) - 1.0).abs() < 1e-5);
        let alone = engine.embed_text(vec![text.clone()]).await.unwrap();
        assert!(
            cosine_similarity(&alone[0], expected) > 0.999_99,
            "{text:?}"
        );
    }
    assert!(cosine_similarity(&together[0], &together[3]) > 0.999_99);
    assert!(cosine_similarity(&together[0], &together[2]) < 0.999);
    let picture = prepare_input(
        engine.description(),
        &encode_test_jpeg(&draw_quarters(150, 100)),
    );
    let picture = engine.embed_query(vec![picture]).await.unwrap();
    assert_eq!(picture[0].len(), together[0].len());
}

#[tokio::test]
async fn an_image_only_model_rejects_texts() {
    let _alone = run_alone_async().await;
    let engine = start_engine(&Settings::default());
    assert!(!engine.description().has_text());
    let error = engine.embed_text(vec!["a cat".to_owned()]).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("lookalike-mini cannot embed text"),
        "{error}"
    );
}

#[tokio::test]
async fn the_eight_orientations_are_nearest_to_each_other() {
    let _alone = run_alone_async().await;
    let (Some(turned), Some(others)) = (
        shared::shared_folder("data/photos/orientation"),
        shared::shared_folder("data/photos/kodak"),
    ) else {
        return;
    };
    let engine = start_engine(&Settings::default());
    let inputs = |folder| -> Vec<_> {
        shared::read_files(folder)
            .iter()
            .map(|(_, file)| prepare_input(engine.description(), file))
            .collect()
    };
    let turned = engine.embed_images(inputs(&turned)).await.unwrap();
    let others = engine.embed_images(inputs(&others)).await.unwrap();
    assert_eq!(turned.len(), 8);
    // They were compressed separately, so they are near-duplicates and not equal.
    for a in &turned {
        for b in &turned {
            assert!(
                cosine_similarity(a, b) >= 0.95,
                "{}",
                cosine_similarity(a, b)
            );
        }
        for other in &others {
            assert!(
                cosine_similarity(a, other) < 0.9,
                "{}",
                cosine_similarity(a, other)
            );
        }
    }
}

#[tokio::test]
async fn reduced_decoding_keeps_the_vector() {
    let _alone = run_alone_async().await;
    let Some(large) = shared::shared_folder("data/photos/large") else {
        return;
    };
    let engine = start_engine(&Settings::default());
    let description = engine.description();
    for (name, file) in shared::read_files(&large) {
        let inputs = [description.min_short_side(), u32::MAX].map(|wanted| {
            let (picture, _) = decode_image(&file, wanted, &Limits::default()).unwrap();
            preprocess_image(description, &picture)
        });
        let vectors = engine.embed_images(inputs.to_vec()).await.unwrap();
        let similarity = cosine_similarity(&vectors[0], &vectors[1]);
        eprintln!("{name}: reduced against full, cosine {similarity:.5}");
        assert!(similarity >= 0.995, "{name}: {similarity}");
    }
}

/// A device that computes different vectors is detected before it embeds anything.
#[tokio::test]
async fn another_golden_vector_is_rejected() {
    let _alone = run_alone_async().await;
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let from = models.join(BUNDLED_MODEL).join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    };
    copy("lookalike-mini.json");
    copy("lookalike-mini.safetensors");
    copy("golden.json");
    let load = || Model::load(folder.path().to_str().unwrap()).unwrap();
    let good = Engine::start(&load(), &Settings::default()).unwrap();
    assert!((cosine_similarity(good.golden(), good.golden()) - 1.0).abs() < 1e-5);

    let moved: Vec<f32> = good.golden().iter().rev().copied().collect();
    let golden = GoldenFile::new(&load().description().checksum, &moved);
    let file = folder.path().join("golden.json");
    std::fs::write(&file, serde_json::to_string(&golden).unwrap()).unwrap();
    let error = Engine::start(&load(), &Settings::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("golden picture") && text.contains("own kernels"),
        "{text}"
    );
    let mut model = load();
    model.forget_golden();
    Engine::start(&model, &Settings::default()).unwrap();
}
