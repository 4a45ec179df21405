//! Decodes a page of a TIFF file.

use std::borrow::Cow;
use std::collections::HashSet;

use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage, metadata::Orientation};

use super::{
    colors::RowPainter,
    compression::{
        ChunkPicture, ChunkRequest, Compression, JpegColors, PicturePlace, decode_jpeg_chunk,
        decode_webp_chunk, decompress,
    },
    directory::{self as tags, FORMAT, TiffDirectory, TiffFile},
    exif_block::build_exif_block,
    layout::{PageLayout, Photometric, StoredChunk},
    old_jpeg::{decode_whole_jpeg, find_whole_jpeg},
    samples::{SampleRange, SampleReader, expand_blocks},
};
use crate::decode::{
    appearance::{CmykConverter, MAX_PROFILE_BYTES},
    deadline::CpuDeadline,
    decoded::DecoderOutput,
    encoding::{AlphaMeaning, SampleEncoding, SourceProfile},
    limits::{DecodeClaim, Limits},
};
use crate::error::DecodeError;

/// Most pages that are looked at to find one that is not a reduced copy.
const MAX_PAGES: usize = 1024;
/// Rows between two checks of the deadline.
const ROWS_PER_CHECK: u32 = 64;
const MAX_JPEG_TABLE_BYTES: u64 = 64 << 10;

/// Decodes a TIFF file, not yet upright.
pub(crate) fn decode_tiff(
    bytes: &[u8],
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let file = TiffFile::open(bytes).ok_or_else(|| DecodeError::Corrupt {
        format: FORMAT,
        reason: "its header is damaged".to_owned(),
    })?;
    let directory = find_first_page(&file, deadline)?;
    let image = decode_page(&file, &directory, limits, deadline).map_err(|error| match error {
        DecodeError::Corrupt { format, reason } if directory.is_cut => {
            DecodeError::Truncated { format, reason }
        }
        error => error,
    })?;
    Ok(DecoderOutput {
        width: image.width(),
        height: image.height(),
        image,
        // The attributes decide, which are read from the block: XMP can have it, too.
        orientation: None,
        exif: Some(build_exif_block(&file, &[&directory])),
        encoding: SampleEncoding {
            profile: read_painted_profile(&file, &directory),
            alpha: match directory.find_entry(tags::EXTRA_SAMPLES) {
                Some(_) => AlphaMeaning::Straight,
                None => AlphaMeaning::MaybeUnused,
            },
        },
    })
}

fn read_profile(file: &TiffFile<'_>, directory: &TiffDirectory) -> SourceProfile {
    let profile = file.tag_bytes(directory, tags::ICC_PROFILE, MAX_PROFILE_BYTES as u64);
    profile.map_or(SourceProfile::Srgb, |profile| {
        SourceProfile::Icc(profile.to_vec())
    })
}

/// Returns the profile of a painted page. CMYK and L*a*b* are painted as sRGB, so the profile, which
/// describes the stored samples, no longer applies.
pub(crate) fn read_painted_profile(
    file: &TiffFile<'_>,
    directory: &TiffDirectory,
) -> SourceProfile {
    match file.tag_number(directory, tags::PHOTOMETRIC) {
        Some(5 | 8 | 9) => SourceProfile::Srgb,
        _ => read_profile(file, directory),
    }
}

pub(crate) fn read_orientation(
    file: &TiffFile<'_>,
    directory: &TiffDirectory,
) -> Option<Orientation> {
    file.tag_number(directory, tags::ORIENTATION)
        .and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?))
}

/// Returns whether a directory describes a reduced copy or a mask of another picture.
pub(crate) fn is_reduced_copy(file: &TiffFile<'_>, directory: &TiffDirectory) -> bool {
    match file.tag_number(directory, tags::NEW_SUBFILE_TYPE) {
        Some(kind) => kind & 0b101 != 0,
        None => file.tag_number(directory, tags::SUBFILE_TYPE) == Some(2),
    }
}

/// Returns the first page that is not a reduced copy, or else the widest.
fn find_first_page(
    file: &TiffFile<'_>,
    deadline: &CpuDeadline<'_>,
) -> Result<TiffDirectory, DecodeError> {
    let mut offset = file.first_directory_offset().unwrap_or(0);
    let mut seen = HashSet::new();
    let mut widest: Option<(u64, TiffDirectory)> = None;
    while offset != 0 && seen.len() < MAX_PAGES && seen.insert(offset) {
        deadline.check()?;
        let Some(directory) = file.read_directory(offset) else {
            break;
        };
        offset = directory.next;
        let Some(width) = file.tag_number(&directory, tags::IMAGE_WIDTH) else {
            continue;
        };
        if !is_reduced_copy(file, &directory) {
            return Ok(directory);
        }
        if widest.as_ref().is_none_or(|(known, _)| *known < width) {
            widest = Some((width, directory));
        }
    }
    widest.map(|(_, directory)| directory).ok_or_else(|| {
        // Most programs write the directory last, so a truncated or preallocated file has none.
        DecodeError::Truncated {
            format: FORMAT,
            reason: "it has no directory of an image".to_owned(),
        }
    })
}

