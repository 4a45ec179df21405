use super::preview::MIN_PREVIEW_SIDE;
use crate::decode::{decode_image, limits::Limits, sniff::identify_raw, tiff::tests::sample_tiff};
use crate::encode::encode_jpeg;
use crate::error::DecodeError;
use crate::{DecodedAttributes, DecodedImage};

/// Builds a raw file: a small picture and raw pixels below it, as cameras do.
struct RawFile {
    entries: Vec<(u16, u16, u32, Vec<u8>)>,
    /// Bytes behind the directories, without a tag that refers to them.
    tail: Vec<u8>,
}

const SHORT: u16 = 3;
const LONG: u16 = 4;

impl RawFile {
    fn new(maker: &str, orientation: u16) -> Self {
        let short = |tag, value: u16| (tag, SHORT, 1, value.to_le_bytes().to_vec());
        let text = |tag, text: &str| {
            let text = format!("{text}\0").into_bytes();
            (tag, 2, text.len() as u32, text)
        };
        Self {
            entries: vec![
                short(256, 160),
                short(257, 120),
                short(262, 2),
                text(271, maker),
                text(272, "Model 7"),
                short(274, orientation),
                text(306, "2021:06:05 04:03:02"),
            ],
            tail: Vec::new(),
        }
    }

    /// Adds a preview as most cameras do: offset and length in the first directory.
    fn with_preview(mut self, jpeg: &[u8]) -> Self {
        self.entries.push((513, LONG, 0, jpeg.to_vec()));
        self.entries
            .push((514, LONG, 1, (jpeg.len() as u32).to_le_bytes().to_vec()));
        self
    }

    /// Adds a preview as the value of a tag, as Panasonic does.
    fn with_preview_value(mut self, jpeg: &[u8]) -> Self {
        let mut value = jpeg.to_vec();
        value.resize(value.len().max(9000), 0);
        self.entries.push((46, 7, value.len() as u32, value));
        self
    }

    /// Adds a preview that no directory refers to, as in a maker's note.
    fn with_hidden_preview(mut self, jpeg: &[u8]) -> Self {
        self.tail = [&[7; 77], jpeg].concat();
        self
    }

