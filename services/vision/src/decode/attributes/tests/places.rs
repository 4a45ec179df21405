//! Blocks in every place where programs store them.

use super::build::{
    BuiltEntry, ExifBlockBuilder, deflate, draw_picture, encode_jpeg, jpeg_with, png_chunk,
    png_with, raw_profile_text, webp_with, xmp_packet,
};
use crate::decode::attributes::{DecodedAttributes, FileMetadata, read_metadata};
use crate::decode::sniff::FileFormat;
use crate::decode::{decode_image, limits::Limits};

/// 2021-06-05 04:03:02 UTC.
const TAKEN_AT: i64 = 1_622_865_782;

/// A block with an orientation, a camera and a time in the EXIF directory.
fn sample_block() -> ExifBlockBuilder {
    ExifBlockBuilder::new(false)
        .with_first(BuiltEntry::text(0x010f, 2, b"Maker\0"))
        .with_first(BuiltEntry::text(0x0110, 2, b"Model 5\0"))
        .with_first(BuiltEntry::numbers(0x0112, 3, &[6]))
        .with_exif(BuiltEntry::text(0x9003, 2, b"2021:06:05 04:03:02\0"))
}

fn decode_attributes(file: &[u8]) -> DecodedAttributes {
    decode_image(file, 1, &Limits::default()).unwrap().1
}

/// Expects what [`sample_block`] states about the picture of twelve by eight pixels.
#[track_caller]
fn check_sample(file: &[u8], what: &str) {
    let attributes = decode_attributes(file);
    assert_eq!((attributes.width, attributes.height), (8, 12), "{what}");
    assert_eq!(
        attributes.camera.as_deref(),
        Some("Maker Model 5"),
        "{what}"
    );
    assert_eq!(attributes.taken_at, Some(TAKEN_AT), "{what}");
}

#[test]
fn prefixes_of_other_formats_are_skipped() {
    let picture = draw_picture(1);
    let block = sample_block().build();
    for prefix in [
        &b""[..],
        b"Exif\0\0",
        b"Exif\0\0Exif\0\0",
        b"\xff\xe1\0\x99Exif\0\0",
        b"\0\0\0\x06Exif\0\0",
    ] {
        let exif = [prefix, &block].concat();
        let what = format!("{prefix:?}");
        check_sample(&webp_with(&picture, &[(b"EXIF", &exif)]), &what);
        for is_behind in [false, true] {
            let chunk = png_chunk(b"eXIf", &exif);
            check_sample(&png_with(&picture, &chunk, is_behind), &what);
        }
    }
    for prefix in [&b"Exif\0\0"[..], b"Exif\0\xff", b"Exif\0\0\0\0"] {
        let segment = [prefix, &block].concat();
        check_sample(
            &jpeg_with(&picture, &[(0xe1, &segment)]),
            &format!("{prefix:?}"),
        );
    }
    // A segment without a TIFF header does not hide the next one.
    let segment = [b"Exif\0\0", &block[..]].concat();
    let file = jpeg_with(&picture, &[(0xe1, b"Exif\0\0nothing"), (0xe1, &segment)]);
    check_sample(&file, "the second segment");
}

/// The chunks in which a text can be stored.
fn text_chunks(keyword: &str, text: &[u8]) -> [Vec<u8>; 4] {
    let keyword = keyword.as_bytes();
    let packed = deflate(text);
    [
        png_chunk(b"tEXt", &[keyword, b"\0", text].concat()),
        png_chunk(b"zTXt", &[keyword, b"\0\0", &packed].concat()),
        png_chunk(b"iTXt", &[keyword, b"\0\0\0en\0word\0", text].concat()),
        png_chunk(b"iTXt", &[keyword, b"\0\x01\0\0\0", &packed].concat()),
    ]
}

#[test]
fn raw_profiles_of_png_are_read() {
    let picture = draw_picture(1);
    let block = sample_block().build();
    let with_prefix = [b"Exif\0\0", &block[..]].concat();
    for (keyword, name, profile) in [
        ("Raw profile type exif", "exif", &with_prefix),
        ("Raw profile type exif", "exif", &block),
        ("Raw profile type APP1", "generic profile", &with_prefix),
        ("Raw profile type app1", "app1", &with_prefix),
    ] {
        for chunk in text_chunks(keyword, &raw_profile_text(name, profile)) {
            for is_behind in [false, true] {
                check_sample(&png_with(&picture, &chunk, is_behind), keyword);
            }
        }
    }
    // A proper chunk has precedence, even after the pixels.
    let other = sample_block().with_exif(BuiltEntry::text(0x9004, 2, b"2000:01:01 00:00:00\0"));
    let text = &text_chunks(
        "Raw profile type exif",
        &raw_profile_text("exif", &other.build()),
    )[0];
    let chunks = [&text[..], &png_chunk(b"eXIf", &block)].concat();
    check_sample(&png_with(&picture, &chunks, true), "both");
}

