//! `generate`: writes any number of photo-like JPEG files, the same for the same seed.
//!
//! Pictures are assigned to the scene families in turn and painted on all cores. Each file is written
//! under a temporary name and renamed when complete, so a watched folder never shows half a picture.

use std::fs;
use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use lookalike_chassis::stdio;
use lookalike_painter::paint::random::{Random, scramble_bits};
use lookalike_painter::picture::{MAX_SIDE, PictureSpec};
use lookalike_painter::scenes::{FAMILIES, SceneFamily};

const FILES_PER_FOLDER: u64 = 1000;

/// Limit of one picture: each thread uses less than about a gigabyte of memory.
const MAX_PIXELS: u64 = 250_000_000;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Paint photo-like pictures as JPEG files.
///
/// The pictures are rendered, not photographed: still lifes, landscapes, patterns and objects in families whose members
/// look alike. They have the grain, gradients and file sizes of camera pictures, so reading and decoding them costs as
/// much as with photos. The same seed gives the same files, byte for byte, on every machine; picture 7 of 10 is the same
/// as picture 7 of 1,000,000.
///
/// Files are named GROUP/NNNN/FAMILY-NNNNNNN.jpg below the output folder, with a thousand numbers per NNNN folder.
/// Existing files of the same name are replaced; other files are kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest generate --out /tmp/pictures --count 10000
  lookalike-loadtest generate --out /tmp/camera --count 200 --megapixels 12
  lookalike-loadtest generate --out /tmp/cats --count 50 --families cat --width 640 --height 480

Exit codes: 0 all pictures written, 1 failed, 2 wrong usage.")]
pub struct GenerateArguments {
    /// Folder to write to; created if missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Number of pictures.
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u64,

    /// Seed of the pictures; another seed gives other pictures.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Width in pixels.
    #[arg(long, value_name = "W", default_value = "800", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SIDE)))]
    width: u32,

    /// Height in pixels.
    #[arg(long, value_name = "H", default_value = "600", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SIDE)))]
    height: u32,

    /// Size in millions of pixels instead, 4:3 with every fifth picture upright, as from a camera.
    #[arg(long, value_name = "M", conflicts_with_all = ["width", "height"], value_parser = parse_megapixels)]
    megapixels: Option<f64>,

    /// JPEG quality.
    #[arg(long, value_name = "Q", default_value_t = 85, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,

    /// Strength of the film grain, 0 for none; it varies between pictures. More grain makes larger files.
    #[arg(long, value_name = "G", default_value_t = 14.0, value_parser = parse_grain)]
    grain: f32,

    /// Write progressive JPEG files, which take longer to decode.
    #[arg(long)]
    progressive: bool,

    /// Paint only these families, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = family_names())]
    families: Vec<String>,

    /// Number of pictures to paint at once [default: one per core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,

    /// Write the sample pictures of lookalike instead.
    #[arg(long, conflicts_with_all = ["count", "seed", "width", "height", "megapixels", "quality", "grain", "progressive", "families"])]
    sample_set: bool,
}

fn family_names() -> PossibleValuesParser {
    PossibleValuesParser::new(FAMILIES.map(|family| family.name))
}

fn parse_megapixels(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let limit = MAX_PIXELS as f64 / 1e6;
    if value >= 0.001 && value <= limit {
        Ok(value)
    } else {
        Err(format!("must be between 0.001 and {limit}"))
    }
}

fn parse_grain(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&value) {
        Ok(value)
    } else {
        Err("must be between 0 and 100".to_owned())
    }
}

#[derive(Debug, Clone, Copy)]
pub struct GenerateSummary {
    pub files: u64,
    /// Total size in bytes.
    pub bytes: u64,
    pub elapsed: Duration,
}

/// Writes the pictures and prints a summary.
pub fn run(arguments: &GenerateArguments) -> anyhow::Result<()> {
    let threads = arguments.threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        |threads| threads.get() as usize,
    );
    let summary = if arguments.sample_set {
        let samples = lookalike_painter::sample_set::sample_pictures();
        write_pictures(&arguments.out, samples.len() as u64, threads, |number| {
            let sample = &samples[number as usize];
            (sample.path.clone(), sample.picture)
        })?
    } else {
        let pixels = u64::from(arguments.width) * u64::from(arguments.height);
        anyhow::ensure!(
            pixels <= MAX_PIXELS,
            "{}×{} exceeds {} megapixels; choose a smaller size",
            arguments.width,
            arguments.height,
            MAX_PIXELS / 1_000_000
        );
        let families = select_families(&arguments.families);
        write_pictures(&arguments.out, arguments.count, threads, |number| {
            plan_picture(arguments, &families, number)
        })?
    };
    let seconds = summary.elapsed.as_secs_f64().max(1e-9);
    stdio::write_line(&format!(
        "{} pictures, {:.1} MB, in {:.1} s: {:.1} images/s, {:.0} kB each, in {}",
        summary.files,
        summary.bytes as f64 / 1e6,
        seconds,
        summary.files as f64 / seconds,
        summary.bytes as f64 / 1e3 / summary.files.max(1) as f64,
        arguments.out.display()
    ))?;
    Ok(())
}

