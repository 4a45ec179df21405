//! Small files that claim much memory.

pub(in crate::decode) mod drawn_samples;

use super::{
    decode_image,
    limits::Limits,
    webp::tests::{encode_animation, encode_vp8},
};

/// Found by fuzzing: 5 kB made the decoder ask for 264 MB, regardless of the limits.
#[test]
fn a_small_webp_that_claims_much_is_rejected() {
    let mut limits = Limits::default();
    limits.max_decode_bytes = 32 << 20;
    let error = decode_image(&encode_animation(&encode_vp8(0x3fff)), 146, &limits).unwrap_err();
    assert_eq!(error.code(), "too_much_memory", "{error}");
}
