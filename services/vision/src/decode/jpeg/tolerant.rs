//! A decoder that is exact about what a file contains, and tolerates damage as libjpeg does.
//!
//! It reads every sampling of the components, decodes all processes that we support at any reduced
//! size, resumes at restart markers, and reports how much of the last scan is there. It is several
//! times slower than the fast decoders, so it decodes only files that they cannot decode, and decides
//! whether a file is complete where that is not obvious.

use image::DynamicImage;

use super::blocks::{self, CoefficientBlock, SpectralBand};
use super::frame::{FORMAT, JpegFrame, ScanHeader};
use super::huffman::{BitReader, CodeTable};
use super::planes::{ColorModel, ComponentPlane, join_planes};
use super::segments::{JpegSegments, START_OF_SCAN};
use crate::decode::{appearance::CmykConverter, deadline::CpuDeadline, limits::Limits};
use crate::error::DecodeError;

/// JpegTables and declarations that are in force at a place of the file.
#[derive(Debug, Default)]
struct JpegTables {
    dc: [Option<CodeTable>; 4],
    ac: [Option<CodeTable>; 4],
    /// In natural order.
    quantization: [Option<[u16; 64]>; 4],
    restart_interval: usize,
    /// The colour transform of an Adobe segment.
    adobe_transform: Option<u8>,
    has_jfif: bool,
}

/// How much of a scan's data is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanExtent {
    /// Units of the scan.
    pub units: usize,
    /// Units up to the last one that is complete.
    pub reached: usize,
    /// Bytes that follow the last unit.
    pub unread_bytes: usize,
}

/// What the decoder makes of the coefficients.
enum BlockOutput {
    /// Only the extent is wanted.
    Nothing,
    /// Blocks become samples at once.
    Planes(Vec<ComponentPlane>),
    /// Blocks are complete only after the last scan.
    Coefficients(Vec<Vec<CoefficientBlock>>),
}

/// The result of a decode.
pub(super) struct TolerantDecode {
    pub image: DynamicImage,
    /// Extent of the last scan.
    pub extent: ScanExtent,
}

/// A decode in progress.
struct TolerantDecoder<'a> {
    frame: &'a JpegFrame,
    tables: JpegTables,
    output: BlockOutput,
    deadline: &'a CpuDeadline<'a>,
}

/// Returns the extent of the last scan. `bytes` ends where its data ends.
pub(super) fn measure_extent(
    bytes: &[u8],
    frame: &JpegFrame,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<ScanExtent, DecodeError> {
    // What a refining scan contains depends on the coefficients of the scans before it.
    let output = match frame.is_progressive {
        true => BlockOutput::Coefficients(Vec::new()),
        false => BlockOutput::Nothing,
    };
    let _permit = deadline.reserve_memory(limits, coefficient_bytes(frame))?;
    TolerantDecoder::new(frame, output, deadline)
        .decode(bytes)
        .map(|(_, extent)| extent)
}

/// Decodes at 1/`reduction` of the size. `bytes` ends where the data of the last scan ends. Four
/// components are converted with the profile of the `inks`, or else by a simple formula.
pub(super) fn decode_tolerantly(
    bytes: &[u8],
    frame: &JpegFrame,
    reduction: usize,
    inks: Option<&CmykConverter>,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<TolerantDecode, DecodeError> {
    frame.check_reduced_size(reduction, limits)?;
    let plane_bytes = |one| ComponentPlane::count_bytes(frame, one, reduction);
    let planes: u64 = frame.components.iter().map(plane_bytes).sum();
    let pixels = (frame.width.div_ceil(reduction) * frame.height.div_ceil(reduction)) as u64;
    let _permit =
        deadline.reserve_memory(limits, planes + 3 * pixels + coefficient_bytes(frame))?;
    let new_planes = || {
        let components = frame.components.iter();
        components
            .map(|one| ComponentPlane::new(frame, one, reduction))
            .collect()
    };
    let output = match frame.is_progressive {
        true => BlockOutput::Coefficients(Vec::new()),
        false => BlockOutput::Planes(new_planes()),
    };
    let (decoder, extent) = TolerantDecoder::new(frame, output, deadline).decode(bytes)?;
    let model = color_model(frame, &decoder.tables);
    let planes = match decoder.output {
        BlockOutput::Planes(planes) => planes,
        BlockOutput::Coefficients(components) => {
            let mut planes: Vec<ComponentPlane> = new_planes();
            for ((blocks, plane), component) in
                components.iter().zip(&mut planes).zip(&frame.components)
            {
                let (across, _) = frame.stored_blocks(component);
                let table = decoder.tables.quantization[component.quantization]
                    .ok_or_else(missing_table)?;
                for (row, blocks) in blocks.chunks(across).enumerate() {
                    check_time(deadline)?;
                    for (column, block) in blocks.iter().enumerate() {
                        plane.put_block((column, row), block, &table);
                    }
                }
            }
            planes
        }
        BlockOutput::Nothing => Vec::new(),
    };
    Ok(TolerantDecode {
        image: join_planes(frame, &planes, model, inks, deadline)?,
        extent,
    })
}

fn coefficient_bytes(frame: &JpegFrame) -> u64 {
    if !frame.is_progressive {
        return 0;
    }
    let blocks = frame.components.iter().map(|one| {
        let (across, down) = frame.stored_blocks(one);
        (across * down) as u64
    });
    blocks.sum::<u64>() * size_of::<CoefficientBlock>() as u64
}

fn missing_table() -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: "it lacks a table that a scan uses".to_owned(),
    }
}

