//! Images as they leave a decoder and as the network takes them.

use image::{DynamicImage, metadata::Orientation};

use crate::decode::encoding::SampleEncoding;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedImage {
    pub width: u32,
    pub height: u32,
    /// 8-bit RGB, row by row from the top: `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

/// The smallest size in pixels to which a decoder may reduce an image.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MinDecodedSize {
    /// The shorter side will be resized to this, for a network. The decoder must leave 1.5 times
    /// as much, because its reduction differs from the antialiasing that networks are trained with:
    /// a 3-megapixel photo reduced to 1.3 times the side kept a cosine of only 0.991.
    ShortSide(u32),
    /// The longer side must not fall below this.
    LongSide(u32),
}

impl MinDecodedSize {
    pub(crate) fn is_met_by(self, width: u32, height: u32) -> bool {
        match self {
            Self::ShortSide(side) => u64::from(width.min(height)) * 2 >= u64::from(side.max(1)) * 3,
            Self::LongSide(side) => width.max(height) >= side.max(1) && width.min(height) >= 1,
        }
    }
}

/// Output of a decoder: possibly reduced, not yet upright.
pub(crate) struct DecoderOutput {
    pub image: DynamicImage,
    /// In the file, before reduction and rotation.
    pub width: u32,
    /// In the file, before reduction and rotation.
    pub height: u32,
    /// The orientation that the format itself states; otherwise the file's metadata decides.
    pub orientation: Option<Orientation>,
    /// The EXIF block of a format whose blocks only its decoder finds.
    pub exif: Option<Vec<u8>>,
    /// How the samples become the colours that people see.
    pub encoding: SampleEncoding,
}
