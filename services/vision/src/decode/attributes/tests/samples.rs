//! Small files with metadata as other programs wrote it; see `tests/files/metadata`.

use crate::decode::attributes::DecodedAttributes;
use crate::decode::{decode_image, limits::Limits};

/// 2021-06-05 04:03:02 UTC.
const TAKEN_AT: i64 = 1_622_865_782;

macro_rules! sample {
    ($name:literal) => {
        (
            $name,
            &include_bytes!(concat!("../../../../tests/files/metadata/", $name))[..],
        )
    };
}

fn decode_sample((name, bytes): (&str, &[u8])) -> DecodedAttributes {
    match decode_image(bytes, 32, &Limits::default()) {
        Ok((_, attributes)) => attributes,
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn turned_samples_are_upright() {
    for sample in [
        sample!("orientation_short.jpg"),
        sample!("orientation_long.jpg"),
        sample!("orientation_sshort.jpg"),
        sample!("orientation_short_count2.jpg"),
        sample!("webp_exif_plain.webp"),
        sample!("webp_exif_prefix.webp"),
        sample!("png_exif_prefix.png"),
    ] {
        let attributes = decode_sample(sample);
        let sides = (attributes.width, attributes.height);
        assert_eq!(sides, (64, 96), "{}", sample.0);
    }
}

#[test]
fn times_of_samples_are_read() {
    // Midnight of the date alone.
    let date = TAKEN_AT - 4 * 3600 - 3 * 60 - 2;
    for (sample, expected) in [
        (sample!("iso_T.jpg"), Some(TAKEN_AT)),
        (sample!("iso_space.jpg"), Some(TAKEN_AT)),
        (sample!("dateonly.jpg"), Some(date)),
        (sample!("undef.jpg"), Some(TAKEN_AT)),
        (sample!("xmp_only.jpg"), Some(TAKEN_AT)),
        (sample!("feb30.jpg"), None),
    ] {
        assert_eq!(decode_sample(sample).taken_at, expected, "{}", sample.0);
    }
}

#[test]
fn cameras_of_samples_keep_their_letters() {
    let attributes = decode_sample(sample!("camera_latin1.jpg"));
    assert_eq!(attributes.camera.as_deref(), Some("Caméra 1"));
}
