//! Decodes TIFF: the first page that is not a reduced copy of another.
//!
//! The crate `tiff` reads what cameras and browsers need. Scanners, fax servers, microscopes and print
//! shops write more: palettes, 1 to 32 bits, floating-point numbers, group 3 fax, Zstandard, reversed
//! bits, planes, L*a*b*, subsampled YCbCr. Therefore this reader interprets the tags itself and uses
//! crates for the compressions. All of them are Rust; a C library (libtiff) would add JBIG, LERC,
//! LZMA, SGILog and the rarer kinds of old-style JPEG.

pub(crate) mod directory;

mod fax;

mod compression;
mod layout;
mod samples;

mod colors;
mod exif_block;
mod old_jpeg;
mod page;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::exif_block::build_exif_block;
pub(crate) use self::page::{decode_page, decode_tiff, read_orientation, read_painted_profile};
