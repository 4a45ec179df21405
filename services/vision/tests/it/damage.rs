//! Cut and changed files of formats that few other programs write: nothing panics, and nothing exceeds
//! the limits.

use std::time::{Duration, Instant};

use lookalike_vision::{CODES, Limits, Settings, decode_image};

use crate::{
    memory::{measure_peak, run_alone},
    shared,
};

/// Positions at which each file is cut, and bytes that are changed, one at a time.
const CUTS: usize = 50;
const CHANGES: usize = 100;

struct DamageLimits {
    limits: Limits,
    max_bytes: usize,
    max_time: Duration,
}

impl DamageLimits {
    fn new() -> Self {
        let settings = Settings {
            max_pixels: 4_000_000,
            max_decode_bytes: 192 << 20,
            decode_timeout: Duration::from_secs(5),
            ..Settings::default()
        };
        Self {
            max_bytes: settings.max_decode_bytes as usize + (32 << 20),
            max_time: settings.decode_timeout * 3,
            limits: Limits::from(&settings),
        }
    }

    /// Decodes a damaged file and returns the code of its error.
    fn check(&self, name: &str, bytes: &[u8]) -> &'static str {
        let begun = Instant::now();
        let (result, peak) = measure_peak(|| decode_image(bytes, 146, &self.limits));
        assert!(peak <= self.max_bytes, "{name}: {peak} bytes");
        assert!(begun.elapsed() < self.max_time, "{name}: too slow");
        match result {
            Ok(_) => "fine",
            Err(error) => {
                assert!(CODES.contains(&error.code()));
                assert_ne!(error.code(), "decoder_panic", "{name}: {error}");
                assert_ne!(error.code(), "too_slow", "{name}: {error}");
                error.code()
            }
        }
    }
}

#[test]
fn cut_and_changed_files_only_fail() {
    let _alone = run_alone();
    let Some(folder) = shared::shared_folder("data/formats") else {
        return;
    };
    let limits = DamageLimits::new();
    for (name, bytes) in shared::read_files(&folder) {
        let is_tested = ["avif-", "jxl-", "heif-"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if !is_tested {
            continue;
        }
        for cut in 1..CUTS {
            let length = bytes.len() * cut / CUTS;
            limits.check(&format!("{name} cut at {length}"), &bytes[..length]);
        }
        let mut changed = bytes.clone();
        for change in 0..CHANGES {
            // The first half of the changes are in the headers.
            let place = match change % 2 {
                0 => change / 2 * bytes.len().min(400) / (CHANGES / 2),
                _ => change * bytes.len() / CHANGES,
            };
            changed[place] ^= 0x55 + change as u8;
            limits.check(&format!("{name} changed at {place}"), &changed);
            changed[place] = bytes[place];
        }
    }
}

/// A few bytes state a picture of very many pixels: at most as many as the format has, or more.
#[test]
fn a_small_jxl_that_claims_much_is_rejected() {
    let _alone = run_alone();
    for (side, code) in [(1 << 20, "too_many_pixels"), (1 << 30, "corrupt")] {
        let file = jxl_header(side);
        let (result, peak) = measure_peak(|| decode_image(&file, 146, &Limits::default()));
        let error = result.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(peak < 4 << 20, "{peak} bytes");
    }
}

/// Returns the begin of a JPEG XL codestream of a square picture.
fn jxl_header(side: u64) -> Vec<u8> {
    let (mut bytes, mut at) = (vec![0xff, 0x0a], 0);
    let stored = side - 1;
    // Not small, the height in 30 bits, no ratio, the width in 30 bits, and other metadata.
    for (value, length) in [
        (0, 1),
        (3, 2),
        (stored, 30),
        (0, 3),
        (3, 2),
        (stored, 30),
        (3, 2),
    ] {
        for bit in 0..length {
            if at % 8 == 0 {
                bytes.push(0);
            }
            let last = bytes.len() - 1;
            bytes[last] |= ((value >> bit & 1) as u8) << (at % 8);
            at += 1;
        }
    }
    // A file that ends in zeros is one that is still being written.
    bytes.resize(bytes.len() + 64, 1);
    bytes
}
