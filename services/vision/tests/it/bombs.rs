//! Small files that claim to be huge, and truncated files.

use lookalike_vision::{CODES, DecodeError, Limits, Settings, decode_image, encode_thumbnail};

use crate::{
    drawn::{draw_quarters, encode_test_jpeg},
    memory::{measure_peak, run_alone},
};

/// Checks that decoding fails with this code and allocates almost nothing.
#[track_caller]
fn check_rejected(name: &str, file: &[u8], code: &str) {
    let (result, peak) = measure_peak(|| decode_image(file, 146, &Limits::default()));
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{name}: {error}");
    assert!(CODES.contains(&error.code()));
    assert!(peak < 4 << 20, "{name}: {peak} bytes");
    assert_eq!(
        encode_thumbnail(file, 200, &Limits::default())
            .unwrap_err()
            .code(),
        code,
        "{name}"
    );
}

/// Changes the frame header of a drawn JPEG to claim another size.
fn jpeg_claiming(width: u16, height: u16) -> Vec<u8> {
    let mut file = encode_test_jpeg(&draw_quarters(64, 48));
    let frame = file.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

/// Creates a PNG of only a header with the right checksum and the start of its data.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let crc = header.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    });
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    file.extend(header);
    file.extend((!crc).to_be_bytes());
    file.extend(b"\0\0\0\x10IDAT\x78\x9c");
    file.extend([0; 40]);
    file
}

#[test]
fn claims_beyond_the_limits_allocate_nothing() {
    let _alone = run_alone();
    check_rejected("jpeg", &jpeg_claiming(65_535, 65_535), "too_many_pixels");
    check_rejected("jpeg side", &jpeg_claiming(65_535, 1), "too_many_pixels");
    check_rejected("jpeg nothing", &jpeg_claiming(0, 48), "corrupt");
    check_rejected("png", &png_claiming(65_535, 65_535), "too_many_pixels");
    let largest = png_claiming(0x7fff_ffff, 0x7fff_ffff);
    check_rejected("png largest", &largest, "too_many_pixels");
    check_rejected("pnm", b"P6\n60000 60000\n255\n", "too_many_pixels");
    check_rejected(
        "qoi",
        b"qoif\0\0\x4e\x20\0\0\x4e\x1f\x03\0aaaaaaaa",
        "too_many_pixels",
    );
    let mut gif = b"GIF89a\xff\xff\xff\xff\x80\0\0".to_vec();
    gif.extend([0, 0, 0, 255, 255, 255]);
    gif.extend(b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;");
    check_rejected("gif", &gif, "too_many_pixels");
    check_rejected(
        "hdr",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n",
        "too_many_pixels",
    );
    let mut bmp = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend([0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0, 1, 0, 24, 0]);
    bmp.extend([0; 24]);
    check_rejected("bmp", &bmp, "too_many_pixels");
    let mut tga = vec![
        0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 24, 0,
    ];
    tga.extend([0; 26]);
    check_rejected("tga", &tga, "too_many_pixels");
}

#[test]
fn limits_are_the_settings() {
    let _alone = run_alone();
    let file = encode_test_jpeg(&draw_quarters(640, 480));
    let code = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        decode_image(&file, 480, &Limits::from(&settings))
            .map_or_else(|error| error.code(), |_| "fine")
    };
    assert_eq!(code(&|_| {}), "fine");
    assert_eq!(code(&|s| s.max_file_bytes = 100), "too_large");
    assert_eq!(code(&|s| s.max_pixels = 640 * 480), "fine");
    assert_eq!(code(&|s| s.max_pixels = 640 * 480 - 1), "too_many_pixels");
    assert_eq!(code(&|s| s.max_side = 639), "too_many_pixels");
    assert_eq!(code(&|s| s.max_decode_bytes = 640 * 480), "too_much_memory");
}

#[test]
fn files_that_are_no_image_fail_with_their_code() {
    let _alone = run_alone();
    check_rejected("empty", b"", "empty");
    check_rejected("text", b"a shopping list: apples, pears", "not_an_image");
    check_rejected("page", b"<!doctype html><p>not found", "not_an_image");
    check_rejected(
        "drawing",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        "unsupported_format",
    );
    let error = decode_image(b"8BPS\0\x01", 1, &Limits::default()).unwrap_err();
    assert_eq!(
        error,
        DecodeError::UnsupportedFormat {
            format: "Photoshop"
        }
    );
    assert_eq!(error.to_string(), "Photoshop files are not supported");
}

#[test]
fn half_a_file_is_never_half_a_picture() {
    let _alone = run_alone();
    // Noise makes every format need all of its bytes.
    let mut state = 1_u32;
    let noise = image::RgbImage::from_fn(96, 96, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    });
    for format in [
        image::ImageFormat::Jpeg,
        image::ImageFormat::Png,
        image::ImageFormat::Gif,
        image::ImageFormat::WebP,
        image::ImageFormat::Bmp,
        image::ImageFormat::Tiff,
        image::ImageFormat::Qoi,
        image::ImageFormat::Pnm,
    ] {
        let mut file = std::io::Cursor::new(Vec::new());
        image::DynamicImage::ImageRgb8(noise.clone())
            .write_to(&mut file, format)
            .unwrap();
        let file = file.into_inner();
        let error = decode_image(&file[..file.len() / 2], 96, &Limits::default()).unwrap_err();
        assert!(
            matches!(error.code(), "truncated" | "corrupt"),
            "{format:?}: {error:?}"
        );
    }
}

/// Creates a progressive gray JPEG with empty scans. Each scan has a dozen bytes and covers the whole
/// image. Only the last one has its data, because the file would be truncated otherwise.
fn jpeg_of_scans(side: u16, scans: usize) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8];
    let mut segment = |marker: u8, body: &[u8]| {
        file.extend([0xff, marker]);
        file.extend((body.len() as u16 + 2).to_be_bytes());
        file.extend(body);
    };
    segment(0xdb, &[&[0_u8][..], &[1; 64]].concat());
    let [high, low] = side.to_be_bytes();
    segment(0xc2, &[8, high, low, high, low, 1, 1, 0x11, 0]);
    // A table with one code of one bit, which means "no difference".
    let table = [&[0_u8, 1][..], &[0; 15], &[0]].concat();
    segment(0xc4, &table);
    for _ in 0..scans {
        segment(0xda, &[1, 1, 0x00, 0, 0, 0]);
    }
    // A bit for each block of 8 x 8 pixels.
    file.resize(file.len() + usize::from(side).pow(2) / 64 / 8, 0);
    file.extend([0xff, 0xd9]);
    file
}

#[test]
fn a_picture_of_endless_scans_ends_in_time() {
    let _alone = run_alone();
    let few = jpeg_of_scans(512, 3);
    decode_image(&few, 512, &Limits::default()).unwrap();
    let file = jpeg_of_scans(4096, 100_000);
    let settings = Settings {
        decode_timeout: std::time::Duration::from_millis(300),
        ..Settings::default()
    };
    let limits = Limits::from(&settings);
    // A fast decoder may end in time.
    let check = |result: Result<(), DecodeError>| {
        if let Err(error) = result {
            assert_eq!(error.code(), "too_slow", "{error}");
        }
    };
    // At full size, reduced, and as a thumbnail, so that each decoder is used first and second.
    for short_side in [4096, 146] {
        let begun = std::time::Instant::now();
        check(decode_image(&file, short_side, &limits).map(|_| ()));
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
    check(encode_thumbnail(&file, 200, &limits).map(|_| ()));
}
