//! JPEG files of every sampling, mode and restart interval: their colours are those of libjpeg-turbo,
//! and each is complete or `truncated`, whatever follows its data.
//!
//! `generate.py` writes the files and their expected colours.

use crate::{DecodedImage, Limits, decode_image};

const FILES: &[u8] = include_bytes!("family/family.bin");
const TABLE: &str = include_str!("family/family.tsv");

struct FamilyFile {
    name: &'static str,
    bytes: &'static [u8],
    width: u32,
    height: u32,
    /// Mean colours of the cells of a grid, row by row.
    grid: Vec<[u8; 3]>,
}

fn family() -> Vec<FamilyFile> {
    let mut rest = FILES;
    let parse = |line: &'static str| {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, length, width, height, cells] = fields[..] else {
            panic!("{line}");
        };
        let (bytes, after) = rest.split_at(length.parse().unwrap());
        rest = after;
        let cell =
            |cell: &str| [0, 2, 4].map(|at| u8::from_str_radix(&cell[at..at + 2], 16).unwrap());
        FamilyFile {
            name,
            bytes,
            width: width.parse().unwrap(),
            height: height.parse().unwrap(),
            grid: cells.split(' ').map(cell).collect(),
        }
    };
    TABLE.lines().map(parse).collect()
}

fn decode(bytes: &[u8], short_side: u32) -> Result<DecodedImage, &'static str> {
    decode_image(bytes, short_side, &Limits::default())
        .map(|(image, _)| image)
        .map_err(|error| error.code())
}

/// Returns the mean of the pixels of a part: left, top, right and bottom.
fn mean_of(image: &DecodedImage, [left, top, right, bottom]: [u32; 4]) -> [f64; 3] {
    let mut sums = [0_u64; 3];
    for y in top..bottom {
        for x in left..right {
            let at = (y * image.width + x) as usize * 3;
            for (sum, value) in sums.iter_mut().zip(&image.rgb[at..at + 3]) {
                *sum += u64::from(*value);
            }
        }
    }
    sums.map(|sum| sum as f64 / f64::from((right - left) * (bottom - top)))
}

