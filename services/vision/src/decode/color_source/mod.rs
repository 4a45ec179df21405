//! Finds in a file what its samples mean: the kind of its alpha channel.

mod tiff;

use crate::decode::{
    encoding::{AlphaMeaning, SampleEncoding},
    sniff::FileFormat,
};

/// Reads the encoding of a file that the `image` crate has opened.
pub(crate) fn read_sample_encoding(bytes: &[u8], format: FileFormat) -> SampleEncoding {
    match format {
        FileFormat::Tiff => tiff::read_tiff_encoding(bytes),
        FileFormat::Bmp | FileFormat::Tga | FileFormat::Ico => SampleEncoding {
            alpha: AlphaMeaning::MaybeUnused,
        },
        _ => SampleEncoding::default(),
    }
}