/// Decodes the page that a directory describes.
pub(crate) fn decode_page(
    file: &TiffFile<'_>,
    directory: &TiffDirectory,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    if let Some(jpeg) = find_whole_jpeg(file, directory) {
        return decode_whole_jpeg(jpeg, file, directory, limits, deadline);
    }
    let layout = PageLayout::read(file, directory)?;
    let painter = RowPainter::new(file, directory, &layout)?;
    let channels = painter.channels();
    let inks = match layout.photometric {
        Photometric::Cmyk => CmykConverter::open(&read_profile(file, directory)),
        _ => None,
    };
    let page = Page {
        file,
        layout: &layout,
        inks,
        jpeg_tables: file.tag_bytes(directory, tags::JPEG_TABLES, MAX_JPEG_TABLE_BYTES),
        limits,
        deadline,
    };
    let pixels = u64::from(layout.width) * u64::from(layout.height);
    // The pixels, once more as RGB, and what the chunks of one place need.
    let pixel_bytes = match channels {
        3 => pixels.saturating_mul(3),
        _ => pixels.saturating_mul(channels as u64 + 4),
    };
    let needed_bytes = pixel_bytes.saturating_add(page.chunk_memory());
    let claim = DecodeClaim {
        width: layout.width,
        height: layout.height,
        kept_pixels: pixels,
        needed_bytes,
    };
    limits.check_claim(FORMAT, &claim)?;
    let _permit = deadline.reserve_memory(limits, needed_bytes)?;
    let range = match layout.needs_range() {
        true => SampleRange::from_tags(file, directory)
            .map_or_else(|| page.measure_range(), Ok)?
            .to_display(layout.kind, layout.bits),
        false => SampleRange::EMPTY,
    };
    let mut image = vec![0; usize::try_from(pixels).unwrap_or(usize::MAX) * channels];
    page.paint(&painter, range, &mut image)?;
    let (width, height) = (layout.width, layout.height);
    Ok(match channels {
        1 => GrayImage::from_raw(width, height, image).map(DynamicImage::ImageLuma8),
        2 => GrayAlphaImage::from_raw(width, height, image).map(DynamicImage::ImageLumaA8),
        4 => RgbaImage::from_raw(width, height, image).map(DynamicImage::ImageRgba8),
        _ => RgbImage::from_raw(width, height, image).map(DynamicImage::ImageRgb8),
    }
    .expect("the buffer was allocated for this size"))
}

struct Page<'a, 'b> {
    file: &'a TiffFile<'b>,
    layout: &'a PageLayout,
    /// Converts CMYK with the profile of the file.
    inks: Option<CmykConverter>,
    jpeg_tables: Option<&'b [u8]>,
    limits: &'a Limits,
    deadline: &'a CpuDeadline<'a>,
}

/// The decompressed content of the chunks at one place of a page.
enum ChunkContent<'b> {
    /// A sparse file has none.
    Missing,
    /// Rows of each plane, as stored.
    Planes(Vec<Cow<'b, [u8]>>),
    /// Samples of 8 bits, interleaved.
    Samples {
        samples: Vec<u8>,
        width: usize,
        samples_per_pixel: usize,
        /// The codec has converted YCbCr.
        is_rgb: bool,
    },
}

