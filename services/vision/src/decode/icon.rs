//! Icons and cursors (ICO, CUR), and bitmaps without a file header (DIB).
//!
//! An icon is a list of pictures, each a PNG or a headerless bitmap with a mask. Programs write PNG
//! of every kind into them and wrong sizes into the list, and a cursor has the position of its tip where
//! an icon has its colours. Viewers follow the pictures, so the list is written again with one picture
//! and what its own header says.

use crate::decode::{
    deadline::CpuDeadline, decoded::DecoderOutput, image_crate::decode_with_image_crate,
    limits::Limits, sniff::FileFormat,
};
use crate::error::DecodeError;

const FORMAT: &str = "ico";
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The header of a bitmap since Windows 3.0.
const DIB_HEADER_BYTES: usize = 40;
const BITMAP_FILE_HEADER_BYTES: usize = 14;
/// Most pictures that are looked at; icons have about ten.
const MAX_PICTURES: usize = 256;

/// One picture of an icon.
#[derive(Debug, Clone, Copy)]
struct IconPicture<'b> {
    bytes: &'b [u8],
    width: u32,
    height: u32,
    bits: u32,
    is_png: bool,
    /// The file ends within the picture.
    is_cut: bool,
}

/// Decodes the largest picture of an icon or a cursor.
pub(crate) fn decode_icon(
    bytes: &[u8],
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let picture = list_pictures(bytes)
        .max_by_key(|picture| {
            let pixels = u64::from(picture.width) * u64::from(picture.height);
            (pixels, picture.bits)
        })
        .ok_or_else(|| DecodeError::Truncated {
            format: FORMAT,
            reason: "the file ends before its first picture".to_owned(),
        })?;
    let rename = |error| rename_format(error, picture.is_cut);
    if picture.is_png {
        return decode_with_image_crate(picture.bytes, FileFormat::Png, limits, deadline)
            .map_err(rename);
    }
    limits.check_pixels(FORMAT, picture.width, picture.height)?;
    decode_with_image_crate(&write_icon(&picture), FileFormat::Ico, limits, deadline)
        .map_err(rename)
}

fn rename_format(error: DecodeError, is_cut: bool) -> DecodeError {
    match error {
        DecodeError::Corrupt { reason, .. } if is_cut => DecodeError::Truncated {
            format: FORMAT,
            reason,
        },
        DecodeError::Truncated { reason, .. } => DecodeError::Truncated {
            format: FORMAT,
            reason,
        },
        DecodeError::Corrupt { reason, .. } => DecodeError::Corrupt {
            format: FORMAT,
            reason,
        },
        DecodeError::UnsupportedFeature { reason, .. } => DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason,
        },
        error => error,
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Lists the pictures whose header is within the file.
fn list_pictures(bytes: &[u8]) -> impl Iterator<Item = IconPicture<'_>> {
    let count = usize::from(read_u16(bytes, 4).unwrap_or(0)).min(MAX_PICTURES);
    (0..count).filter_map(move |index| {
        let entry = bytes.get(6 + index * 16..)?;
        let (length, offset) = (read_u32(entry, 8)? as usize, read_u32(entry, 12)? as usize);
        let rest = bytes.get(offset..)?;
        // A wrong length hides nothing: the pictures' own headers say how long they are.
        let picture = if length < DIB_HEADER_BYTES {
            rest
        } else {
            &rest[..length.min(rest.len())]
        };
        read_picture(picture, length > rest.len())
    })
}

fn read_picture(bytes: &[u8], is_cut: bool) -> Option<IconPicture<'_>> {
    if bytes.starts_with(PNG_SIGNATURE) {
        let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        return Some(IconPicture {
            bytes,
            width: side(16)?,
            height: side(20)?,
            bits: 32,
            is_png: true,
            is_cut,
        });
    }
    (read_u32(bytes, 0)? as usize >= DIB_HEADER_BYTES).then_some(())?;
    Some(IconPicture {
        bytes,
        width: read_u32(bytes, 4)?,
        // The mask is below the picture and counts, too.
        height: read_u32(bytes, 8)? / 2,
        bits: u32::from(read_u16(bytes, 14)?),
        is_png: false,
        is_cut,
    })
}

/// Writes an icon with one picture that is no PNG.
fn write_icon(picture: &IconPicture<'_>) -> Vec<u8> {
    // 0 stands for 256 pixels or more.
    let side = |side: u32| u8::try_from(side).unwrap_or(0);
    let mut icon = vec![0, 0, 1, 0, 1, 0];
    icon.extend([side(picture.width), side(picture.height), 0, 0, 1, 0]);
    icon.extend((picture.bits as u16).to_le_bytes());
    icon.extend((picture.bytes.len() as u32).to_le_bytes());
    icon.extend(22_u32.to_le_bytes());
    icon.extend(picture.bytes);
    icon
}

