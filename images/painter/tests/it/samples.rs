//! The committed pictures in `images/` are exactly those that `generate --sample-set` makes.

use std::fs;

use lookalike_painter::sample_set::sample_pictures;

use crate::images_folder;

/// Paints one picture of every family: all sixty take long in a debug build, and one notices a change.
#[test]
fn sample_pictures_are_reproduced_byte_for_byte() {
    for (number, sample) in sample_pictures().into_iter().enumerate() {
        if number % 5 != (number / 5) % 5 {
            continue;
        }
        let path = images_folder().join(&sample.path);
        let committed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", sample.path));
        assert!(
            committed == sample.picture.encode_jpeg().unwrap(),
            "{} differs: if the change is intended, run \
             `cargo run --release -p lookalike-loadtest -- generate --sample-set --out images`",
            sample.path
        );
    }
}

#[test]
fn the_folder_contains_only_the_sample_pictures() {
    let images = images_folder();
    let mut expected: Vec<String> = sample_pictures()
        .into_iter()
        .map(|sample| sample.path)
        .collect();
    let mut found = Vec::new();
    let mut bytes = 0;
    for group in fs::read_dir(&images).unwrap() {
        let group = group.unwrap();
        // The painter's own sources.
        if !group.file_type().unwrap().is_dir() || group.file_name() == "painter" {
            continue;
        }
        for file in fs::read_dir(group.path()).unwrap() {
            let file = file.unwrap();
            bytes += file.metadata().unwrap().len();
            found.push(format!(
                "{}/{}",
                group.file_name().to_string_lossy(),
                file.file_name().to_string_lossy()
            ));
        }
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(bytes < 6_000_000, "the sample pictures take {bytes} bytes");
}
