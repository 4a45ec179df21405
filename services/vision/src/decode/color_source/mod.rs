//! Finds in a file what its samples mean: its colour profile and the kind of its alpha channel.

pub(crate) mod bmp;
pub(crate) mod jpeg;
pub(crate) mod png;

use image::ImageDecoder;

use crate::decode::{
    encoding::{AlphaMeaning, SampleEncoding, SourceProfile},
    sniff::FileFormat,
};

/// Reads the encoding of a file that the `image` crate has opened.
pub(crate) fn read_sample_encoding(
    bytes: &[u8],
    format: FileFormat,
    decoder: &mut dyn ImageDecoder,
) -> SampleEncoding {
    match format {
        FileFormat::Jpeg => SampleEncoding {
            profile: jpeg::read_jpeg_profile(bytes),
            ..SampleEncoding::default()
        },
        FileFormat::Png => SampleEncoding {
            profile: png::read_png_profile(bytes),
            ..SampleEncoding::default()
        },
        FileFormat::WebP | FileFormat::Gif => SampleEncoding {
            profile: match decoder.icc_profile() {
                Ok(Some(profile)) => SourceProfile::Icc(profile),
                _ => SourceProfile::Srgb,
            },
            ..SampleEncoding::default()
        },
        FileFormat::Bmp => SampleEncoding {
            profile: bmp::read_bmp_profile(bytes),
            alpha: AlphaMeaning::MaybeUnused,
        },
        FileFormat::Tga | FileFormat::Ico => SampleEncoding {
            alpha: AlphaMeaning::MaybeUnused,
            ..SampleEncoding::default()
        },
        _ => SampleEncoding::default(),
    }
}
