//! Times, cameras and keywords in the forms that programs write.

use super::build::{BuiltEntry, ExifBlockBuilder, xmp_packet};
use crate::decode::attributes::{FileMetadata, read_metadata};
use crate::decode::sniff::FileFormat;

const ORIGINAL: u16 = 0x9003;
const DIGITIZED: u16 = 0x9004;
const CHANGED: u16 = 0x0132;
const OFFSET: u16 = 0x9010;
const OFFSET_ORIGINAL: u16 = 0x9011;
const ZONE_HOURS: u16 = 0x882a;

/// 2021-06-05 04:03:02 UTC.
const TAKEN_AT: i64 = 1_622_865_782;
const TIME: &[u8] = b"2021:06:05 04:03:02\0";
/// 2000-01-01 00:00:00 UTC.
const EARLIER: i64 = 946_684_800;
const EARLIER_TIME: &[u8] = b"2000:01:01 00:00:00\0";

fn read_block(block: &ExifBlockBuilder) -> FileMetadata {
    read_metadata(b"", FileFormat::Jpeg, Some(&block.build()))
}

fn ascii(tag: u16, text: &[u8]) -> BuiltEntry {
    BuiltEntry::text(tag, 2, text)
}

#[track_caller]
fn check_taken_at(block: &ExifBlockBuilder, expected: Option<i64>, what: &str) {
    assert_eq!(read_block(block).taken_at, expected, "{what}");
}

#[test]
fn times_of_all_text_types_are_read() {
    for is_little in [true, false] {
        let block = ExifBlockBuilder::new(is_little);
        for kind in [1, 2, 6, 7, 129] {
            let time = BuiltEntry::text(ORIGINAL, kind, TIME);
            let in_exif = block.clone().with_exif(time.clone());
            check_taken_at(&in_exif, Some(TAKEN_AT), &format!("type {kind}"));
            // TIFF/EP stores it in the first directory.
            check_taken_at(
                &block.clone().with_first(time),
                Some(TAKEN_AT),
                "first directory",
            );
        }
        for pointer_kind in [3, 4, 9, 13] {
            let mut block = block.clone().with_exif(ascii(ORIGINAL, TIME));
            block.pointer_kind = pointer_kind;
            check_taken_at(
                &block,
                Some(TAKEN_AT),
                &format!("pointer of type {pointer_kind}"),
            );
        }
        let comment = BuiltEntry::text(ORIGINAL, 7, &[b"ASCII\0\0\0", TIME].concat());
        check_taken_at(
            &block.clone().with_exif(comment),
            Some(TAKEN_AT),
            "a comment",
        );
        for text in [
            &b"2021:06:05 04:03:02"[..],
            b"2021:06:05 04:03:02\0\0\0\0\0",
            b"\0\x002021:06:05 04:03:02\0",
            b"   2021:06:05 04:03:02\0",
            b"2021-06-05T04:03:02\0",
            b"2021/06/05 04:03:02Z\0",
            b"2021:06:05 04:03:02.75\0",
        ] {
            let block = block.clone().with_exif(ascii(ORIGINAL, text));
            check_taken_at(&block, Some(TAKEN_AT), &format!("{text:?}"));
        }
    }
}

#[test]
fn zones_of_their_own_tags_are_applied() {
    let block = ExifBlockBuilder::new(true).with_exif(ascii(ORIGINAL, TIME));
    let with = |entry| block.clone().with_exif(entry);
    check_taken_at(
        &with(ascii(OFFSET_ORIGINAL, b"+02:00\0")),
        Some(TAKEN_AT - 7200),
        "+02:00",
    );
    check_taken_at(
        &with(ascii(OFFSET_ORIGINAL, b"-0930\0")),
        Some(TAKEN_AT + 34_200),
        "-0930",
    );
    check_taken_at(&with(ascii(OFFSET_ORIGINAL, b"Z\0")), Some(TAKEN_AT), "Z");
    check_taken_at(
        &with(ascii(OFFSET_ORIGINAL, b"   :  \0")),
        Some(TAKEN_AT),
        "blank",
    );
    check_taken_at(
        &with(ascii(OFFSET_ORIGINAL, b"+99:00\0")),
        Some(TAKEN_AT),
        "impossible",
    );
    // It belongs to the time of the last change.
    check_taken_at(
        &with(ascii(OFFSET, b"+02:00\0")),
        Some(TAKEN_AT),
        "of another time",
    );
    let hours = BuiltEntry::numbers(ZONE_HOURS, 8, &[0xfffe]);
    check_taken_at(&with(hours), Some(TAKEN_AT + 7200), "hours");
    let date = ExifBlockBuilder::new(true)
        .with_exif(ascii(ORIGINAL, b"2021:06:05\0"))
        .with_exif(ascii(OFFSET_ORIGINAL, b"+02:00\0"));
    check_taken_at(&date, Some(1_622_851_200), "a date stays on its day");
    let own = ExifBlockBuilder::new(true)
        .with_exif(ascii(ORIGINAL, b"2021:06:05 04:03:02+01:00\0"))
        .with_exif(ascii(OFFSET_ORIGINAL, b"+02:00\0"));
    check_taken_at(
        &own,
        Some(TAKEN_AT - 3600),
        "the text's own zone has precedence",
    );
}