#[test]
fn xmp_and_iptc_of_png_are_read() {
    let picture = draw_picture(1);
    let packet = xmp_packet(
        "tiff:Orientation=\"6\" tiff:Make=\"Maker\" tiff:Model=\"Model 5\" \
         exif:DateTimeOriginal=\"2021-06-05T04:03:02\"",
    );
    for chunk in text_chunks("XML:com.adobe.xmp", &packet) {
        check_sample(&png_with(&picture, &chunk, false), "XMP");
    }
    let app1 = [&b"http://ns.adobe.com/xap/1.0/\0"[..], &packet].concat();
    for (keyword, profile) in [
        ("Raw profile type xmp", &packet),
        ("Raw profile type APP1", &app1),
    ] {
        for chunk in text_chunks(keyword, &raw_profile_text("xmp", profile)) {
            check_sample(&png_with(&picture, &chunk, true), keyword);
        }
    }
    let records = b"\x1c\x02\x37\0\x0820210605\x1c\x02\x3c\0\x0b040302+0000";
    let length = (records.len() as u32).to_be_bytes();
    let resources = [&b"8BIM\x04\x04\0\0"[..], &length, records].concat();
    for (keyword, profile) in [
        ("Raw profile type iptc", &records[..]),
        ("Raw profile type iptc", &resources),
        ("Raw profile type 8bim", &resources),
    ] {
        for chunk in text_chunks(keyword, &raw_profile_text("iptc", profile)) {
            let attributes = decode_attributes(&png_with(&picture, &chunk, false));
            assert_eq!(attributes.taken_at, Some(TAKEN_AT), "{keyword}");
        }
    }
}

#[test]
fn times_of_png_come_last() {
    let picture = draw_picture(1);
    let time = png_chunk(b"tIME", b"\x07\xe5\x06\x05\x04\x03\x02");
    let taken_at =
        |chunks: &[&[u8]]| decode_attributes(&png_with(&picture, &chunks.concat(), false)).taken_at;
    assert_eq!(taken_at(&[&time]), Some(TAKEN_AT));
    assert_eq!(
        taken_at(&[&png_chunk(b"tIME", b"\x07\xe5\x02\x1e\x04\x03\x02")]),
        None
    );
    assert_eq!(taken_at(&[&png_chunk(b"tIME", b"\x07\xe5")]), None);
    for text in [
        &b"2000-01-01T00:00:00Z"[..],
        b"Sat, 1 Jan 2000 00:00:00 GMT",
    ] {
        let chunk = &text_chunks("Creation Time", text)[0];
        assert_eq!(taken_at(&[&time, chunk]), Some(946_684_800));
    }
    let block = ExifBlockBuilder::new(true).with_first(BuiltEntry::text(
        0x0132,
        2,
        b"1999:12:31 23:59:59\0",
    ));
    let exif = png_chunk(b"eXIf", &block.build());
    assert_eq!(taken_at(&[&time, &exif]), Some(946_684_799));
}

#[test]
fn xmp_and_iptc_of_jpeg_and_tiff_are_read() {
    let picture = draw_picture(1);
    let packet = xmp_packet("exif:DateTimeOriginal=\"2021-06-05T04:03:02\"");
    let xmp = [&b"http://ns.adobe.com/xap/1.0/\0"[..], &packet].concat();
    let records = b"\x1c\x02\x19\0\x04tree\x1c\x02\x37\0\x0820210605\x1c\x02\x3c\0\x0b040302+0000";
    let length = (records.len() as u32).to_be_bytes();
    let resources = [
        &b"8BIM\x03\xed\0\0\0\0\0\x02xy8BIM\x04\x04\0\0"[..],
        &length,
        records,
    ]
    .concat();
    let photoshop = [&b"Photoshop 3.0\0"[..], &resources].concat();
    let (first_half, second_half) = photoshop.split_at(40);
    let second_half = [&b"Photoshop 3.0\0"[..], second_half].concat();
    let block = ExifBlockBuilder::new(true);
    for (file, what) in [
        (jpeg_with(&picture, &[(0xe1, &xmp)]), "JPEG, XMP"),
        (jpeg_with(&picture, &[(0xed, &photoshop)]), "JPEG, IPTC"),
        (
            jpeg_with(&picture, &[(0xed, first_half), (0xed, &second_half)]),
            "JPEG, IPTC in two segments",
        ),
        (webp_with(&picture, &[(b"XMP ", &packet)]), "WebP, XMP"),
        (
            block
                .clone()
                .with_first(BuiltEntry::text(0x02bc, 1, &packet))
                .build_tiff(&picture),
            "TIFF, XMP",
        ),
        (
            block
                .clone()
                .with_first(BuiltEntry::text(0x83bb, 7, records))
                .build_tiff(&picture),
            "TIFF, IPTC",
        ),
        (
            block
                .clone()
                .with_first(BuiltEntry::text(0x8649, 7, &resources))
                .build_tiff(&picture),
            "TIFF, IPTC of Photoshop",
        ),
    ] {
        let attributes = decode_attributes(&file);
        assert_eq!(attributes.taken_at, Some(TAKEN_AT), "{what}");
        let expected: &[&str] = if what.contains("IPTC") {
            &["tree"]
        } else {
            &[]
        };
        assert_eq!(attributes.tags, expected, "{what}");
    }
}

