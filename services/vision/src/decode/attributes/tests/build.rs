//! Builds EXIF blocks, TIFF files, and files that contain blocks.

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, RgbImage};

/// One entry of a directory; numbers are stored in the byte order of the block.
#[derive(Debug, Clone)]
pub(super) struct BuiltEntry {
    pub tag: u16,
    pub kind: u16,
    pub count: u64,
    /// Bytes per number, and the numbers.
    pub unit: usize,
    pub numbers: Vec<u64>,
}

impl BuiltEntry {
    pub(super) fn numbers(tag: u16, kind: u16, numbers: &[u64]) -> Self {
        let unit = match kind {
            1 | 2 | 6 | 7 | 129 => 1,
            3 | 8 => 2,
            16..=18 => 8,
            // Rationals are two numbers of four bytes each.
            _ => 4,
        };
        let count = match kind {
            5 | 10 => numbers.len() as u64 / 2,
            _ => numbers.len() as u64,
        };
        Self {
            tag,
            kind,
            count,
            unit,
            numbers: numbers.to_vec(),
        }
    }

    pub(super) fn text(tag: u16, kind: u16, text: &[u8]) -> Self {
        let numbers: Vec<u64> = text.iter().copied().map(u64::from).collect();
        Self::numbers(tag, kind, &numbers)
    }

    /// Stores `value` first and then zeros, in any type of numbers.
    pub(super) fn any_type(tag: u16, kind: u16, value: u8, count: usize, is_little: bool) -> Self {
        let value = u64::from(value);
        let one = match kind {
            5 | 10 => vec![value * 3, 3],
            11 => vec![u64::from((value as f32).to_bits())],
            12 => {
                let bits = (value as f64).to_bits();
                let (high, low) = (bits >> 32, bits & 0xffff_ffff);
                if is_little {
                    vec![low, high]
                } else {
                    vec![high, low]
                }
            }
            2 => vec![value + u64::from(b'0'), 0],
            _ => vec![value],
        };
        let mut numbers = one.clone();
        numbers.resize(one.len() * count, 0);
        let mut entry = Self::numbers(tag, kind, &numbers);
        entry.count = (count * if kind == 2 { 2 } else { 1 }) as u64;
        entry
    }
}

/// A block that begins with a TIFF header.
#[derive(Debug, Clone)]
pub(super) struct ExifBlockBuilder {
    pub is_little: bool,
    pub is_big_tiff: bool,
    pub first: Vec<BuiltEntry>,
    pub exif: Vec<BuiltEntry>,
    pub thumbnail: Vec<BuiltEntry>,
    /// Type of the pointer to the EXIF directory.
    pub pointer_kind: u16,
    /// Pixels of a TIFF file, in one strip.
    pub strip: Vec<u8>,
}

impl ExifBlockBuilder {
    pub(super) fn new(is_little: bool) -> Self {
        Self {
            is_little,
            is_big_tiff: false,
            first: Vec::new(),
            exif: Vec::new(),
            thumbnail: Vec::new(),
            pointer_kind: 4,
            strip: Vec::new(),
        }
    }

    pub(super) fn with_first(mut self, entry: BuiltEntry) -> Self {
        self.first.push(entry);
        self
    }

    pub(super) fn with_exif(mut self, entry: BuiltEntry) -> Self {
        self.exif.push(entry);
        self
    }

    fn put(&self, bytes: &mut Vec<u8>, number: u64, length: usize) {
        match self.is_little {
            true => bytes.extend(&number.to_le_bytes()[..length]),
            false => bytes.extend(&number.to_be_bytes()[8 - length..]),
        }
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let width = if self.is_big_tiff { 8 } else { 4 };
        let (count_bytes, entry_bytes) = if self.is_big_tiff { (8, 20) } else { (2, 12) };
        let directory_bytes = |entries: usize| count_bytes + entries * entry_bytes + width;
        let header_bytes = if self.is_big_tiff { 16 } else { 8 };
        let has_strip = !self.strip.is_empty();
        let first_entries =
            self.first.len() + usize::from(!self.exif.is_empty()) + usize::from(has_strip);
        let exif_at = header_bytes + directory_bytes(first_entries);
        let thumbnail_at = exif_at + directory_bytes(self.exif.len());
        let values_at = thumbnail_at + directory_bytes(self.thumbnail.len());
        let mut values = self.strip.clone();
        let mut block = if self.is_little {
            b"II".to_vec()
        } else {
            b"MM".to_vec()
        };
        if self.is_big_tiff {
            for number in [43, 8, 0] {
                self.put(&mut block, number, 2);
            }
        } else {
            self.put(&mut block, 42, 2);
        }
        self.put(&mut block, header_bytes as u64, width);
        let mut first = self.first.clone();
        if has_strip {
            first.push(BuiltEntry::numbers(273, 4, &[values_at as u64]));
        }
        if !self.exif.is_empty() {
            first.push(BuiltEntry::numbers(
                0x8769,
                self.pointer_kind,
                &[exif_at as u64],
            ));
        }
        first.sort_by_key(|entry| entry.tag);
        let next = if self.thumbnail.is_empty() {
            0
        } else {
            thumbnail_at
        };
        for (entries, next) in [(&first, next), (&self.exif, 0), (&self.thumbnail, 0)] {
            self.put(&mut block, entries.len() as u64, count_bytes);
            for entry in entries {
                self.put(&mut block, entry.tag.into(), 2);
                self.put(&mut block, entry.kind.into(), 2);
                self.put(&mut block, entry.count, width);
                let mut data = Vec::new();
                for number in &entry.numbers {
                    self.put(&mut data, *number, entry.unit);
                }
                if data.len() <= width {
                    data.resize(width, 0);
                    block.extend(data);
                } else {
                    self.put(&mut block, (values_at + values.len()) as u64, width);
                    values.extend(data);
                }
            }
            self.put(&mut block, next as u64, width);
        }
        block.extend(values);
        block
    }