impl<'b> Page<'_, 'b> {
    fn planes(&self) -> usize {
        if self.layout.is_planar {
            self.layout.samples
        } else {
            1
        }
    }

    /// Returns the bytes that the chunks at one place need.
    fn chunk_memory(&self) -> u64 {
        let layout = self.layout;
        let chunk = match layout.compression.stores_pictures() {
            true => layout.picture_place().bytes(),
            false => layout.chunk_bytes(layout.stored_rows(0)),
        };
        let decompressed = match layout.compression {
            Compression::None => 0,
            // The pictures of the planes are joined into one more copy.
            compression if compression.stores_pictures() && layout.is_planar => chunk
                .saturating_mul(2 * self.planes() as u64)
                .saturating_add(compression.decoder_bytes(chunk)),
            compression => chunk
                .saturating_mul(self.planes() as u64)
                .saturating_add(compression.decoder_bytes(chunk)),
        };
        let expanded = match layout.subsampling {
            (1, 1) => 0,
            _ => u64::from(layout.chunk_width)
                .saturating_mul(u64::from(layout.stored_rows(0)))
                .saturating_mul(3),
        };
        // Rows are read as numbers of 64 bits.
        let row = u64::from(layout.chunk_width).saturating_mul(layout.samples as u64 * 12);
        decompressed.saturating_add(expanded).saturating_add(row)
    }

    fn read_chunk(&self, place: (u32, u32)) -> Result<ChunkContent<'b>, DecodeError> {
        self.deadline.check()?;
        if self.layout.compression.stores_pictures() {
            return self.read_pictures(place);
        }
        let layout = self.layout;
        let rows = layout.stored_rows(place.1);
        let bytes = usize::try_from(layout.chunk_bytes(rows)).unwrap_or(usize::MAX);
        let mut planes = Vec::with_capacity(self.planes());
        for plane in 0..self.planes() {
            let StoredChunk::Data {
                offset,
                bytes: stored,
                is_cut,
            } = layout.stored_chunk(self.file, place, plane)?
            else {
                return self.accept_missing();
            };
            let mut stored = Cow::Borrowed(match layout.compression {
                // The size is known, and some programs write a wrong count.
                Compression::None => self.file.read_bytes_up_to(offset, bytes as u64),
                _ => stored,
            });
            if layout.has_reversed_bits {
                stored = Cow::Owned(stored.iter().map(|byte| byte.reverse_bits()).collect());
            }
            let request = ChunkRequest {
                compression: layout.compression,
                width: layout.chunk_width as usize * layout.chunk_samples(),
                rows: rows as usize,
                bytes,
                is_cut,
                deadline: self.deadline,
            };
            planes.push(match stored {
                Cow::Borrowed(stored) => decompress(stored, &request)?,
                Cow::Owned(stored) => Cow::Owned(decompress(&stored, &request)?.into_owned()),
            });
        }
        if layout.subsampling == (1, 1) {
            return Ok(ChunkContent::Planes(planes));
        }
        let size = (layout.chunk_width as usize, rows as usize);
        Ok(ChunkContent::Samples {
            samples: expand_blocks(&planes[0], size, layout.subsampling),
            width: size.0,
            samples_per_pixel: 3,
            is_rgb: false,
        })
    }

    /// Tiles may be missing in a sparse file; strips are missing if a program died.
    fn accept_missing(&self) -> Result<ChunkContent<'b>, DecodeError> {
        match self.layout.is_tiled {
            true => Ok(ChunkContent::Missing),
            false => Err(DecodeError::Truncated {
                format: FORMAT,
                reason: "a strip was never written".to_owned(),
            }),
        }
    }

    fn read_pictures(&self, place: (u32, u32)) -> Result<ChunkContent<'b>, DecodeError> {
        let layout = self.layout;
        let picture_place = layout.picture_place();
        let mut pictures = Vec::with_capacity(self.planes());
        for plane in 0..self.planes() {
            let StoredChunk::Data { bytes: stored, .. } =
                layout.stored_chunk(self.file, place, plane)?
            else {
                return self.accept_missing();
            };
            pictures.push(match layout.compression {
                Compression::WebP => decode_webp_chunk(
                    stored,
                    layout.samples == 4,
                    picture_place,
                    self.limits,
                    self.deadline,
                )?,
                _ => self.decode_jpeg(stored, picture_place)?,
            });
        }
        let visible = (
            layout
                .chunk_width
                .min(layout.width - place.0 * layout.chunk_width),
            layout
                .chunk_height
                .min(layout.height - place.1 * layout.chunk_height),
        );
        let fits = |picture: &ChunkPicture| {
            picture.width >= visible.0
                && picture.height >= visible.1
                && picture.width == pictures[0].width
                && picture.channels == layout.chunk_samples()
        };
        if !pictures.iter().all(fits) {
            return Err(DecodeError::Corrupt {
                format: FORMAT,
                reason: "a strip or tile has another size or number of colours than the page"
                    .to_owned(),
            });
        }
        let width = pictures[0].width as usize;
        if pictures.len() > 1 {
            let planes: Vec<_> = pictures
                .iter()
                .map(|picture| &picture.samples[..])
                .collect();
            let shortest = planes.iter().map(|plane| plane.len()).min().unwrap_or(0);
            let samples = (0..shortest)
                .flat_map(|index| planes.iter().map(move |plane| plane[index]))
                .collect();
            return Ok(ChunkContent::Samples {
                samples,
                width,
                samples_per_pixel: planes.len(),
                is_rgb: false,
            });
        }
        let picture = pictures.swap_remove(0);
        Ok(ChunkContent::Samples {
            is_rgb: layout.compression == Compression::WebP
                || (layout.photometric == Photometric::YCbCr && picture.channels == 3),
            width,
            samples_per_pixel: picture.channels,
            samples: picture.samples,
        })
    }

    fn decode_jpeg(&self, stored: &[u8], place: PicturePlace) -> Result<ChunkPicture, DecodeError> {
        let colors = match self.layout.photometric {
            Photometric::YCbCr => JpegColors::YCbCr,
            _ => JpegColors::Unchanged,
        };
        decode_jpeg_chunk(
            self.jpeg_tables,
            stored,
            colors,
            place,
            self.limits,
            self.deadline,
        )
    }

    fn places(&self) -> impl Iterator<Item = (u32, u32)> {
        let across = self.layout.chunks_across();
        (0..self.layout.chunks_down())
            .flat_map(move |down| (0..across).map(move |across| (across, down)))
    }

    /// Returns the range of the colours of the whole page.
    fn measure_range(&self) -> Result<SampleRange, DecodeError> {
        let mut range = SampleRange::EMPTY;
        let mut reader = SampleReader::new(self.layout, self.file.is_little_endian);
        let row_bytes = self.layout.row_bytes() as usize;
        for place in self.places() {
            let ChunkContent::Planes(planes) = self.read_chunk(place)? else {
                continue;
            };
            for plane in planes.iter().take(self.layout.color_samples) {
                for row in plane.chunks_exact(row_bytes) {
                    reader.measure_row(row, &mut range);
                }
            }
        }
        Ok(range)
    }

    fn paint(
        &self,
        painter: &RowPainter,
        range: SampleRange,
        image: &mut [u8],
    ) -> Result<(), DecodeError> {
        let layout = self.layout;
        let channels = painter.channels();
        let image_width = layout.width as usize;
        let mut reader = SampleReader::new(layout, self.file.is_little_endian);
        let mut row_samples = Vec::new();
        for place in self.places() {
            let content = self.read_chunk(place)?;
            let left = (place.0 * layout.chunk_width) as usize;
            let top = place.1 * layout.chunk_height;
            let columns = (layout.chunk_width as usize).min(image_width - left);
            for row in 0..layout.chunk_height.min(layout.height - top) {
                if row % ROWS_PER_CHECK == 0 {
                    self.deadline.check()?;
                }
                let begin = ((top + row) as usize * image_width + left) * channels;
                let target = &mut image[begin..begin + columns * channels];
                match &content {
                    ChunkContent::Missing => target.fill(0),
                    ChunkContent::Planes(planes) => {
                        self.read_row(planes, row as usize, &mut reader, range, &mut row_samples);
                        painter.paint_row(&row_samples, layout.samples, false, target);
                        self.paint_inks(&row_samples, layout.samples, channels, target)?;
                    }
                    ChunkContent::Samples {
                        samples,
                        width,
                        samples_per_pixel,
                        is_rgb,
                    } => {
                        let row_length = width * samples_per_pixel;
                        let row = &samples[row as usize * row_length..][..row_length];
                        painter.paint_row(row, *samples_per_pixel, *is_rgb, target);
                        self.paint_inks(row, *samples_per_pixel, channels, target)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Replaces the colours of a row by what the profile of its inks says.
    fn paint_inks(
        &self,
        samples: &[u8],
        samples_per_pixel: usize,
        channels: usize,
        target: &mut [u8],
    ) -> Result<(), DecodeError> {
        let Some(converter) = &self.inks else {
            return Ok(());
        };
        let inks: Vec<u8> = samples
            .chunks_exact(samples_per_pixel)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], pixel[3]])
            .collect();
        let rgb = converter.convert_to_srgb(&inks, self.deadline)?;
        for (color, target) in rgb.chunks_exact(3).zip(target.chunks_exact_mut(channels)) {
            target[..3].copy_from_slice(color);
        }
        Ok(())
    }

    /// Reads a row of all planes as interleaved samples.
    fn read_row(
        &self,
        planes: &[Cow<'_, [u8]>],
        row: usize,
        reader: &mut SampleReader<'_>,
        range: SampleRange,
        samples: &mut Vec<u8>,
    ) {
        let row_bytes = self.layout.row_bytes() as usize;
        samples.clear();
        for plane in planes {
            reader.append_row(&plane[row * row_bytes..][..row_bytes], range, samples);
        }
        if planes.len() > 1 {
            let plane_length = samples.len() / planes.len();
            let separate = std::mem::take(samples);
            for index in 0..plane_length {
                samples
                    .extend((0..planes.len()).map(|plane| separate[plane * plane_length + index]));
            }
        }
    }
}