/// Ends the decode after the deadline. The caller replaces the error.
fn check_time(deadline: &CpuDeadline<'_>) -> Result<(), DecodeError> {
    deadline.check_time().map_err(|error| DecodeError::Corrupt {
        format: FORMAT,
        reason: error.to_string(),
    })
}

/// Decides what the components are, as libjpeg does.
fn color_model(frame: &JpegFrame, tables: &JpegTables) -> ColorModel {
    let ids: Vec<u8> = frame.components.iter().map(|one| one.id).collect();
    match (&ids[..], tables.adobe_transform) {
        ([_, _, _, _], transform) => ColorModel::Cmyk {
            is_ycck: transform == Some(2),
        },
        (_, _) if tables.has_jfif => ColorModel::YCbCr,
        (_, Some(0)) | (b"RGB", None) => ColorModel::Rgb,
        _ => ColorModel::YCbCr,
    }
}

impl<'a> TolerantDecoder<'a> {
    fn new(frame: &'a JpegFrame, output: BlockOutput, deadline: &'a CpuDeadline<'a>) -> Self {
        let output = match output {
            BlockOutput::Coefficients(_) => BlockOutput::Coefficients(
                frame
                    .components
                    .iter()
                    .map(|one| {
                        let (across, down) = frame.stored_blocks(one);
                        vec![[0; 64]; across * down]
                    })
                    .collect(),
            ),
            output => output,
        };
        Self {
            frame,
            tables: JpegTables::default(),
            output,
            deadline,
        }
    }

    fn decode(mut self, bytes: &[u8]) -> Result<(Self, ScanExtent), DecodeError> {
        let mut last_extent = None;
        for segment in JpegSegments::new(bytes) {
            match segment.marker {
                0xc4 => self.tables.read_codes(segment.body)?,
                0xdb => self.tables.read_quantization(segment.body),
                0xdd => {
                    let interval = segment
                        .body
                        .first_chunk()
                        .map_or(0, |&two| u16::from_be_bytes(two));
                    self.tables.restart_interval = interval.into();
                }
                0xe0 => self.tables.has_jfif |= segment.body.starts_with(b"JFIF\0"),
                0xee if segment.body.starts_with(b"Adobe") => {
                    self.tables.adobe_transform = segment.body.get(11).copied();
                }
                START_OF_SCAN => {
                    let scan = ScanHeader::parse(segment.body, self.frame)?;
                    last_extent = Some(self.decode_scan(&scan, segment.entropy)?);
                }
                _ => {}
            }
        }
        let extent = last_extent.ok_or_else(|| DecodeError::Truncated {
            format: FORMAT,
            reason: "the file ends before the image begins".to_owned(),
        })?;
        Ok((self, extent))
    }

    /// Decodes a scan, and resumes at the next restart marker where data is missing.
    fn decode_scan(&mut self, scan: &ScanHeader, data: &[u8]) -> Result<ScanExtent, DecodeError> {
        let (across, down) = self.frame.scan_units(scan);
        let units = across * down;
        let interval = self.tables.restart_interval;
        let mut bits = BitReader::new(data);
        let mut predictions = vec![0; scan.components.len()];
        let mut band = SpectralBand {
            first: scan.first,
            last: scan.last,
            low: scan.low,
            empty_blocks: 0,
        };
        let (mut unit, mut reached, mut expected_restart) = (0_usize, 0_usize, 0_u8);
        while unit < units {
            if unit.is_multiple_of(across) {
                check_time(self.deadline)?;
            }
            if interval > 0 && unit > 0 && unit.is_multiple_of(interval) {
                let Some(skipped) = find_restart(&mut bits, expected_restart) else {
                    break;
                };
                // A marker that comes too early means that whole intervals are lost.
                unit += usize::from(skipped) * interval;
                expected_restart = (expected_restart + 1 + skipped) % 8;
                predictions.fill(0);
                band.empty_blocks = 0;
                if unit >= units {
                    break;
                }
            }
            self.decode_unit(
                scan,
                (unit % across, unit / across),
                &mut bits,
                &mut band,
                &mut predictions,
            )?;
            if !bits.is_exhausted() {
                unit += 1;
                reached = unit;
            } else if let Some(intervals) = unit.checked_div(interval) {
                unit = (intervals + 1) * interval;
            } else {
                break;
            }
        }
        Ok(ScanExtent {
            units,
            reached,
            unread_bytes: bits.unread_bytes(),
        })
    }

