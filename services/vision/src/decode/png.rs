//! Decodes PNG: huge images row by row, and images with wrong checksums.
//!
//! **Huge images.** A scanner writes hundreds of megapixels. A decoder returns a row at a time, so the
//! average of a square of pixels needs only the memory of the reduced image. That is done for
//! images of more than [`LARGE_PIXELS`]; smaller ones, animations and interlaced ones are decoded in
//! full.
//!
//! **Checksums.** Browsers and most viewers read an image whose compressed data can be decompressed to
//! all of its rows, even if a checksum differs. So does this decoder. A file that fails is decoded
//! again with recomputed checksums.

use std::borrow::Cow;

use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};
use png::{ColorType, Transformations};

use crate::decode::{
    color_source::png::{PngAnimation, read_animation, read_png_profile},
    deadline::{CpuDeadline, DeadlineReader},
    decoded::{DecoderOutput, MinDecodedSize},
    encoding::SampleEncoding,
    image_crate::decode_with_image_crate,
    limits::{DecodeClaim, Limits},
    png_chunks::list_png_chunks,
    sniff::FileFormat,
};
use crate::error::{DecodeError, RaisedLimits};

const FORMAT: &str = "png";

/// Images of more pixels are reduced while they are decoded.
const LARGE_PIXELS: u64 = 50_000_000;
/// A reduced image has at most this many pixels, if it may be so small.
const REDUCED_PIXELS: u64 = 16_000_000;

/// Decodes a PNG, reduced if it is huge, not yet upright.
pub(crate) fn decode_png(
    bytes: &[u8],
    min_size: MinDecodedSize,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let first = decode_with_checksums(bytes, min_size, limits, deadline);
    if !matches!(first, Err(DecodeError::Corrupt { .. })) || deadline.has_passed() {
        return first;
    }
    // The copy is not reserved, as the file itself is not: a decode that waits for its pixels while it
    // holds other memory could block all others.
    match correct_checksums(bytes) {
        Cow::Owned(corrected) => decode_with_checksums(&corrected, min_size, limits, deadline),
        Cow::Borrowed(_) => first,
    }
}

fn decode_with_checksums(
    bytes: &[u8],
    min_size: MinDecodedSize,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let is_still = || read_animation(bytes) == PngAnimation::None;
    match PngHeader::parse(bytes).map(|header| (header, header.reduction(min_size))) {
        Some((header, reduction)) if reduction > 1 && is_still() => {
            decode_by_rows(bytes, &header, reduction, limits, deadline)
        }
        _ => decode_with_image_crate(bytes, FileFormat::Png, limits, deadline),
    }
}

/// The first chunk.
#[derive(Debug, Clone, Copy)]
struct PngHeader {
    width: u32,
    height: u32,
    is_interlaced: bool,
}

impl PngHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            width: number(16)?,
            height: number(20)?,
            is_interlaced: *bytes.get(28)? != 0,
        })
    }

    /// Returns the side of the squares of pixels to average; 1 means that the image is not reduced.
    fn reduction(&self, min_size: MinDecodedSize) -> u32 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels <= LARGE_PIXELS || self.is_interlaced {
            return 1;
        }
        let is_possible = |side: &u32| min_size.is_met_by(self.width / side, self.height / side);
        let is_enough = |side: &u32| pixels / u64::from(*side).pow(2) <= REDUCED_PIXELS;
        let wanted = (2..=u32::from(u8::MAX))
            .find(is_enough)
            .unwrap_or(u8::MAX.into());
        (2..=wanted).rev().find(is_possible).unwrap_or(1)
    }
}

/// Replaces wrong checksums of chunks. Borrows if all are right.
fn correct_checksums(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut corrected = Cow::Borrowed(bytes);
    for chunk in list_png_chunks(bytes) {
        let range = chunk.place;
        let Some(whole) = bytes.get(range.clone()) else {
            break;
        };
        let (content, checksum) = whole.split_at(whole.len() - 4);
        // The checksum covers name and data, not the length.
        let right = crc32fast::hash(&content[4..]).to_be_bytes();
        if checksum != right {
            corrected.to_mut()[range.end - 4..range.end].copy_from_slice(&right);
        }
    }
    corrected
}

