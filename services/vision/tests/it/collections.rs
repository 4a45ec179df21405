//! Collections of valid, damaged and hostile files. Each file is decoded or fails with a code.

use std::collections::BTreeMap;

use lookalike_vision::{
    BUNDLED_MODEL, CODES, Limits, Model, decode_image, encode_thumbnail, preprocess_image,
};

use crate::{
    memory::{measure_peak, run_alone},
    shared,
};

/// Decodes every file of a folder and checks its memory. Returns a code or "fine" by file name.
fn decode_outcomes(folder: &str) -> Option<BTreeMap<String, &'static str>> {
    let folder = shared::shared_folder(folder)?;
    let description = Model::load_description(BUNDLED_MODEL).unwrap();
    let limits = Limits::default();
    let mut outcomes = BTreeMap::new();
    let mut largest = (0, String::new());
    for (name, file) in shared::read_files(&folder) {
        if name == "MANIFEST.csv" {
            continue;
        }
        let start = std::time::Instant::now();
        let (result, peak) = measure_peak(|| {
            decode_image(&file, description.min_short_side(), &limits).map(
                |(picture, attributes)| {
                    assert_eq!(
                        picture.rgb.len(),
                        (picture.width * picture.height * 3) as usize
                    );
                    assert!(attributes.width > 0 && attributes.height > 0);
                    preprocess_image(&description, &picture).len()
                },
            )
        });
        let seconds = start.elapsed().as_secs_f64();
        let small = encode_thumbnail(&file, 200, &limits);
        let outcome = match &result {
            Ok(length) => {
                assert_eq!(*length, description.input_bytes(), "{name}");
                assert!(small.is_ok(), "{name}: no thumbnail: {small:?}");
                "fine"
            }
            Err(error) => {
                assert!(CODES.contains(&error.code()));
                assert_eq!(small.unwrap_err().code(), error.code(), "{name}");
                error.code()
            }
        };
        let bound = limits.max_decode_bytes as usize + file.len() * 2 + (64 << 20);
        assert!(peak <= bound, "{name}: {peak} bytes");
        if peak > largest.0 {
            largest = (peak, name.clone());
        }
        let message = result
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        eprintln!("{name}: {outcome} ({peak} bytes, {seconds:.3} s) {message}");
        outcomes.insert(name, outcome);
    }
    eprintln!("largest: {} bytes for {}", largest.0, largest.1);
    Some(outcomes)
}

#[test]
fn valid_files_of_many_formats() {
    let _alone = run_alone();
    let Some(outcomes) = decode_outcomes("data/formats") else {
        return;
    };
    let fine = outcomes
        .values()
        .filter(|outcome| **outcome == "fine")
        .count();
    eprintln!("{fine} of {} decode", outcomes.len());
    // Every file of a supported format must decode, unless its feature is rare.
    for (name, outcome) in &outcomes {
        let read = [
            "jpeg-",
            "png-",
            "gif-",
            "webp-",
            "qoi-",
            "ico-",
            "pnm-",
            "tga-",
            "hdr-",
            "tiff-",
            "heif-rainbow",
            "heif-sample",
            "jxl-",
        ];
        // The splines exceed the level of the format that files without a container have.
        let rare = ["arithmetic", "jpeg-12bit", "lzma", "jxl-splines"];
        let has_avif = cfg!(feature = "avif");
        if (read.iter().any(|start| name.starts_with(start))
            || has_avif && name.starts_with("avif-"))
            && !rare.iter().any(|part| name.contains(part))
        {
            assert_eq!(*outcome, "fine", "{name}");
        }
        let declined = ["jp2-", "psd-", "pcx-", "svg-", "exr-"];
        if declined.iter().any(|start| name.starts_with(start))
            || !has_avif && name.starts_with("avif-")
        {
            assert_eq!(*outcome, "unsupported_format", "{name}");
        }
        assert_ne!(*outcome, "decoder_panic", "{name}");
        assert_ne!(*outcome, "not_an_image", "{name}");
    }
}

#[test]
fn damaged_and_hostile_files() {
    let _alone = run_alone();
    let Some(outcomes) = decode_outcomes("data/malformed") else {
        return;
    };
    for (name, outcome) in &outcomes {
        let expected: &[&str] = match name.as_str() {
            // The first frame is complete.
            "truncated-half.gif" => &["fine"],
            name if name.starts_with("zero-length") => &["empty"],
            name if name.starts_with("truncated-") => &["truncated", "corrupt"],
            "text-named.jpg" | "html-named.png" | "spaces.gif" | "one-byte.jpg" => {
                &["not_an_image"]
            }
            "png-named.jpg"
            | "jpeg-named.png"
            | "webp-named.jpg"
            | "no-extension"
            | "upper.JPG"
            | "trailing-garbage.jpg" => &["fine"],
            // Both are within the limits: only the EXIF thumbnail of the JPEG claims that size.
            "bomb-12000x12000-rgb.png" | "bomb-65500x65500.jpg" => &["fine"],
            // A complete image of one color, which is reduced while it is decoded.
            "bomb-30000x30000-1bit.png" => &["fine"],
            name if name.starts_with("bomb") => &["too_many_pixels", "too_much_memory", "corrupt"],
            _ => &[],
        };
        assert!(
            expected.is_empty() || expected.contains(outcome),
            "{name}: {outcome}"
        );
        assert_ne!(*outcome, "decoder_panic", "{name}");
    }
}