    fn decode_unit(
        &mut self,
        scan: &ScanHeader,
        (column, row): (usize, usize),
        bits: &mut BitReader<'_>,
        band: &mut SpectralBand,
        predictions: &mut [i32],
    ) -> Result<(), DecodeError> {
        let is_interleaved = scan.components.len() > 1;
        for (&(index, dc, ac), prediction) in scan.components.iter().zip(predictions) {
            let component = self.frame.components[index];
            let (blocks_across, blocks_down) = match is_interleaved {
                true => (component.horizontal, component.vertical),
                false => (1, 1),
            };
            let dc = self.tables.dc[dc].as_ref();
            let ac = self.tables.ac[ac].as_ref();
            let (stored_across, _) = self.frame.stored_blocks(&component);
            for v in 0..blocks_down {
                for h in 0..blocks_across {
                    let place = (column * blocks_across + h, row * blocks_down + v);
                    let mut scratch = [0; 64];
                    let block = match &mut self.output {
                        BlockOutput::Coefficients(components) => {
                            &mut components[index][place.1 * stored_across + place.0]
                        }
                        _ => &mut scratch,
                    };
                    match (self.frame.is_progressive, scan.first, scan.high) {
                        (false, _, _) => {
                            let tables = dc.zip(ac).ok_or_else(missing_table)?;
                            blocks::decode_sequential(bits, tables, prediction, block);
                        }
                        (true, 0, 0) => {
                            let dc = dc.ok_or_else(missing_table)?;
                            blocks::decode_first_dc(bits, dc, prediction, scan.low, block);
                        }
                        (true, 0, _) => blocks::refine_dc(bits, scan.low, block),
                        (true, _, 0) => {
                            band.decode_first(bits, ac.ok_or_else(missing_table)?, block);
                        }
                        (true, _, _) => band.refine(bits, ac.ok_or_else(missing_table)?, block),
                    }
                    if let BlockOutput::Planes(planes) = &mut self.output {
                        let table = &self.tables.quantization[component.quantization];
                        let table = table.as_ref().ok_or_else(missing_table)?;
                        planes[index].put_block(place, &scratch, table);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Moves to the next restart marker that is not a late one. Returns how many intervals are missing
/// before it.
fn find_restart(bits: &mut BitReader<'_>, expected: u8) -> Option<u8> {
    loop {
        let ahead = bits.skip_to_restart()?.wrapping_sub(expected) % 8;
        match ahead {
            0..=2 => return Some(ahead),
            // Neither near before nor near behind: libjpeg takes it for the expected one.
            3..=5 => return Some(0),
            _ => {}
        }
    }
}

impl JpegTables {
    fn read_codes(&mut self, mut body: &[u8]) -> Result<(), DecodeError> {
        while let [kind, rest @ ..] = body {
            let Some((counts, rest)) = rest.split_first_chunk::<16>() else {
                break;
            };
            let length = counts.iter().map(|count| usize::from(*count)).sum();
            let Some((symbols, rest)) = rest.split_at_checked(length) else {
                break;
            };
            let table = CodeTable::new(counts, symbols)?;
            let tables = match kind >> 4 {
                0 => &mut self.dc,
                _ => &mut self.ac,
            };
            tables[usize::from(kind & 3)] = Some(table);
            body = rest;
        }
        Ok(())
    }

    fn read_quantization(&mut self, mut body: &[u8]) {
        while let [kind, rest @ ..] = body {
            let bytes_per_value = if kind >> 4 == 0 { 1 } else { 2 };
            let Some((values, rest)) = rest.split_at_checked(64 * bytes_per_value) else {
                break;
            };
            let mut table = [0; 64];
            for (value, place) in values.chunks_exact(bytes_per_value).zip(blocks::ZIGZAG) {
                table[usize::from(place)] = value
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            }
            self.quantization[usize::from(kind & 3)] = Some(table);
            body = rest;
        }
    }
}