#[test]
fn the_first_readable_time_counts() {
    let block = ExifBlockBuilder::new(true);
    let in_order = [
        block.clone().with_exif(ascii(ORIGINAL, TIME)),
        block.clone().with_exif(ascii(DIGITIZED, TIME)),
        block.clone().with_first(ascii(CHANGED, TIME)),
    ];
    for (number, block) in in_order.iter().enumerate() {
        check_taken_at(block, Some(TAKEN_AT), &format!("time {number}"));
    }
    let worse = in_order[0]
        .clone()
        .with_exif(ascii(DIGITIZED, EARLIER_TIME));
    check_taken_at(&worse, Some(TAKEN_AT), "taken goes before digitized");
    let worse = in_order[1].clone().with_first(ascii(CHANGED, EARLIER_TIME));
    check_taken_at(&worse, Some(TAKEN_AT), "digitized goes before changed");
    for unreadable in [
        &b"0000:00:00 00:00:00\0"[..],
        b"2021:02:30 04:03:02\0",
        b"\0",
        b"unknown\0",
    ] {
        let broken = in_order[1].clone().with_exif(ascii(ORIGINAL, unreadable));
        check_taken_at(&broken, Some(TAKEN_AT), "the next one counts");
        let alone = block.clone().with_exif(ascii(ORIGINAL, unreadable));
        check_taken_at(&alone, None, "no other day");
    }
}

#[test]
fn exif_goes_before_xmp_of_the_same_meaning() {
    let with_xmp = |block: ExifBlockBuilder, properties: &str| {
        block.with_first(BuiltEntry::text(0x02bc, 1, &xmp_packet(properties)))
    };
    let block = ExifBlockBuilder::new(true);
    let taken = "exif:DateTimeOriginal=\"2000-01-01T00:00:00\"";
    let created = "xmp:CreateDate=\"2000-01-01T00:00:00\"";
    for properties in [taken, created] {
        let alone = with_xmp(block.clone(), properties);
        check_taken_at(&alone, Some(EARLIER), properties);
        let taken = with_xmp(block.clone().with_exif(ascii(ORIGINAL, TIME)), properties);
        check_taken_at(&taken, Some(TAKEN_AT), "EXIF goes before XMP");
        let changed = with_xmp(block.clone().with_first(ascii(CHANGED, TIME)), properties);
        check_taken_at(
            &changed,
            Some(EARLIER),
            "the time of a change comes after it",
        );
    }
    let digitized = with_xmp(block.clone().with_exif(ascii(DIGITIZED, TIME)), taken);
    check_taken_at(&digitized, Some(EARLIER), "taken goes before digitized");
}

#[test]
fn cameras_are_utf8_or_latin_1() {
    let camera = |make: BuiltEntry, model: BuiltEntry| {
        read_block(
            &ExifBlockBuilder::new(true)
                .with_first(make)
                .with_first(model),
        )
        .camera
    };
    for (make, model, expected) in [
        (&b"Canon\0"[..], &b"Canon EOS R5\0"[..], "Canon EOS R5"),
        (b"Maker\0", b"Cam\xe9ra 1\0", "Maker Caméra 1"),
        (b"Maker\0", "Caméra 1\0".as_bytes(), "Maker Caméra 1"),
        (b"Maker    ", b"  Model 5", "Maker Model 5"),
        (b"\0", b"Model 5\0", "Model 5"),
        (b"M\0", b"5\0", "M 5"),
    ] {
        let found = camera(ascii(0x010f, make), ascii(0x0110, model));
        assert_eq!(found.as_deref(), Some(expected));
        let in_utf8 = BuiltEntry::text(0x0110, 129, model);
        let found = camera(ascii(0x010f, make), in_utf8);
        assert_eq!(found.as_deref(), Some(expected), "the type UTF-8 of EXIF 3");
    }
    assert_eq!(camera(ascii(0x010f, b"\0"), ascii(0x0110, b"   \0")), None);
}

#[test]
fn keywords_are_joined_once() {
    let utf16: Vec<u8> = "tree; Straße;;tree\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let block = ExifBlockBuilder::new(false)
        .with_first(BuiltEntry::text(0x9c9e, 1, &utf16))
        .with_first(BuiltEntry::text(
            0x83bb,
            7,
            b"\x1c\x02\x19\0\x04tree\x1c\x02\x19\0\x03sky",
        ));
    assert_eq!(read_block(&block).tags, ["tree", "Straße", "sky"]);
    let many: Vec<u8> = (0..200)
        .flat_map(|n| [&b"\x1c\x02\x19\0\x03"[..], format!("{n:03}").as_bytes()].concat())
        .collect();
    let block = ExifBlockBuilder::new(false).with_first(BuiltEntry::text(0x83bb, 7, &many));
    assert_eq!(read_block(&block).tags.len(), 64);
}