/// Returns whether the image's data reaches into the zeros from `written` on, or lacks its end there.
pub(crate) fn ends_before_data(bytes: &[u8], written: usize) -> bool {
    let mut data_end = 0;
    for chunk in list_png_chunks(bytes).take_while(|chunk| chunk.place.start < written) {
        match chunk.name {
            b"IEND" => return false,
            b"IDAT" => data_end = chunk.place.end - 4,
            _ => {}
        }
    }
    // The last bytes of the data are their checksum, which may be zeros.
    data_end == 0 || data_end > written + 4
}

/// Decodes row by row and averages squares of `reduction` × `reduction` pixels.
fn decode_by_rows(
    bytes: &[u8],
    header: &PngHeader,
    reduction: u32,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let (width, height) = (header.width / reduction, header.height / reduction);
    let kept_pixels = u64::from(width) * u64::from(height);
    // The reduced image, its conversion to RGB, two rows of the decoder and one of sums, each with at
    // most four samples of two or four bytes per pixel.
    let needed_bytes = 7 * kept_pixels + 32 * u64::from(header.width);
    let claim = DecodeClaim {
        width: header.width,
        height: header.height,
        kept_pixels,
        needed_bytes,
    };
    limits.check_claim(FORMAT, &claim)?;
    let _permit = deadline.reserve_memory(limits, needed_bytes)?;
    let decoder_limits = png::Limits {
        bytes: usize::try_from(limits.max_decode_bytes).unwrap_or(usize::MAX),
    };
    let source = DeadlineReader::new(bytes, deadline);
    let mut decoder = png::Decoder::new_with_limits(source, decoder_limits);
    // The decoder would inflate these up to its limit, which is not reserved.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder
        .read_info()
        .map_err(|error| classify_png_error(error, limits))?;
    let channels = reader.output_color_type().0.samples();
    let mut sums = RowSums::new(width as usize, reduction as usize, channels);
    let mut pixels = Vec::with_capacity(width as usize * height as usize * channels);
    for row in 1..=header.height {
        let line = reader
            .next_row()
            .map_err(|error| classify_png_error(error, limits))?;
        let line = line.ok_or_else(too_few_rows)?;
        sums.add_row(line.data());
        if row.is_multiple_of(reduction) {
            sums.finish_rows(&mut pixels);
        }
    }
    let image = match reader.output_color_type().0 {
        ColorType::Grayscale => GrayImage::from_raw(width, height, pixels).map(Into::into),
        ColorType::GrayscaleAlpha => {
            GrayAlphaImage::from_raw(width, height, pixels).map(Into::into)
        }
        ColorType::Rgb | ColorType::Indexed => {
            RgbImage::from_raw(width, height, pixels).map(Into::into)
        }
        ColorType::Rgba => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    Ok(DecoderOutput {
        image: image.ok_or_else(too_few_rows)?,
        width: header.width,
        height: header.height,
        orientation: None,
        exif: None,
        encoding: SampleEncoding {
            profile: read_png_profile(bytes),
            ..SampleEncoding::default()
        },
    })
}

fn too_few_rows() -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: "it has fewer rows than its header claims".to_owned(),
    }
}

fn classify_png_error(error: png::DecodingError, limits: &Limits) -> DecodeError {
    let reason = error.to_string();
    match error {
        png::DecodingError::IoError(source)
            if source.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            DecodeError::Truncated {
                format: FORMAT,
                reason,
            }
        }
        png::DecodingError::LimitsExceeded => DecodeError::TooMuchMemory {
            max_bytes: limits.max_decode_bytes,
            raised: RaisedLimits::default(),
        },
        _ => DecodeError::Corrupt {
            format: FORMAT,
            reason,
        },
    }
}

/// Sums of the samples of squares of pixels.
struct RowSums {
    reduction: usize,
    channels: usize,
    /// Per reduced pixel: the sums of its samples, of colours multiplied by alpha if there is one.
    sums: Vec<u64>,
}

impl RowSums {
    fn new(width: usize, reduction: usize, channels: usize) -> Self {
        Self {
            reduction,
            channels,
            sums: vec![0; width * channels],
        }
    }

