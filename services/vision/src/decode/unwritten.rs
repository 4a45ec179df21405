//! Detects files whose end was never written.
//!
//! A program that copies or downloads a file can reserve its space first. Until it is done, the file
//! has its final length and ends with zeros. Decoders read zeros as image data where they can, so
//! what a compressed format states about its own length is compared with what was written. Formats
//! without compression cannot tell such zeros from black pixels. JPEG is treated in `jpeg`.

use crate::decode::{png, sniff::FileFormat, webp};
use crate::error::DecodeError;

/// Fewer zeros can be the end of image data.
const MIN_ZEROS: usize = 64;

/// Zeros that can be the end of image data of a WebP or a JPEG XL.
const MAX_FINAL_ZEROS: u64 = 16;

/// The end of every QOI file.
const QOI_END: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1];

/// Returns the length without zeros at the end, or the whole length if there are few of them.
fn written_length(bytes: &[u8]) -> usize {
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    match bytes.len() - written {
        ..MIN_ZEROS => bytes.len(),
        _ => written,
    }
}

/// Rejects a file that states itself that its image data ends behind what was written.
pub(crate) fn check_written(bytes: &[u8], format: FileFormat) -> Result<(), DecodeError> {
    let written = written_length(bytes);
    let is_padded = written < bytes.len();
    let is_unwritten = match format {
        // The file can also be cut.
        FileFormat::WebP => webp::first_image_end(bytes).is_some_and(|end| {
            end > bytes.len() as u64 || is_padded && end > written as u64 + MAX_FINAL_ZEROS
        }),
        FileFormat::Png => is_padded && png::ends_before_data(bytes, written),
        FileFormat::Qoi => is_padded && !bytes[..written].ends_with(QOI_END),
        _ => false,
    };
    match is_unwritten {
        true => Err(describe_unwritten(bytes, format)),
        false => Ok(()),
    }
}

/// Replaces the error of a decoder that found zeros where it expected something else.
pub(crate) fn explain_error(error: DecodeError, bytes: &[u8], format: FileFormat) -> DecodeError {
    match error {
        DecodeError::Corrupt { .. } if written_length(bytes) < bytes.len() => {
            describe_unwritten(bytes, format)
        }
        error => error,
    }
}

/// Returns whether image data that ends at this offset was not written to its end.
pub(crate) fn is_unwritten_before(bytes: &[u8], end: u64) -> bool {
    let written = written_length(bytes);
    written < bytes.len() && end > written as u64 + MAX_FINAL_ZEROS
}

fn describe_unwritten(bytes: &[u8], format: FileFormat) -> DecodeError {
    let zeros = bytes.len() - written_length(bytes);
    DecodeError::Truncated {
        format: format.name(),
        reason: match zeros {
            0 => "the file ends within the image data".to_owned(),
            zeros => format!("its last {zeros} bytes are zeros that no program has written yet"),
        },
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat, RgbImage};

    use crate::{Limits, decode_image};

    /// Encodes noise, which needs every byte of a file.
    fn encode_noise(format: ImageFormat) -> Vec<u8> {
        let mut state = 1_u32;
        let noise = RgbImage::from_fn(96, 96, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
        });
        let mut file = std::io::Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(noise)
            .write_to(&mut file, format)
            .unwrap();
        file.into_inner()
    }

    fn compressed_files() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("png", encode_noise(ImageFormat::Png)),
            ("gif", encode_noise(ImageFormat::Gif)),
            ("webp", encode_noise(ImageFormat::WebP)),
            ("qoi", encode_noise(ImageFormat::Qoi)),
            ("jpeg", encode_noise(ImageFormat::Jpeg)),
            (
                "lossy webp",
                include_bytes!("unwritten/lossy.webp").to_vec(),
            ),
        ]
    }

    fn outcome(bytes: &[u8]) -> String {
        match decode_image(bytes, 40, &Limits::default()) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.code().to_owned(),
        }
    }

    #[test]
    fn a_tail_that_was_never_written_is_truncated() {
        for (name, file) in compressed_files() {
            for percent in [10, 30, 50, 70] {
                let written = file.len() * percent / 100;
                let mut reserved = file[..written].to_vec();
                reserved.resize(file.len(), 0);
                assert_eq!(outcome(&reserved), "truncated", "{name} at {percent} %");
                reserved.resize(file.len() + 8192, 0);
                assert_eq!(
                    outcome(&reserved),
                    "truncated",
                    "{name} at {percent} % and more"
                );
            }
        }
    }

    #[test]
    fn a_cut_file_is_truncated() {
        for (name, file) in compressed_files() {
            for percent in [10, 50, 90] {
                let cut = &file[..file.len() * percent / 100];
                assert_eq!(outcome(cut), "truncated", "{name} at {percent} %");
            }
        }
    }

    #[test]
    fn zeros_after_a_whole_file_do_no_harm() {
        let raw = [ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Pnm];
        let raw = raw.map(|format| ("raw", encode_noise(format)));
        for (name, mut file) in compressed_files().into_iter().chain(raw) {
            file.resize(file.len() + 8192, 0);
            assert_eq!(outcome(&file), "fine", "{name}");
        }
    }
}