#[test]
fn large_files_have_attributes() {
    // More than 16 MiB of metadata of another kind in front of the pixels.
    let padding = vec![0; 17 << 20];
    let mut block = sample_block();
    block.first.push(BuiltEntry::text(0xc6d2, 7, &padding));
    check_sample(&block.build_tiff(&draw_picture(1)), "TIFF");
    let chunks = [
        png_chunk(b"paDd", &padding),
        png_chunk(b"eXIf", &sample_block().build()),
    ]
    .concat();
    check_sample(&png_with(&draw_picture(1), &chunks, true), "PNG");
    let block = sample_block().build();
    let webp = webp_with(&draw_picture(1), &[(b"PADD", &padding), (b"EXIF", &block)]);
    check_sample(&webp, "WebP");
    let exif = [b"Exif\0\0", &block[..]].concat();
    let segment = vec![0; 65_000];
    let mut segments = vec![(0xe2, &segment[..]); 300];
    segments.push((0xe1, &exif));
    check_sample(&jpeg_with(&draw_picture(1), &segments), "JPEG");
}

#[test]
fn metadata_that_is_too_large_stays_small() {
    let picture = draw_picture(1);
    // 100 MiB of NULs in 100 kB.
    let bomb = deflate(&vec![0; 100 << 20]);
    for keyword in [
        "XML:com.adobe.xmp",
        "Raw profile type exif",
        "Creation Time",
    ] {
        let chunk = png_chunk(b"zTXt", &[keyword.as_bytes(), b"\0\0", &bomb].concat());
        let attributes = decode_attributes(&png_with(&picture, &chunk.repeat(30), false));
        assert_eq!(attributes.taken_at, None);
    }
    // A profile that claims more than it has.
    let text = b"\nexif\n4294967295\n4949".to_vec();
    let chunk = &text_chunks("Raw profile type exif", &text)[0];
    assert_eq!(
        decode_attributes(&png_with(&picture, chunk, false)).camera,
        None
    );
    // A text with millions of NULs, each of which could become a string.
    let mut maker = vec![0; 32 << 20];
    maker[..5].copy_from_slice(b"Maker");
    let block = ExifBlockBuilder::new(true).with_first(BuiltEntry::text(0x010f, 2, &maker));
    let file = block.build_tiff(&picture);
    assert_eq!(decode_attributes(&file).camera.as_deref(), Some("Maker"));
}

/// Cuts and changes files of all formats everywhere; metadata may be lost, nothing else.
#[test]
fn broken_blocks_are_left_out() {
    let picture = draw_picture(1);
    let packet = xmp_packet("tiff:Orientation=\"6\" xmp:CreateDate=\"2021-06-05\"");
    let xmp = [&b"http://ns.adobe.com/xap/1.0/\0"[..], &packet].concat();
    let exif = [b"Exif\0\0", &sample_block().build()[..]].concat();
    let text = raw_profile_text("exif", &exif);
    let chunks = [
        text_chunks("Raw profile type exif", &text).concat(),
        png_chunk(b"eXIf", &exif),
    ];
    let mut big_tiff = sample_block();
    big_tiff.is_big_tiff = true;
    let files = [
        (
            FileFormat::Jpeg,
            jpeg_with(&picture, &[(0xe1, &xmp), (0xe1, &exif)]),
        ),
        (FileFormat::Png, png_with(&picture, &chunks.concat(), true)),
        (
            FileFormat::WebP,
            webp_with(&picture, &[(b"EXIF", &exif), (b"XMP ", &packet)]),
        ),
        (FileFormat::Tiff, sample_block().build_tiff(&picture)),
        (FileFormat::Tiff, big_tiff.build_tiff(&picture)),
        (FileFormat::Gif, packet),
    ];
    let mut state = 7_u64;
    let mut next = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % bound
    };
    for (format, file) in files {
        for length in 0..file.len() {
            read_metadata(&file[..length], format, None);
        }
        for _ in 0..3000 {
            let mut changed = file.clone();
            for _ in 0..3 {
                let place = next(changed.len());
                changed[place] = match next(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => changed[place] ^ 1 << next(8),
                    _ => next(256) as u8,
                };
            }
            read_metadata(&changed, format, None);
        }
    }
    for rubbish in [
        &b""[..],
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0+",
        &[0xff; 300],
    ] {
        assert_eq!(
            read_metadata(rubbish, FileFormat::Tiff, None),
            FileMetadata::default()
        );
        assert_eq!(
            read_metadata(rubbish, FileFormat::Ico, Some(rubbish)),
            FileMetadata::default()
        );
    }
    let plain = encode_jpeg(&picture);
    assert_eq!(
        read_metadata(&plain, FileFormat::Jpeg, None),
        FileMetadata::default()
    );
}
