//! The pictures in `images/` are what `generate --sample-set` makes.

use std::fs;

use lookalike_painter::sample_set::sample_pictures;

use crate::images_folder;

/// Painting all of them takes long in a debug build; one of every family is enough to notice a change.
#[test]
fn sample_pictures_are_made_again_byte_for_byte() {
    for (number, sample) in sample_pictures().into_iter().enumerate() {
        if number % 5 != (number / 5) % 5 {
            continue;
        }
        let path = images_folder().join(&sample.path);
        let committed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", sample.path));
        assert!(
            committed == sample.picture.encode_jpeg().unwrap(),
            "{} differs: if the painting was meant to change, run \
             `cargo run --release -p lookalike-loadtest -- generate --sample-set --out images`",
            sample.path
        );
    }
}

#[test]
fn nothing_else_lies_beside_the_sample_pictures() {
    let images = images_folder();
    let mut expected: Vec<String> = sample_pictures()
        .into_iter()
        .map(|sample| sample.path)
        .collect();
    let mut found = Vec::new();
    let mut bytes = 0;
    for group in fs::read_dir(&images).unwrap() {
        let group = group.unwrap();
        // The painter is a crate of its own, next to what it painted.
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
