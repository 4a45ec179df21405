//! Decodes arbitrary bytes as a picture under tight limits: decoded pictures must be consistent, and
//! rejected ones must be rejected in the same way again. Run it with `-malloc_limit_mb=160`, so that a
//! decoder that allocates more than the limits allow is a finding.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use lookalike_vision::{
    Description, Limits, Settings, decode_image, encode_thumbnail, preprocess_image,
};

/// The bundled model decides the size of the network's input.
static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
    Description::find_bundled("lookalike-mini").expect("it is bundled with the crate")
});

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
    lookalike_fuzz::ignore_registry_panics();
    let short_side = DESCRIPTION.preprocessing.resize_short_side;
    let decoded = decode_image(bytes, short_side, &LIMITS);
    match &decoded {
        Ok((image, attributes)) => {
            let (width, height) = (u64::from(image.width), u64::from(image.height));
            assert_eq!(image.rgb.len() as u64, width * height * 3);
            assert!(width * height <= LIMITS.max_pixels);
            assert!(attributes.width.max(attributes.height) <= LIMITS.max_side);
            assert!(attributes.width >= 1 && attributes.height >= 1);
            let [crop_width, crop_height] = DESCRIPTION.preprocessing.crop;
            let input = preprocess_image(&DESCRIPTION, image);
            assert_eq!(input.len(), (crop_width * crop_height * 3) as usize);
            let small =
                encode_thumbnail(bytes, 96, &LIMITS).expect("a decodable picture has a thumbnail");
            assert!(small.starts_with(b"\xff\xd8\xff"));
        }
        Err(error) => {
            assert!(lookalike_vision::CODES.contains(&error.code()));
            assert!(!error.to_string().is_empty());
            // The same bytes fail in the same way. Large files are skipped for speed.
            if bytes.len() < 4096 {
                let second = decode_image(bytes, short_side, &LIMITS).map(|_| ());
                assert_eq!(second.map_err(|second| second.code()), Err(error.code()));
            }
        }
    }
});
