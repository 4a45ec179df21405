//! Sizes, completeness and colours of JPEG files.

use super::*;
use crate::decode::deadline::DecodeMonitor;

fn decode_with_limits(
    bytes: &[u8],
    wanted: MinDecodedSize,
    limits: &Limits,
) -> Result<DecoderOutput, DecodeError> {
    let watch = DecodeMonitor::default();
    let deadline = CpuDeadline::start(&watch, limits.decode_timeout);
    super::decode_jpeg(bytes, wanted, limits, &deadline)
}

fn sample_jpeg() -> Vec<u8> {
    crate::encode::encode_jpeg(&[90; 40 * 24 * 3], 40, 24, 80)
}

#[test]
fn header_tells_size_and_scan() {
    let bytes = sample_jpeg();
    let header = JpegHeader::parse(&bytes).unwrap();
    assert_eq!((header.width, header.height), (40, 24));
    assert_eq!((header.components, header.precision), (3, 8));
    assert!(!header.is_progressive());
    assert_eq!(header.exif, None);
}

#[test]
fn every_cut_is_truncated() {
    let bytes = sample_jpeg();
    // The last bytes are the end marker, and ones that fill the last byte of data.
    for length in 3..bytes.len() - 4 {
        let error = decode_with_limits(
            &bytes[..length],
            MinDecodedSize::ShortSide(8),
            &Limits::default(),
        );
        assert_eq!(
            error.err().map(|error| error.code()),
            Some("truncated"),
            "{length}"
        );
    }
}

#[test]
fn reduction_keeps_at_least_what_is_wanted() {
    let bytes = crate::encode::encode_jpeg(&vec![90; 640 * 480 * 3], 640, 480, 80);
    let limits = Limits::default();
    for (wanted, size) in [
        (MinDecodedSize::ShortSide(40), (80, 60)),
        (MinDecodedSize::ShortSide(41), (160, 120)),
        (MinDecodedSize::ShortSide(146), (320, 240)),
        (MinDecodedSize::ShortSide(161), (640, 480)),
        (MinDecodedSize::LongSide(80), (80, 60)),
        (MinDecodedSize::LongSide(1000), (640, 480)),
    ] {
        let raw = decode_with_limits(&bytes, wanted, &limits).unwrap();
        assert_eq!((raw.image.width(), raw.image.height()), size, "{wanted:?}");
        assert_eq!((raw.width, raw.height), (640, 480));
    }
}

#[test]
fn the_tolerant_decoder_uses_the_profile_of_the_inks() {
    let bytes = include_bytes!("../../../tests/cases/own_inks.jpg");
    let limits = Limits::default();
    let watch = DecodeMonitor::default();
    let deadline = CpuDeadline::start(&watch, limits.decode_timeout);
    let inks = CmykConverter::open(&read_jpeg_profile(bytes));
    assert!(inks.is_some());
    let map = ImageMap::find(bytes).unwrap();
    let data = &bytes[..map.data_end];
    let header = JpegHeader::parse(bytes).unwrap();
    for reduction in [1, 2] {
        let tolerant = decode_tolerantly(
            data,
            &map.frame,
            reduction,
            inks.as_ref(),
            &limits,
            &deadline,
        );
        let tolerant = tolerant.map(|decode| decode.image.into_rgb8()).unwrap();
        let fast = decode_with_jpeg_decoder(
            data,
            END_OF_DATA,
            &header,
            reduction as u32,
            inks.as_ref(),
            &limits,
            &deadline,
        );
        let fast = fast.unwrap().into_rgb8();
        assert_eq!(tolerant.dimensions(), fast.dimensions());
        let differences = tolerant.iter().zip(fast.iter());
        let sum: u64 = differences.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(sum < 3 * tolerant.len() as u64, "1/{reduction}: {sum}");
    }
}