    fn add_row(&mut self, line: &[u8]) {
        let square = self.reduction * self.channels;
        let pixels = self.sums.chunks_exact_mut(self.channels);
        for (sums, samples) in pixels.zip(line.chunks_exact(square)) {
            match sums {
                [gray] => *gray += samples.iter().map(|value| u64::from(*value)).sum::<u64>(),
                [gray, alpha_sum] => {
                    for pixel in samples.chunks_exact(2) {
                        let alpha = u64::from(pixel[1]);
                        *gray += u64::from(pixel[0]) * alpha;
                        *alpha_sum += alpha;
                    }
                }
                [colors @ .., alpha_sum] if self.channels == 4 => {
                    for pixel in samples.chunks_exact(4) {
                        let alpha = u64::from(pixel[3]);
                        for (sum, value) in colors.iter_mut().zip(pixel) {
                            *sum += u64::from(*value) * alpha;
                        }
                        *alpha_sum += alpha;
                    }
                }
                colors => {
                    for pixel in samples.chunks_exact(3) {
                        for (sum, value) in colors.iter_mut().zip(pixel) {
                            *sum += u64::from(*value);
                        }
                    }
                }
            }
        }
    }

    /// Appends the averages to `pixels` and begins new sums.
    fn finish_rows(&mut self, pixels: &mut Vec<u8>) {
        let count = (self.reduction * self.reduction) as u64;
        let average = |sum: u64, parts: u64| match parts {
            0 => 0,
            parts => ((sum + parts / 2) / parts) as u8,
        };
        for sums in self.sums.chunks_exact(self.channels) {
            match sums {
                [colors @ .., alpha] if self.channels.is_multiple_of(2) => {
                    pixels.extend(colors.iter().map(|sum| average(*sum, *alpha)));
                    pixels.push(average(*alpha, count));
                }
                colors => pixels.extend(colors.iter().map(|sum| average(*sum, count))),
            }
        }
        self.sums.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn average_squares(channels: usize, rows: &[&[u8]]) -> Vec<u8> {
        let mut sums = RowSums::new(rows[0].len() / channels / 2, 2, channels);
        let mut pixels = Vec::new();
        for row in rows {
            sums.add_row(row);
        }
        sums.finish_rows(&mut pixels);
        pixels
    }

    #[test]
    fn squares_are_averaged() {
        assert_eq!(
            average_squares(1, &[&[0, 10, 7, 7], &[20, 30, 7, 8]]),
            [15, 7]
        );
        let rgb = average_squares(3, &[&[0, 100, 9, 4, 100, 9], &[0, 100, 9, 4, 102, 9]]);
        assert_eq!(rgb, [2, 101, 9]);
    }

    #[test]
    fn hidden_colors_do_not_count() {
        assert_eq!(
            average_squares(2, &[&[200, 0, 10, 255], &[200, 0, 20, 255]]),
            [15, 128]
        );
        let clear = [90, 90, 90, 0, 90, 90, 90, 0];
        assert_eq!(average_squares(4, &[&clear, &clear]), [0, 0, 0, 0]);
    }

    #[test]
    fn only_large_images_are_reduced() {
        let reduction = |width, height, min_size| {
            let header = PngHeader {
                width,
                height,
                is_interlaced: false,
            };
            header.reduction(min_size)
        };
        assert_eq!(reduction(5_000, 5_000, MinDecodedSize::ShortSide(256)), 1);
        assert_eq!(reduction(24_000, 15_250, MinDecodedSize::ShortSide(256)), 5);
        assert_eq!(
            reduction(24_000, 15_250, MinDecodedSize::LongSide(12_000)),
            2
        );
        assert_eq!(
            reduction(24_000, 15_250, MinDecodedSize::LongSide(20_000)),
            1
        );
        // A long strip keeps its short side.
        assert_eq!(reduction(65_000, 1_000, MinDecodedSize::ShortSide(256)), 2);
    }

    fn encode_gradient() -> Vec<u8> {
        let image = RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 77]));
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn whole_data_with_wrong_checksums_is_read() {
        let decode = |bytes: &[u8]| {
            crate::decode_image(bytes, 30, &Limits::default())
                .map(|(image, _)| image)
                .map_err(|error| error.code())
        };
        let file = encode_gradient();
        let whole = decode(&file).unwrap();
        let mut chunks = list_png_chunks(&file);
        let data = chunks.find(|chunk| chunk.name == b"IDAT").unwrap().place;
        // The checksum of the compressed data is followed by that of the chunk.
        for places in [
            vec![data.end - 1],
            vec![data.end - 6],
            vec![data.end - 1, data.end - 6],
            vec![30],
        ] {
            let mut wrong = file.clone();
            for place in places {
                wrong[place] ^= 0x21;
            }
            assert_eq!(decode(&wrong).as_ref(), Ok(&whole));
        }
        // A block of a kind that does not exist cannot be decompressed.
        let mut damaged = file.clone();
        damaged[data.start + 10] |= 0b110;
        assert_eq!(decode(&damaged), Err("corrupt"));
    }
}
