//! What a TIFF page's tags say about its pixels, checked for consistency.

use super::compression::{Compression, PicturePlace};
use super::directory::{self as tags, FORMAT, TiffDirectory, TiffEntry, TiffFile};
use crate::error::DecodeError;

/// What the samples of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Photometric {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
    /// CIE L*a*b* with signed a* and b*.
    CieLab,
    /// CIE L*a*b* with a* and b* stored from 0, as ICC profiles do.
    IccLab,
}

impl Photometric {
    /// Samples per pixel that are colours.
    fn color_samples(self) -> usize {
        match self {
            Self::WhiteIsZero | Self::BlackIsZero | Self::Palette => 1,
            Self::Cmyk => 4,
            Self::Rgb | Self::YCbCr | Self::CieLab | Self::IccLab => 3,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SampleKind {
    Unsigned,
    Signed,
    Float,
}

/// Differences that are stored instead of samples, before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Differencing {
    None,
    Horizontal,
    /// Of the bytes of floating-point numbers.
    FloatingPoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlphaSample {
    Straight,
    /// The colours are multiplied by it.
    Premultiplied,
}

/// The layout of a page: its pixels are stored in chunks, which are strips or tiles.
#[derive(Debug, Clone)]
pub(crate) struct PageLayout {
    pub width: u32,
    pub height: u32,
    /// Bits per sample.
    pub bits: u32,
    /// Samples per pixel.
    pub samples: usize,
    /// Samples per pixel that are colours. They come first, then alpha, then others.
    pub color_samples: usize,
    pub alpha: Option<AlphaSample>,
    pub kind: SampleKind,
    pub photometric: Photometric,
    pub compression: Compression,
    pub differencing: Differencing,
    /// The bits of each byte are stored in reverse.
    pub has_reversed_bits: bool,
    /// Each sample has chunks of its own.
    pub is_planar: bool,
    pub chunk_width: u32,
    pub chunk_height: u32,
    /// Most rows of a chunk that is a picture.
    max_picture_rows: u32,
    pub is_tiled: bool,
    /// Horizontal and vertical subsampling of the chroma, unless a codec handles it.
    pub subsampling: (usize, usize),
    offsets: TiffEntry,
    byte_counts: Option<TiffEntry>,
}

fn unsupported(reason: impl Into<String>) -> DecodeError {
    DecodeError::UnsupportedFeature {
        format: FORMAT,
        reason: reason.into(),
    }
}

fn corrupt(reason: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: reason.into(),
    }
}

impl PageLayout {
    pub(crate) fn read(
        file: &TiffFile<'_>,
        directory: &TiffDirectory,
    ) -> Result<Self, DecodeError> {
        let number = |tag| file.tag_number(directory, tag);
        let side = |tag, name: &str| match number(tag) {
            Some(side) => Ok(u32::try_from(side).unwrap_or(u32::MAX)),
            None => Err(corrupt(format!("it does not state its {name}"))),
        };
        let width = side(tags::IMAGE_WIDTH, "width")?;
        let height = side(tags::IMAGE_LENGTH, "height")?;
        let samples = number(tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        if !(1..=64).contains(&samples) {
            return Err(unsupported(format!("{samples} samples per pixel")));
        }
        let samples = samples as usize;
        let bits = read_bits(file, directory)?;
        let kind = read_sample_kind(file, directory)?;
        if kind == SampleKind::Float && !matches!(bits, 16 | 32 | 64) {
            return Err(unsupported(format!(
                "floating-point samples of {bits} bits"
            )));
        }
        let scheme = number(tags::COMPRESSION).unwrap_or(1);
        let t4_options = number(tags::T4_OPTIONS).unwrap_or(0);
        let compression = Compression::from_tags(scheme, t4_options)?;
        let photometric = read_photometric(number(tags::PHOTOMETRIC), samples, compression)?;
        let color_samples = photometric.color_samples();
        if samples < color_samples {
            return Err(corrupt(format!(
                "it has {samples} samples per pixel; its colours need {color_samples}"
            )));
        }
        if photometric == Photometric::Cmyk && number(tags::INK_SET).unwrap_or(1) != 1 {
            return Err(unsupported("inks other than CMYK"));
        }
        let is_planar = samples > 1 && number(tags::PLANAR_CONFIGURATION) == Some(2);
        let mut layout = Self {
            width,
            height,
            bits,
            samples,
            color_samples,
            alpha: read_alpha(file, directory, samples - color_samples),
            kind,
            photometric,
            compression,
            differencing: read_differencing(number(tags::PREDICTOR), kind)?,
            has_reversed_bits: number(tags::FILL_ORDER) == Some(2),
            is_planar,
            chunk_width: width,
            chunk_height: height,
            max_picture_rows: height,
            is_tiled: false,
            subsampling: (1, 1),
            offsets: TiffEntry {
                tag: 0,
                kind: 4,
                count: 0,
                offset: 0,
            },
            byte_counts: None,
        };
        layout.check_palette()?;
        layout.read_chunks(file, directory)?;
        layout.read_subsampling(file, directory)?;
        layout.check_fax()?;
        Ok(layout)
    }

    fn read_chunks(
        &mut self,
        file: &TiffFile<'_>,
        directory: &TiffDirectory,
    ) -> Result<(), DecodeError> {
        let number = |tag| file.tag_number(directory, tag);
        self.is_tiled = directory.find_entry(tags::TILE_OFFSETS).is_some()
            || (number(tags::TILE_WIDTH).is_some()
                && directory.find_entry(tags::STRIP_OFFSETS).is_some());
        let to_side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        if self.is_tiled {
            self.chunk_width = to_side(number(tags::TILE_WIDTH).unwrap_or(0));
            self.chunk_height = to_side(number(tags::TILE_LENGTH).unwrap_or(0));
            self.max_picture_rows = self.chunk_height;
        } else if let Some(rows) = number(tags::ROWS_PER_STRIP) {
            self.chunk_height = to_side(rows).min(self.height);
            // Some writers fill the last strip up; others state a number without a meaning.
            if to_side(rows) <= self.height.saturating_mul(2) {
                self.max_picture_rows = to_side(rows);
            }
        }
        if self.chunk_width == 0 || self.chunk_height == 0 {
            return Err(corrupt("its strips or tiles are empty"));
        }
        let find = |tag, other| {
            directory
                .find_entry(tag)
                .or_else(|| directory.find_entry(other))
                .copied()
        };
        self.offsets = find(tags::TILE_OFFSETS, tags::STRIP_OFFSETS)
            .ok_or_else(|| corrupt("it does not state where its pixels are"))?;
        self.byte_counts = find(tags::TILE_BYTE_COUNTS, tags::STRIP_BYTE_COUNTS);
        if self.offsets.count < self.chunk_count() {
            return Err(corrupt(format!(
                "it has {} strips or tiles; its size needs {}",
                self.offsets.count,
                self.chunk_count()
            )));
        }
        Ok(())
    }

    fn read_subsampling(
        &mut self,
        file: &TiffFile<'_>,
        directory: &TiffDirectory,
    ) -> Result<(), DecodeError> {
        if self.photometric != Photometric::YCbCr || self.compression.stores_pictures() {
            return Ok(());
        }
        let entry = directory.find_entry(tags::YCBCR_SUBSAMPLING);
        let factor = |index| {
            entry
                .and_then(|entry| file.entry_number(entry, index))
                .unwrap_or(2)
        };
        let (horizontal, vertical) = (factor(0), factor(1));
        if !matches!(horizontal, 1 | 2 | 4) || !matches!(vertical, 1 | 2 | 4) {
            return Err(corrupt(format!(
                "its chroma is subsampled {horizontal} x {vertical} times"
            )));
        }
        self.subsampling = (horizontal as usize, vertical as usize);
        let is_plain = self.bits == 8
            && self.samples == 3
            && !self.is_planar
            && self.differencing == Differencing::None;
        if self.subsampling != (1, 1) && !is_plain {
            return Err(unsupported(
                "subsampled chroma in planes, with a predictor, with more than 8 bits, or with alpha",
            ));
        }
        Ok(())
    }

    fn check_palette(&self) -> Result<(), DecodeError> {
        if self.photometric != Photometric::Palette {
            return Ok(());
        }
        let bits = self.bits;
        if self.is_planar && bits > 8 {
            return Err(unsupported("a palette with wide indexes in planes"));
        }
        if self.kind != SampleKind::Unsigned || bits > 16 {
            return Err(unsupported(format!("a palette with {bits}-bit indexes")));
        }
        Ok(())
    }

    fn check_fax(&self) -> Result<(), DecodeError> {
        match self.compression {
            Compression::Fax(_) if self.bits != 1 || (self.samples > 1 && !self.is_planar) => {
                Err(corrupt("fax compression of more than black and white"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn chunks_across(&self) -> u32 {
        self.width.div_ceil(self.chunk_width)
    }

    pub(crate) fn chunks_down(&self) -> u32 {
        self.height.div_ceil(self.chunk_height)
    }

    fn chunk_count(&self) -> u64 {
        let planes = if self.is_planar { self.samples } else { 1 };
        let per_plane = u64::from(self.chunks_across()) * u64::from(self.chunks_down());
        per_plane.saturating_mul(planes as u64)
    }

    /// Returns the place of a chunk that is a picture. Codecs work with blocks of up to 16 pixels.
    pub(crate) fn picture_place(&self) -> PicturePlace {
        let round_up = |side: u32| side.checked_next_multiple_of(16).unwrap_or(side);
        PicturePlace {
            max_width: round_up(self.chunk_width),
            max_height: round_up(self.max_picture_rows),
            max_channels: self.chunk_samples(),
        }
    }

    /// Returns the number of rows that the chunks of a row of chunks store.
    pub(crate) fn stored_rows(&self, row: u32) -> u32 {
        match self.is_tiled {
            true => self.chunk_height,
            false => self.chunk_height.min(self.height - row * self.chunk_height),
        }
    }

    /// Samples per pixel within a chunk.
    pub(crate) fn chunk_samples(&self) -> usize {
        if self.is_planar { 1 } else { self.samples }
    }

    /// Bytes of one row of a chunk, or of one row of blocks of pixels if the chroma is subsampled.
    pub(crate) fn row_bytes(&self) -> u64 {
        let (horizontal, vertical) = self.subsampling;
        if self.subsampling != (1, 1) {
            let blocks = u64::from(self.chunk_width).div_ceil(horizontal as u64);
            return blocks * (horizontal * vertical + 2) as u64;
        }
        let bits = u64::from(self.chunk_width) * self.chunk_samples() as u64 * u64::from(self.bits);
        bits.div_ceil(8)
    }

    /// Bytes of the uncompressed data of a chunk with `rows` rows.
    pub(crate) fn chunk_bytes(&self, rows: u32) -> u64 {
        let rows = u64::from(rows).div_ceil(self.subsampling.1 as u64);
        self.row_bytes().saturating_mul(rows)
    }

    /// Returns the stored bytes of a chunk, as many as there are, and the number that the file
    /// claims.
    pub(crate) fn stored_chunk<'b>(
        &self,
        file: &TiffFile<'b>,
        (across, down): (u32, u32),
        plane: usize,
    ) -> Result<StoredChunk<'b>, DecodeError> {
        let per_plane = u64::from(self.chunks_across()) * u64::from(self.chunks_down());
        let index = plane as u64 * per_plane
            + u64::from(down) * u64::from(self.chunks_across())
            + u64::from(across);
        let offset = file.entry_number(&self.offsets, index).ok_or_else(|| {
            // The list of offsets is behind the end of the file.
            DecodeError::Truncated {
                format: FORMAT,
                reason: "the file ends before its pixels".to_owned(),
            }
        })?;
        let claimed = self
            .byte_counts
            .and_then(|entry| file.entry_number(&entry, index));
        if offset == 0 {
            return Ok(StoredChunk::Missing);
        }
        let all = || file.read_bytes_up_to(offset, u64::MAX);
        Ok(match claimed {
            Some(0) if self.is_tiled => StoredChunk::Missing,
            // Some writers leave the counts out or at zero.
            None | Some(0) => StoredChunk::Data {
                offset,
                bytes: all(),
                is_cut: false,
            },
            Some(count) => {
                let bytes = file.read_bytes_up_to(offset, count);
                StoredChunk::Data {
                    offset,
                    bytes,
                    is_cut: (bytes.len() as u64) < count,
                }
            }
        })
    }
}

pub(crate) enum StoredChunk<'b> {
    /// The file has no data for it: sparse files leave empty tiles out.
    Missing,
    Data {
        offset: u64,
        bytes: &'b [u8],
        /// The file ends within the data.
        is_cut: bool,
    },
}

fn read_bits(file: &TiffFile<'_>, directory: &TiffDirectory) -> Result<u32, DecodeError> {
    let Some(entry) = directory.find_entry(tags::BITS_PER_SAMPLE) else {
        return Ok(1);
    };
    let read = |index| {
        file.entry_number(entry, index)
            .ok_or_else(|| DecodeError::Truncated {
                format: FORMAT,
                reason: "the file ends before its tags".to_owned(),
            })
    };
    let bits = read(0)?;
    for index in 1..entry.count.min(64) {
        if read(index)? != bits {
            return Err(unsupported("samples with different numbers of bits"));
        }
    }
    match bits {
        1..=32 | 64 => Ok(bits as u32),
        _ => Err(unsupported(format!("samples of {bits} bits"))),
    }
}

fn read_sample_kind(
    file: &TiffFile<'_>,
    directory: &TiffDirectory,
) -> Result<SampleKind, DecodeError> {
    match file.tag_number(directory, tags::SAMPLE_FORMAT).unwrap_or(1) {
        // 4 is "undefined": programs write it for masks.
        0 | 1 | 4 => Ok(SampleKind::Unsigned),
        2 => Ok(SampleKind::Signed),
        3 => Ok(SampleKind::Float),
        5 | 6 => Err(unsupported("samples that are complex numbers")),
        other => Err(unsupported(format!("sample format {other}"))),
    }
}

fn read_differencing(
    predictor: Option<u64>,
    kind: SampleKind,
) -> Result<Differencing, DecodeError> {
    match predictor.unwrap_or(1) {
        0 | 1 => Ok(Differencing::None),
        2 => Ok(Differencing::Horizontal),
        3 if kind == SampleKind::Float => Ok(Differencing::FloatingPoint),
        other => Err(unsupported(format!("predictor {other}"))),
    }
}

fn read_photometric(
    value: Option<u64>,
    samples: usize,
    compression: Compression,
) -> Result<Photometric, DecodeError> {
    Ok(match value {
        // Like libtiff, guesses what a file leaves out.
        None if samples >= 3 => Photometric::Rgb,
        None if matches!(compression, Compression::Fax(_)) => Photometric::WhiteIsZero,
        None => Photometric::BlackIsZero,
        Some(0) => Photometric::WhiteIsZero,
        Some(1) => Photometric::BlackIsZero,
        Some(2) if samples >= 3 => Photometric::Rgb,
        // Gray pictures of some scanners.
        Some(2) => Photometric::BlackIsZero,
        Some(3) => Photometric::Palette,
        // A mask: 1 is opaque.
        Some(4) => Photometric::BlackIsZero,
        Some(5) => Photometric::Cmyk,
        Some(6) if samples >= 3 => Photometric::YCbCr,
        Some(6) => Photometric::BlackIsZero,
        Some(8) if samples >= 3 => Photometric::CieLab,
        Some(9) if samples >= 3 => Photometric::IccLab,
        // Only lightness.
        Some(8 | 9) => Photometric::BlackIsZero,
        Some(10) => return Err(unsupported("ITU L*a*b* colours")),
        Some(32803) => return Err(unsupported("the unprocessed pixels of a camera")),
        Some(32844 | 32845) => return Err(unsupported("LogLuv colours")),
        Some(34892) => return Err(unsupported("the linear pixels of a camera")),
        Some(51177) => return Err(unsupported("a depth map")),
        Some(other) => {
            return Err(unsupported(format!(
                "colours of kind {other} (photometric interpretation)"
            )));
        }
    })
}

fn read_alpha(
    file: &TiffFile<'_>,
    directory: &TiffDirectory,
    extra_samples: usize,
) -> Option<AlphaSample> {
    if extra_samples == 0 {
        return None;
    }
    match file.tag_number(directory, tags::EXTRA_SAMPLES) {
        // Programs that leave the tag out mean alpha.
        None => (extra_samples == 1).then_some(AlphaSample::Straight),
        Some(1) => Some(AlphaSample::Premultiplied),
        Some(2) => Some(AlphaSample::Straight),
        Some(_) => None,
    }
}