    /// Builds a TIFF file of the picture with this builder's entries.
    pub(super) fn build_tiff(mut self, picture: &RgbImage) -> Vec<u8> {
        let (width, height) = (u64::from(picture.width()), u64::from(picture.height()));
        let numbers = [
            (256, vec![width]),
            (257, vec![height]),
            (258, vec![8, 8, 8]),
            (259, vec![1]),
            (262, vec![2]),
            (277, vec![3]),
            (278, vec![height]),
        ];
        for (tag, numbers) in numbers {
            self.first.push(BuiltEntry::numbers(tag, 3, &numbers));
        }
        let bytes = BuiltEntry::numbers(279, 4, &[width * height * 3]);
        self.first.push(bytes);
        self.strip = picture.as_raw().clone();
        self.build()
    }
}

/// Quarters in four colours, twelve by eight pixels times `scale`, so that every turn is visible.
pub(super) fn draw_picture(scale: u32) -> RgbImage {
    RgbImage::from_fn(12 * scale, 8 * scale, |x, y| {
        image::Rgb(match (x < 6 * scale, y < 4 * scale) {
            (true, true) => [220, 20, 20],
            (false, true) => [20, 160, 20],
            (true, false) => [20, 40, 210],
            (false, false) => [250, 250, 250],
        })
    })
}

/// Returns the pixels that a program stores together with `orientation`.
pub(super) fn turn_for_storage(picture: &RgbImage, orientation: u8) -> RgbImage {
    let upright = DynamicImage::ImageRgb8(picture.clone());
    let stored = match orientation {
        2 => upright.fliph(),
        3 => upright.rotate180(),
        4 => upright.flipv(),
        5 => upright.rotate90().fliph(),
        6 => upright.rotate270(),
        7 => upright.rotate270().fliph(),
        8 => upright.rotate90(),
        _ => upright,
    };
    stored.into_rgb8()
}

pub(super) fn encode_jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 100)
        .encode_image(picture)
        .unwrap();
    file
}

fn encode_lossless(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A JPEG with segments in front of all others.
pub(super) fn jpeg_with(picture: &RgbImage, segments: &[(u8, &[u8])]) -> Vec<u8> {
    let plain = encode_jpeg(picture);
    let mut file = plain[..2].to_vec();
    for (marker, body) in segments {
        file.extend([0xff, *marker]);
        file.extend((body.len() as u16 + 2).to_be_bytes());
        file.extend(*body);
    }
    file.extend(&plain[2..]);
    file
}

pub(super) fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut sum = flate2::Crc::new();
    sum.update(kind);
    sum.update(data);
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], kind, data, &sum.sum().to_be_bytes()].concat()
}

/// A PNG with chunks in front of the pixels or behind them.
pub(super) fn png_with(picture: &RgbImage, chunks: &[u8], is_behind: bool) -> Vec<u8> {
    let plain = encode_lossless(picture, ImageFormat::Png);
    // The signature and `IHDR`, or everything but `IEND`.
    let at = if is_behind { plain.len() - 12 } else { 33 };
    [&plain[..at], chunks, &plain[at..]].concat()
}

fn webp_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = [&name[..], &(data.len() as u32).to_le_bytes(), data].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

/// An extended WebP with chunks behind the pixels.
pub(super) fn webp_with(picture: &RgbImage, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let plain = encode_lossless(picture, ImageFormat::WebP);
    // The decoder wants every chunk that these flags announce.
    let has = |name: &[u8]| chunks.iter().any(|(found, _)| &found[..] == name);
    let flags = u8::from(has(b"EXIF")) << 3 | u8::from(has(b"XMP ")) << 2;
    let mut canvas = vec![flags, 0, 0, 0];
    canvas.extend(&(picture.width() - 1).to_le_bytes()[..3]);
    canvas.extend(&(picture.height() - 1).to_le_bytes()[..3]);
    let mut body = b"WEBP".to_vec();
    body.extend(webp_chunk(b"VP8X", &canvas));
    body.extend(&plain[12..]);
    for (name, data) in chunks {
        body.extend(webp_chunk(name, data));
    }
    webp_chunk(b"RIFF", &body)
}

/// Text as ImageMagick writes it under "Raw profile type …".
pub(super) fn raw_profile_text(name: &str, profile: &[u8]) -> Vec<u8> {
    let mut text = format!("\n{name}\n{:8}\n", profile.len());
    for line in profile.chunks(36) {
        for byte in line {
            text += &format!("{byte:02x}");
        }
        text.push('\n');
    }
    text.into_bytes()
}

pub(super) fn deflate(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A packet with properties as attributes of one description.
pub(super) fn xmp_packet(properties: &str) -> Vec<u8> {
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
         <x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF \
         xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" \
         xmlns:tiff=\"http://ns.adobe.com/tiff/1.0/\" xmlns:exif=\"http://ns.adobe.com/exif/1.0/\" \
         xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" {properties}/></rdf:RDF></x:xmpmeta>\
         <?xpacket end=\"w\"?>"
    )
    .into_bytes()
}