/// Paints `count` pictures of one size, with the default settings, on all cores.
pub fn paint_pictures(
    out: &Path,
    count: u64,
    [width, height]: [u32; 2],
    seed: u64,
) -> anyhow::Result<()> {
    let arguments = GenerateArguments {
        out: out.to_owned(),
        count,
        seed,
        width,
        height,
        megapixels: None,
        quality: 85,
        grain: 14.0,
        progressive: false,
        families: Vec::new(),
        threads: None,
        sample_set: false,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let families = select_families(&[]);
    write_pictures(out, count, threads, |number| {
        plan_picture(&arguments, &families, number)
    })?;
    Ok(())
}

fn select_families(names: &[String]) -> Vec<&'static SceneFamily> {
    FAMILIES
        .iter()
        .filter(|family| names.is_empty() || names.iter().any(|name| name == family.name))
        .collect()
}

/// Returns path and description of picture `number`, counted from zero.
fn plan_picture(
    arguments: &GenerateArguments,
    families: &[&'static SceneFamily],
    number: u64,
) -> (String, PictureSpec) {
    let family = families[(number % families.len() as u64) as usize];
    let (width, height) = match arguments.megapixels {
        Some(millions) => camera_size(millions, number % 5 == 4),
        None => (arguments.width, arguments.height),
    };
    let seed = scramble_bits(arguments.seed) ^ scramble_bits(number.wrapping_add(1));
    let picture = PictureSpec {
        family,
        seed,
        width,
        height,
        grain: arguments.grain * Random::new(seed, 0).float_between(0.75, 1.75),
        quality: arguments.quality,
        progressive: arguments.progressive,
    };
    let path = format!(
        "{}/{:04}/{}-{number:07}.jpg",
        family.group,
        number / FILES_PER_FOLDER,
        family.name
    );
    (path, picture)
}

/// Returns a 4:3 width and height of about `millions` of pixels; 12 gives 4000×3000.
fn camera_size(millions: f64, upright: bool) -> (u32, u32) {
    let unit = (millions * 1e6 / 12.0).sqrt();
    let (long, short) = ((4.0 * unit).round() as u32, (3.0 * unit).round() as u32);
    if upright {
        (short, long)
    } else {
        (long, short)
    }
}

/// Paints and writes pictures `0..count` on `threads` threads. The first error stops all of them.
fn write_pictures(
    out: &Path,
    count: u64,
    threads: usize,
    plan: impl Fn(u64) -> (String, PictureSpec) + Sync,
) -> anyhow::Result<GenerateSummary> {
    let start = Instant::now();
    let (next, files, bytes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let last_shown = Mutex::new(start);
    let paint_next = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let (path, picture) = plan(number);
            match write_picture(&out.join(path), &picture) {
                Ok(size) => {
                    bytes.fetch_add(size, Ordering::Relaxed);
                    let done = files.fetch_add(1, Ordering::Relaxed) + 1;
                    show_progress(&last_shown, start, done, count);
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failure = failure
                        .lock()
                        .expect("no thread panics while it holds the lock");
                    failure.get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(paint_next);
        }
    });
    if std::io::stderr().is_terminal() {
        stdio::eprint_text("\r\x1b[K");
    }
    match failure
        .into_inner()
        .expect("no thread panics while it holds the lock")
    {
        Some(error) => Err(error),
        None => Ok(GenerateSummary {
            files: files.into_inner(),
            bytes: bytes.into_inner(),
            elapsed: start.elapsed(),
        }),
    }
}

/// Paints one picture and writes it atomically. Returns its size in bytes.
fn write_picture(path: &Path, picture: &PictureSpec) -> anyhow::Result<u64> {
    let bytes = picture.encode_jpeg()?;
    let folder = path.parent().expect("a picture's path has a folder");
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = path.file_name().expect("a picture's path has a name");
    let unfinished = folder.join(format!(".{}.part", name.to_string_lossy()));
    fs::write(&unfinished, &bytes)
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(bytes.len() as u64)
}

/// Prints progress at most once per [`PROGRESS_INTERVAL`]: it overwrites one line on a terminal, and prints
/// plain lines elsewhere.
fn show_progress(last_shown: &Mutex<Instant>, start: Instant, done: u64, count: u64) {
    let mut shown = last_shown
        .lock()
        .expect("no thread panics while it holds the lock");
    if shown.elapsed() < PROGRESS_INTERVAL {
        return;
    }
    *shown = Instant::now();
    let rate = done as f64 / start.elapsed().as_secs_f64();
    let left = Duration::from_secs_f64((count - done) as f64 / rate);
    let line = format!(
        "{done} of {count} pictures, {rate:.1} images/s, {} s left",
        left.as_secs()
    );
    if std::io::stderr().is_terminal() {
        stdio::eprint_text(&format!("\r\x1b[K{line}"));
    } else {
        stdio::eprint_line(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_megapixels_are_a_phones() {
        assert_eq!(camera_size(12.0, false), (4000, 3000));
        assert_eq!(camera_size(12.0, true), (3000, 4000));
        assert_eq!(camera_size(0.48, false), (800, 600));
    }

    #[test]
    fn families_are_chosen_by_name() {
        assert_eq!(select_families(&[]).len(), FAMILIES.len());
        let cats = select_families(&["cat".to_owned()]);
        assert_eq!(cats.len(), 1);
        assert_eq!(cats[0].group, "objects");
    }
}