#[test]
fn colors_are_those_of_libjpeg() {
    let mut wrong = Vec::new();
    for file in family() {
        let short_side = file.width.min(file.height);
        let Ok(image) = decode(file.bytes, short_side) else {
            wrong.push(format!(
                "{}: {:?}",
                file.name,
                decode(file.bytes, short_side)
            ));
            continue;
        };
        assert_eq!(
            (image.width, image.height),
            (file.width, file.height),
            "{}",
            file.name
        );
        let (columns, rows) = (image.width.min(4), image.height.min(4));
        let mut largest = 0.0_f64;
        for (index, expected) in file.grid.iter().enumerate() {
            let (column, row) = (index as u32 % columns, index as u32 / columns);
            let part = [
                column * image.width / columns,
                row * image.height / rows,
                (column + 1) * image.width / columns,
                (row + 1) * image.height / rows,
            ];
            for (mean, expected) in mean_of(&image, part).iter().zip(expected) {
                largest = largest.max((mean - f64::from(*expected)).abs());
            }
        }
        if largest > 6.0 {
            wrong.push(format!("{}: differs by {largest:.1}", file.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns how much a reduced image differs from the averages of squares of the full one.
fn compare_reduced(full: &DecodedImage, reduced: &DecodedImage, reduction: u32) -> f64 {
    let mut sum = 0.0;
    for y in 0..reduced.height {
        for x in 0..reduced.width {
            let square = [
                x * reduction,
                y * reduction,
                ((x + 1) * reduction).min(full.width),
                ((y + 1) * reduction).min(full.height),
            ];
            let pixel = mean_of(reduced, [x, y, x + 1, y + 1]);
            let expected = mean_of(full, square);
            sum += pixel
                .iter()
                .zip(expected)
                .map(|(a, b)| (a - b).abs())
                .sum::<f64>()
                / 3.0;
        }
    }
    sum / f64::from(reduced.width * reduced.height)
}

#[test]
fn reduced_images_are_averages_of_full_ones() {
    let mut wrong = Vec::new();
    let mut reduced_files = 0;
    // The colours of smaller files change too much from one sample of chroma to the next.
    // Four components are decoded at full size, because only the slow decoder can reduce them.
    let is_tested = |file: &&FamilyFile| {
        let mut four = ["cmyk", "ycck"].iter();
        file.width.min(file.height) > 30 && !four.any(|name| file.name.starts_with(name))
    };
    for file in family().iter().filter(is_tested) {
        let short_side = file.width.min(file.height);
        let full = decode(file.bytes, short_side).unwrap();
        for reduction in [2, 4] {
            // One and a half times this is what the reduced image must keep.
            let reduced = decode(file.bytes, short_side / reduction * 2 / 3).unwrap();
            let size = (
                file.width.div_ceil(reduction),
                file.height.div_ceil(reduction),
            );
            assert_eq!((reduced.width, reduced.height), size, "{}", file.name);
            reduced_files += 1;
            let mean = compare_reduced(&full, &reduced, reduction);
            // Chroma of a quarter of the size has few samples left.
            if mean > 8.0 {
                wrong.push(format!(
                    "{} by {reduction}: differs by {mean:.1}",
                    file.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(reduced_files > 50, "{reduced_files}");
}

/// Returns where the compressed data of the last scan begins and ends.
fn last_scan(bytes: &[u8]) -> (usize, usize) {
    let begin = bytes
        .windows(2)
        .rposition(|two| two == [0xff, 0xda])
        .unwrap();
    let header = usize::from(u16::from_be_bytes([bytes[begin + 2], bytes[begin + 3]]));
    (begin + 2 + header, bytes.len() - 2)
}

#[test]
fn a_file_with_its_last_block_is_complete() {
    let other = family().pop().unwrap().bytes;
    for file in family() {
        let data = &file.bytes[..file.bytes.len() - 2];
        for short_side in [file.width.min(file.height), 1] {
            let whole = decode(file.bytes, short_side).unwrap();
            for (end, name) in [
                (Vec::new(), "nothing"),
                (vec![0xff], "half an end marker"),
                (vec![0; 4096], "zeros"),
                (vec![0xff; 700], "fill bytes"),
                (other.to_vec(), "another image"),
                ([&[0; 100][..], other].concat(), "zeros and another image"),
                (
                    [&[0xff, 0xd9][..], other].concat(),
                    "an end marker and another image",
                ),
                (
                    [&[0xff, 0xd9][..], &[0; 999]].concat(),
                    "an end marker and zeros",
                ),
                (
                    [&[0xff, 0xd9][..], b"maker's data"].concat(),
                    "an end marker and text",
                ),
            ] {
                let image = decode(&[data, &end].concat(), short_side);
                assert_eq!(image.as_ref(), Ok(&whole), "{} then {name}", file.name);
            }
        }
    }
}

#[test]
fn a_file_without_its_last_blocks_is_truncated() {
    let other = family().pop().unwrap().bytes;
    let mut wrong = Vec::new();
    for file in family() {
        let (begin, end) = last_scan(file.bytes);
        // A scan that only refines values has no codes, and little of it may be missing.
        if end - begin < 40 {
            continue;
        }
        for length in [
            begin + 1,
            begin + (end - begin) / 3,
            begin + (end - begin) * 7 / 10,
        ] {
            // Cut between a byte of ones and its stuffing, what follows would be data.
            let length = length + usize::from(file.bytes[length - 1] == 0xff);
            let data = &file.bytes[..length];
            for (end, name) in [
                (Vec::new(), "nothing"),
                (vec![0; 4096], "zeros"),
                (vec![0xff, 0xd9], "an end marker"),
                (other.to_vec(), "another image"),
                ([&[0; 200][..], other].concat(), "zeros and another image"),
                (
                    [&[0; 200][..], &[0xff, 0xd9]].concat(),
                    "zeros and an end marker",
                ),
                (
                    [&[0xff, 0xd9][..], other].concat(),
                    "an end marker and another image",
                ),
            ] {
                // Two zeros, which can be data, may be all that a tiny image needs.
                if name.starts_with("zeros") && file.width * file.height < 500 {
                    continue;
                }
                for short_side in [file.width.min(file.height), 1] {
                    let outcome = decode(&[data, &end].concat(), short_side).map(|_| "fine");
                    if outcome != Err("truncated") {
                        wrong.push(format!(
                            "{} at {length} then {name}, {short_side}: {outcome:?}",
                            file.name
                        ));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        family().len(),
        wrong.join("\n")
    );
}

#[test]
fn a_progressive_file_needs_all_its_scans() {
    let progressive = family()
        .into_iter()
        .filter(|file| file.name.contains("progressive") && file.width.min(file.height) > 30);
    let mut files = 0;
    for file in progressive {
        let (begin, _) = last_scan(file.bytes);
        // The scan before the last one is complete, and the last one has not begun.
        let scan = file.bytes[..begin]
            .windows(2)
            .rposition(|two| two == [0xff, 0xda])
            .unwrap();
        let tables = file.bytes[..scan]
            .windows(2)
            .rposition(|two| two == [0xff, 0xc4]);
        let data = &file.bytes[..tables.filter(|at| *at + 300 > scan).unwrap_or(scan)];
        let short_side = file.width.min(file.height);
        assert_eq!(decode(data, short_side), Err("truncated"), "{}", file.name);
        // With an end marker, the program that wrote the file wanted no further scans.
        let ended = [data, &[0xff, 0xd9]].concat();
        let image = decode(&ended, short_side).unwrap();
        let whole = decode(file.bytes, short_side).unwrap();
        let everything = [0, 0, file.width, file.height];
        for (mean, expected) in mean_of(&image, everything)
            .iter()
            .zip(mean_of(&whole, everything))
        {
            assert!((mean - expected).abs() < 4.0, "{}", file.name);
        }
        files += 1;
    }
    assert!(files > 5, "{files}");
}

/// Damage inside the data is no reason to reject a picture, but a lost end is.
#[test]
fn a_lost_restart_interval_is_damage() {
    let pixels = (0..256 * 256_u32).flat_map(|at| {
        let (x, y) = (at % 256, at / 256);
        [x as u8, y as u8, (x * 7 + y * 3) as u8]
    });
    let file = crate::encode::encode_jpeg(&pixels.collect::<Vec<_>>(), 256, 256, 90);
    let whole = decode(&file, 256).unwrap();
    // Changes a few bytes in the middle of the data.
    let (begin, end) = last_scan(&file);
    let mut damaged = file.clone();
    for byte in &mut damaged[(begin + end) / 2..][..3] {
        *byte ^= 0x55;
    }
    let image = decode(&damaged, 256).unwrap();
    let upper = [0, 0, 256, 100];
    for (mean, expected) in mean_of(&image, upper).iter().zip(mean_of(&whole, upper)) {
        assert!((mean - expected).abs() < 1.0);
    }
}

#[test]
fn unsupported_processes_are_named() {
    let reason = |marker: u8, precision: u8| {
        let mut file = FILES[..family()[0].bytes.len()].to_vec();
        let frame = file.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        file[frame + 1] = marker;
        file[frame + 4] = precision;
        let error = decode_image(&file, 1, &Limits::default()).unwrap_err();
        assert_eq!(error.code(), "unsupported_feature", "{error}");
        error.to_string()
    };
    assert!(reason(0xc1, 12).ends_with("it has 12 bits per sample, not 8"));
    assert!(reason(0xc9, 8).ends_with("it uses arithmetic coding"));
    assert!(reason(0xc5, 8).ends_with("it is hierarchical"));
}