    fn encode(mut self) -> Vec<u8> {
        // The directory of the raw pixels, at a fixed place.
        let raw: [(u16, u16, u32, u32); 4] = [
            (256, SHORT, 1, 6000),
            (257, SHORT, 1, 4000),
            (262, SHORT, 1, 32803),
            (273, LONG, 1, 8),
        ];
        self.entries
            .push((330, LONG, 1, 8_u32.to_le_bytes().to_vec()));
        self.entries.sort_by_key(|entry| entry.0);
        let mut bytes = b"II*\0\0\0\0\0".to_vec();
        bytes.extend((raw.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in raw {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        let first = bytes.len();
        bytes[4..8].copy_from_slice(&(first as u32).to_le_bytes());
        let mut values_at = first + 2 + self.entries.len() * 12 + 4;
        let mut values: Vec<u8> = Vec::new();
        bytes.extend((self.entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in &self.entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            // A count of zero stands for one offset to the value.
            bytes.extend(count.max(&1).to_le_bytes());
            if *count > 0 && value.len() <= 4 {
                let mut field = value.clone();
                field.resize(4, 0);
                bytes.extend(field);
            } else {
                bytes.extend((values_at as u32).to_le_bytes());
                values_at += value.len();
                values.extend(value);
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(values);
        bytes.extend(self.tail);
        bytes
    }
}

/// A JPEG with a red upper half and a blue lower one.
fn draw_preview(width: u32, height: u32) -> Vec<u8> {
    let rgb: Vec<u8> = (0..height)
        .flat_map(|y| {
            let color = if y * 2 < height {
                [220, 20, 20]
            } else {
                [20, 40, 210]
            };
            std::iter::repeat_n(color, width as usize).flatten()
        })
        .collect();
    encode_jpeg(&rgb, width, height, 90)
}

fn decode(bytes: &[u8]) -> Result<(DecodedImage, DecodedAttributes), DecodeError> {
    decode_image(bytes, 64, &Limits::default())
}

#[track_caller]
fn check_preview(bytes: &[u8], format: &str, size: (u32, u32)) {
    let (_, attributes) = decode(bytes).unwrap();
    assert_eq!(attributes.format, format);
    assert_eq!((attributes.width, attributes.height), size);
    assert_eq!(attributes.camera.as_deref(), Some("Maker Model 7"));
    assert_eq!(attributes.taken_at, Some(1_622_865_782));
}

fn from_maker() -> RawFile {
    RawFile::new("Maker", 1)
}

#[test]
fn a_large_preview_is_used_wherever_it_is() {
    let preview = draw_preview(640, 480);
    check_preview(
        &from_maker().with_preview(&preview).encode(),
        "raw",
        (640, 480),
    );
    check_preview(
        &from_maker().with_preview_value(&preview).encode(),
        "raw",
        (640, 480),
    );
    check_preview(
        &from_maker().with_hidden_preview(&preview).encode(),
        "raw",
        (640, 480),
    );
    // The largest of several.
    let two = from_maker()
        .with_preview(&preview)
        .with_preview_value(&draw_preview(1024, 768));
    check_preview(&two.encode(), "raw", (1024, 768));
    // The next one if the largest is damaged.
    let mut damaged = draw_preview(1024, 768);
    let length = damaged.len();
    damaged.truncate(length / 2);
    damaged.resize(length.max(9000), 0);
    let second = from_maker()
        .with_preview(&preview)
        .with_preview_value(&damaged);
    check_preview(&second.encode(), "raw", (640, 480));
}

#[test]
fn thumbnails_are_not_used() {
    for bytes in [
        from_maker().encode(),
        from_maker().with_preview(&draw_preview(160, 120)).encode(),
        from_maker()
            .with_hidden_preview(&draw_preview(MIN_PREVIEW_SIDE - 1, 200))
            .encode(),
    ] {
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error.code(), "unsupported_format");
        assert!(error.to_string().contains("camera raw"), "{error}");
    }
}

#[test]
fn the_raw_file_says_how_its_preview_is_turned() {
    let lying = draw_preview(640, 480);
    let (picture, attributes) =
        decode(&RawFile::new("Maker", 6).with_preview(&lying).encode()).unwrap();
    assert_eq!((attributes.width, attributes.height), (480, 640));
    // The upper half moves to the right.
    let right = ((picture.height / 2) * picture.width + picture.width - 2) as usize * 3;
    assert!(
        picture.rgb[right] > 180,
        "{:?}",
        &picture.rgb[right..right + 3]
    );
    // This camera has turned the preview itself.
    let standing = draw_preview(480, 640);
    let (picture, attributes) =
        decode(&RawFile::new("Maker", 6).with_preview(&standing).encode()).unwrap();
    assert_eq!((attributes.width, attributes.height), (480, 640));
    assert!(picture.rgb[0] > 180, "{:?}", &picture.rgb[..3]);
}

#[test]
fn makers_name_the_format() {
    let kind = |bytes: &[u8]| identify_raw(bytes).map(|kind| kind.name());
    for (maker, format) in [
        ("NIKON CORPORATION", "nef"),
        ("SONY", "arw"),
        ("PENTAX Corporation", "pef"),
        ("RICOH IMAGING COMPANY, LTD.", "pef"),
        ("Hasselblad", "3fr"),
        ("SAMSUNG", "srw"),
        ("Unknown", "raw"),
    ] {
        let bytes = RawFile::new(maker, 1).encode();
        assert_eq!(kind(&bytes), Some(format), "{maker}");
        for length in 0..bytes.len() {
            kind(&bytes[..length]);
        }
    }
    let mut panasonic = from_maker().encode();
    panasonic[2] = 0x55;
    assert_eq!(kind(&panasonic), Some("rw2"));
    let mut olympus = from_maker().encode();
    olympus[2..4].copy_from_slice(b"RO");
    assert_eq!(kind(&olympus), Some("orf"));
    assert_eq!(kind(b"FUJIFILMCCD-RAW 0201"), Some("raf"));
    assert_eq!(kind(&sample_tiff(258, 1)), None, "a TIFF that is not raw");
}

/// Formats with a layout of their own: the preview is found by a search, and is itself a JPEG with
/// attributes.
#[test]
fn previews_of_other_layouts_are_found() {
    let bytes = [
        &b"FUJIFILMCCD-RAW 0201"[..],
        &[0; 100],
        &draw_preview(640, 480),
    ]
    .concat();
    let (_, attributes) = decode(&bytes).unwrap();
    assert_eq!((attributes.format, attributes.width), ("raf", 640));
    let error = decode(b"FUJIFILMCCD-RAW 0201 and nothing else").unwrap_err();
    assert_eq!(error.code(), "unsupported_format");
}

#[test]
fn samples_of_cameras_are_refused_with_their_format() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/raw");
    for (name, format) in [
        ("nikon.NEF", "nef"),
        ("phone.dng", "dng"),
        ("canon.CR2", "cr2"),
    ] {
        let error = decode(&std::fs::read(folder.join(name)).unwrap()).unwrap_err();
        assert_eq!(
            error,
            DecodeError::RawWithoutPreview {
                format,
                min_side: MIN_PREVIEW_SIDE
            },
            "{name}"
        );
    }
}
