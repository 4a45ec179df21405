//! Any bytes as a picture, under tight limits: what `vision` gives must be sound, and what it
//! refuses must be refused in the same way again. Run it with `-malloc_limit_mb=160`, so that a
//! decoder that takes more than its limits allow is a find.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use lookalike_vision::{Description, Limits, Settings, decode, preprocess, thumbnail};

/// The network's input is made as for the model that comes with lookalike.
static DESCRIPTION: LazyLock<Description> =
    LazyLock::new(|| Description::bundled("lookalike-mini").expect("it comes with the crate"));

static LIMITS: LazyLock<Limits> = LazyLock::new(|| {
    Limits::from(&Settings {
        max_file_bytes: 1 << 20,
        max_pixels: 4_000_000,
        max_side: 5000,
        max_decode_bytes: 32 << 20,
        decode_timeout: Duration::from_secs(5),
        ..Settings::default()
    })
});

fuzz_target!(|bytes: &[u8]| {
    lookalike_fuzz::only_our_panics_count();
    let wanted = DESCRIPTION.preprocessing.resize_short_side;
    let decoded = decode(bytes, wanted, &LIMITS);
    match &decoded {
        Ok((picture, attributes)) => {
            let (width, height) = (u64::from(picture.width), u64::from(picture.height));
            assert_eq!(picture.rgb.len() as u64, width * height * 3);
            assert!(width * height <= LIMITS.max_pixels);
            assert!(attributes.width.max(attributes.height) <= LIMITS.max_side);
            assert!(attributes.width >= 1 && attributes.height >= 1);
            let [crop_width, crop_height] = DESCRIPTION.preprocessing.crop;
            let input = preprocess(&DESCRIPTION, picture);
            assert_eq!(input.len(), (crop_width * crop_height * 3) as usize);
            let small = thumbnail(bytes, 96, &LIMITS).expect("what decodes has a thumbnail");
            assert!(small.starts_with(b"\xff\xd8\xff"));
        }
        Err(error) => {
            assert!(lookalike_vision::CODES.contains(&error.code()));
            assert!(!error.to_string().is_empty());
            // The same bytes fail the same way. (Large ones twice would cost too much.)
            if bytes.len() < 4096 {
                let again = decode(bytes, wanted, &LIMITS).map(|_| ());
                assert_eq!(again.map_err(|again| again.code()), Err(error.code()));
            }
        }
    }
});
