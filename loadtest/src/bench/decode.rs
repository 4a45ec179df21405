//! `bench decode`: reading, decoding and resizing photos, next to Pillow and torchvision.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::models::ModelFiles;
use super::options::BenchOptions;
use super::peers::environment::PeerEnvironment;
use super::peers::process::PeerProcess;
use super::photos::{PhotoFile, provide_photos};
use super::report::{BenchReport, BenchRow};
use super::samples::PairedSamples;
use super::targets::BetterDirection;
use super::vision::measure_decoding;
use crate::product;

const PHOTOS: usize = 1350;
const QUICK_PHOTOS: usize = 100;

/// The model whose input both sides prepare.
const MODEL: &str = "resnet34";

/// The bundled model, which is always there.
const BUNDLED_MODEL: &str = "lookalike-mini";

/// Measure decoding: images per second from the file to the input of a network.
///
/// Both sides read JPEG files, decode them, resize and crop them, on the same number of threads: lookalike, and Pillow
/// with torchvision's transforms as timm uses them.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest bench decode --photos ~/Pictures
  lookalike-loadtest bench decode --threads 2 --quick

Exit codes: 0 measured, 1 failed, 2 wrong usage.")]
pub struct DecodeArguments {
    #[command(flatten)]
    pub options: BenchOptions,
}

impl DecodeArguments {
    pub fn with_options(options: &BenchOptions) -> Self {
        Self {
            options: options.clone(),
        }
    }
}

/// Measures decoding on both sides.
pub fn measure_decode(
    arguments: &DecodeArguments,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<BenchReport> {
    let options = &arguments.options;
    if options.program.is_some() {
        product::find_program(options.program.as_deref())?;
    }
    let mut report = BenchReport::new("decode", options.quick);
    let count = if options.quick { QUICK_PHOTOS } else { PHOTOS };
    let photos = provide_photos(options.photos.as_deref(), &dir.join("painted"), count)?;
    let bytes: u64 = photos.iter().map(|photo| photo.bytes).sum();
    report.notes.push(format!(
        "decode: {} photos, {:.0} kB on average",
        photos.len(),
        bytes as f64 / 1e3 / photos.len() as f64
    ));
    let (rounds, time) = match options.quick {
        true => (2, Duration::from_secs(1)),
        false => (5, Duration::from_secs(3)),
    };
    let threads = options.thread_count();
    let against = "Pillow, torchvision";
    let (mut model, mut peer) = (BUNDLED_MODEL.to_owned(), None);
    match prepare_peer(options, &photos, dir) {
        Ok((folder, process)) => (model, peer) = (folder, Some(process)),
        Err(error) => {
            let note = format!("{against}: not measured: {error:#}; the input is that of {model}");
            report.notes.push(note);
        }
    }
    let mut samples = PairedSamples::default();
    for _ in 0..rounds {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ours = measure_decoding(&model, &photos, threads, time)?;
        let theirs = match &mut peer {
            Some(peer) => {
                let answer = peer.request(&json!({"seconds": time.as_secs_f64()}))?;
                let number = |key: &str| answer[key].as_f64().unwrap_or(f64::NAN);
                number("images") / number("seconds")
            }
            None => f64::NAN,
        };
        samples.push_round(ours, theirs);
    }
    let row = BenchRow::compare(
        "file → input of the network",
        against,
        "images/s",
        BetterDirection::Higher,
        &samples,
    );
    report.rows.push(row);
    Ok(report)
}

/// Returns the folder of the model and the running Python program.
fn prepare_peer(
    options: &BenchOptions,
    photos: &[PhotoFile],
    dir: &Path,
) -> anyhow::Result<(String, PeerProcess)> {
    let environment =
        PeerEnvironment::find(options, &dir.join("peers")).map_err(anyhow::Error::msg)?;
    let program = product::find_program(options.program.as_deref())?;
    let model = ModelFiles::new(&program, dir).provide(MODEL, &environment)?;
    let folder = model.folder_text()?.to_owned();
    let process = start_peer(&environment, photos, dir)?;
    Ok((folder, process))
}

fn start_peer(
    environment: &PeerEnvironment,
    photos: &[PhotoFile],
    dir: &Path,
) -> anyhow::Result<PeerProcess> {
    let list = dir.join("photos.txt");
    let paths = photos.iter().map(|photo| photo.path.to_str());
    let paths: Option<Vec<&str>> = paths.collect();
    let paths = paths.context("a path is not UTF-8")?;
    std::fs::write(&list, paths.join("\n"))
        .with_context(|| format!("cannot write {}", list.display()))?;
    let mut command = environment.command("decode.py");
    command.arg(&list);
    PeerProcess::start(command, &dir.join("decode.log"))
}
