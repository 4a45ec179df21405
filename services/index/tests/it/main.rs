//! The index against a real Milvus.
//!
//! All tests share one Milvus; each has its own namespace. To test another server, for example
//! another version, set `LOOKALIKE_TEST_MILVUS` to its address. The test that kills Milvus is then
//! skipped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod content_keys;
mod duplicates;
mod faults;
mod filters;
mod golden;
mod hostile;
mod lifecycle;
mod pages;
mod rollover;
mod rows;
mod server;

use std::{collections::BTreeSet, time::Duration};

use lookalike_index::{
    ContentAttributes, Error, Index, IndexRow, IndexedImage, ModelIdentity, RowFilter, Settings,
};

/// Returns a model with vectors of eight numbers.
fn test_model(name: &str) -> ModelIdentity {
    ModelIdentity {
        name: name.into(),
        dimension: 8,
        checksum: "c0ffee".into(),
        preprocessing: "centre crop 224".into(),
    }
}

fn test_settings(url: &str, namespace: &str) -> Settings {
    Settings {
        url: url.into(),
        namespace: namespace.into(),
        connect_timeout: Duration::from_secs(60),
        // A busy machine is no fault of the index.
        call_timeout: Duration::from_secs(60),
        search_timeout: Duration::from_secs(60),
        ..Settings::default()
    }
}

/// Opens an empty index in a namespace of its own.
async fn open_index(test: &str) -> Index {
    let settings = test_settings(server::shared_url(), &server::unique_namespace(test));
    Index::open(&settings, &test_model("mini")).await.unwrap()
}

/// Counts the distinct ids that pass the filter, with strong consistency.
async fn count_images(index: &Index, filter: &RowFilter) -> Result<u64, Error> {
    let mut reader = index.row_reader(filter, 16_000)?;
    let mut ids = BTreeSet::new();
    loop {
        let page = reader.next_page().await?;
        if page.is_empty() {
            return Ok(ids.len() as u64);
        }
        ids.extend(page.into_iter().map(|key| key.id));
    }
}

/// Returns a unit vector that depends on the seed only.
fn unit_vector(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let numbers: Vec<f32> = (0..8)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect();
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.iter().map(|x| x / length).collect()
}

fn image_id(n: u64) -> String {
    format!("{n:032x}")
}

/// Returns row `n` of library `shop`, with its own content, at generation 1.
fn test_row(n: u64) -> IndexRow {
    IndexRow {
        image: IndexedImage {
            id: image_id(n),
            library: "shop".into(),
            path: format!("folder/{n}.jpg"),
            content_hash: format!("{n:064x}"),
            generation: 1,
            width: 800,
            height: 600,
            bytes: 12_345,
            format: "jpeg".into(),
            taken_at: Some(1_700_000_000_000 + n as i64),
            modified_at: 1_700_000_000_001,
            indexed_at: 1_700_000_000_002,
            camera: "Maker Model".into(),
            tags: vec!["beach".into(), "two words".into()],
            colors: vec!["blue".into()],
            // Rows of earlier versions have none.
            sketch: if n.is_multiple_of(3) {
                String::new()
            } else {
                format!("AQ{n}-_")
            },
            content: n.is_multiple_of(4).then(|| ContentAttributes {
                taken_at: Some(n as i64),
                camera: "quote\"".into(),
                tags: vec![format!("tag {n}")],
            }),
        },
        vector: unit_vector(n),
    }
}