/// Decodes a bitmap without its file header.
pub(crate) fn decode_headerless_bitmap(
    bytes: &[u8],
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let number = |at| read_u32(bytes, at).unwrap_or(0) as usize;
    let header_bytes = number(0);
    let bits = read_u16(bytes, 14).unwrap_or(0);
    let colors = match (number(32), bits) {
        (0, 1..=8) => 1 << bits,
        (colors, _) => colors.min(256),
    };
    // Three or four masks follow the oldest header.
    let masks = match (header_bytes, number(16)) {
        (40, 3) => 12,
        (40, 6) => 16,
        _ => 0,
    };
    let pixels_at = BITMAP_FILE_HEADER_BYTES + header_bytes + masks + colors * 4;
    let mut file = b"BM".to_vec();
    file.extend(((BITMAP_FILE_HEADER_BYTES + bytes.len()) as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend((pixels_at as u32).to_le_bytes());
    file.extend(bytes);
    decode_with_image_crate(&file, FileFormat::Bmp, limits, deadline)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

    use super::write_icon;
    use crate::decode::{decode_image, limits::Limits};
    use crate::error::DecodeError;

    fn read_sample(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/icons");
        std::fs::read(folder.join(name)).unwrap()
    }

    #[track_caller]
    fn check_size(name: &str, bytes: &[u8], format: &str, size: (u32, u32)) {
        let (_, attributes) = decode_image(bytes, 16, &Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(attributes.format, format, "{name}");
        assert_eq!((attributes.width, attributes.height), size, "{name}");
    }

    fn code_of(bytes: &[u8]) -> &'static str {
        decode_image(bytes, 16, &Limits::default())
            .err()
            .map_or("fine", |error| error.code())
    }

    fn draw_icon() -> (Vec<u8>, Vec<u8>) {
        let image = DynamicImage::ImageRgb8(RgbImage::from_fn(40, 24, |x, _| {
            Rgb(if x < 20 { [220, 20, 20] } else { [20, 40, 210] })
        }));
        let encode = |format| {
            let mut file = std::io::Cursor::new(Vec::new());
            image.write_to(&mut file, format).unwrap();
            file.into_inner()
        };
        (encode(ImageFormat::Png), encode(ImageFormat::Bmp))
    }

    /// Writes an icon whose list states another size than its picture has.
    fn wrap_picture(picture: &[u8], kind: u8) -> Vec<u8> {
        let mut icon = vec![0, 0, kind, 0, 1, 0, 7, 9, 0, 0, 200, 0, 30, 0];
        icon.extend((picture.len() as u32).to_le_bytes());
        icon.extend(22_u32.to_le_bytes());
        icon.extend(picture);
        icon
    }

    #[test]
    fn icons_and_cursors_are_read_whatever_their_list_says() {
        check_size("RGB", &read_sample("ico_with_rgb_png.ico"), "ico", (64, 64));
        check_size("cursor", &read_sample("cursor.cur"), "ico", (32, 32));
        let (png, bmp) = draw_icon();
        check_size("wrong size", &wrap_picture(&png, 1), "ico", (40, 24));
        check_size("wrong cursor", &wrap_picture(&png, 2), "ico", (40, 24));
        // A headerless bitmap with its mask, which doubles the height.
        let mut dib = bmp[14..].to_vec();
        dib[8..12].copy_from_slice(&48_u32.to_le_bytes());
        dib.extend([0; 24 * 8]);
        check_size("bitmap", &wrap_picture(&dib, 2), "ico", (40, 24));
        let icon = wrap_picture(&png, 1);
        for length in 6..icon.len() - 12 {
            assert!(
                matches!(code_of(&icon[..length]), "truncated" | "corrupt"),
                "{length}"
            );
        }
        let huge = super::IconPicture {
            bytes: &dib,
            width: 1,
            height: 1,
            bits: 32,
            is_png: false,
            is_cut: false,
        };
        let mut huge = write_icon(&huge);
        huge[26..30].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        assert_eq!(code_of(&huge), "too_many_pixels");
    }

    #[test]
    fn headerless_bitmaps_are_read() {
        check_size("sample", &read_sample("headerless.dib"), "bmp", (96, 64));
        let (_, bmp) = draw_icon();
        check_size("drawn", &bmp[14..], "bmp", (40, 24));
        let whole = decode_image(&bmp, 16, &Limits::default()).unwrap();
        let headerless = decode_image(&bmp[14..], 16, &Limits::default()).unwrap();
        assert!(whole == headerless);
        let mut upside_down = bmp[14..].to_vec();
        upside_down[8..12].copy_from_slice(&(-24_i32).to_le_bytes());
        check_size("top down", &upside_down, "bmp", (40, 24));
        assert!(matches!(
            code_of(&bmp[14..bmp.len() / 2]),
            "truncated" | "corrupt"
        ));
    }

    #[test]
    fn pngs_for_ios_are_named() {
        let error = decode_image(&read_sample("cgbi.png"), 16, &Limits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::UnsupportedFeature { .. }));
        assert!(error.to_string().contains("CgBI"), "{error}");
    }
}
