//! The golden vector: stored by the first embedder, compared by the others.

use lookalike_index::{Error, ErrorClass, Index, ModelIdentity};

use crate::{server, test_model, test_settings, unit_vector};

const LEAST: f64 = 0.999;

#[tokio::test]
async fn a_device_that_changes_vectors_is_refused() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("golden"));
    let index = Index::open(&settings, &test_model("mini")).await.unwrap();
    assert_eq!(index.golden_vector().await.unwrap(), None);
    let golden = unit_vector(1);
    index
        .verify_or_store_golden(&golden, LEAST, "cpu")
        .await
        .unwrap();
    index
        .verify_or_store_golden(&golden, LEAST, "cpu")
        .await
        .unwrap();

    // A later start finds the stored vector.
    let later = Index::open(&settings, &test_model("mini")).await.unwrap();
    let kept = later.golden_vector().await.unwrap().unwrap();
    assert!(kept.iter().zip(&golden).all(|(a, b)| (a - b).abs() < 1e-4));
    // A difference such as half-precision rounding.
    let near: Vec<f32> = golden.iter().map(|x| x + 0.001).collect();
    later
        .verify_or_store_golden(&near, LEAST, "cuda: X")
        .await
        .unwrap();
    for wrong in [unit_vector(2), vec![f32::NAN; 8], vec![0.0; 8]] {
        let error = later
            .verify_or_store_golden(&wrong, LEAST, "vulkan: Y")
            .await
            .unwrap_err();
        assert!(matches!(error, Error::GoldenMismatch { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Fatal);
        let text = error.to_string();
        for part in ["vulkan: Y", "mini", "--device cpu"] {
            assert!(text.contains(part), "{text}");
        }
    }
    // A refused vector changed nothing.
    assert_eq!(later.golden_vector().await.unwrap().unwrap(), kept);
}

/// The longest vectors of known models have 2048 numbers, in 5.5 kB of text.
#[tokio::test]
async fn the_longest_vector_is_stored_completely() {
    let settings = test_settings(
        server::shared_url(),
        &server::unique_namespace("golden_long"),
    );
    let long = ModelIdentity {
        dimension: 2048,
        ..test_model("long")
    };
    let index = Index::open(&settings, &long).await.unwrap();
    let golden: Vec<f32> = (0..2048).map(|n| (n as f32).sin() / 32.0).collect();
    index
        .verify_or_store_golden(&golden, LEAST, "cpu")
        .await
        .unwrap();
    let again = Index::open(&settings, &long).await.unwrap();
    let kept = again.golden_vector().await.unwrap().unwrap();
    assert!(kept.iter().zip(&golden).all(|(a, b)| (a - b).abs() < 1e-4));
}
