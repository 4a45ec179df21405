//! `bench network`: lookalike's networks next to ONNX Runtime and PyTorch.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use lookalike_chassis::stdio;
use lookalike_vision::Input;
use serde_json::json;

use super::models::{ModelFiles, ProvidedModel};
use super::options::BenchOptions;
use super::peers::environment::PeerEnvironment;
use super::peers::process::PeerProcess;
use super::photos::{PhotoFile, provide_photos};
use super::report::{BenchReport, BenchRow};
use super::samples::{PairedSamples, median_of};
use super::targets::{BenchTarget, BetterDirection, TARGETS};
use super::vision::{INPUTS, ProductNetwork, parse_device, parse_model_name, prepare_inputs};
use crate::product;

/// The networks of the table of targets.
const MODELS: [&str; 4] = ["resnet34", "mobilenetv2", "efficientnet-lite0", "vit-s16"];

const GPU_MODELS: [&str; 3] = ["resnet50", "vit-s16", "clip-b32"];

const BATCHES: [usize; 3] = [1, 8, 32];

const GPU_BATCHES: [usize; 4] = [1, 8, 64, 256];

/// The batch of the targets of GPUs.
const GPU_BATCH: usize = 64;

/// Measure networks: images per second of lookalike, ONNX Runtime and PyTorch.
///
/// All programs run the same weights on the same photos, decoded before, with the same number of threads. Lookalike
/// also normalises the pixels; the others get them normalised. The programs alternate, round by round.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest bench network --photos ~/Pictures --threads 2
  lookalike-loadtest bench network --models resnet34,vit-s16 --batches 8 --quick
  lookalike-loadtest bench network --device cuda:0

Exit codes: 0 measured, 1 failed, 2 wrong usage.")]
pub struct NetworkArguments {
    /// Models to measure, separated by commas [default: resnet34,mobilenetv2,efficientnet-lite0,vit-s16; on a GPU
    /// resnet50,vit-s16,clip-b32].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_model_name)]
    pub models: Vec<String>,

    /// Batch sizes, separated by commas [default: 1,8,32; with --quick 1,8; on a GPU 1,8,64,256; on a GPU with --quick 64].
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=256))]
    pub batches: Vec<u16>,

    /// The device of lookalike, such as cpu, cuda:0 or vulkan. On a GPU, the rows of GPUs are measured, and lookalike
    /// alone where PyTorch cannot use the card.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = parse_device)]
    pub device: String,

    #[command(flatten)]
    pub options: BenchOptions,
}

impl NetworkArguments {
    pub fn with_options(options: &BenchOptions) -> Self {
        Self {
            models: Vec::new(),
            batches: Vec::new(),
            device: "cpu".to_owned(),
            options: options.clone(),
        }
    }

    fn is_gpu(&self) -> bool {
        self.device != "cpu"
    }

    fn model_names(&self) -> Vec<String> {
        let defaults: &[&str] = if self.is_gpu() { &GPU_MODELS } else { &MODELS };
        match self.models.is_empty() {
            true => defaults.iter().map(|name| (*name).to_owned()).collect(),
            false => self.models.clone(),
        }
    }

    fn batch_sizes(&self) -> Vec<usize> {
        let defaults = match (self.is_gpu(), self.options.quick) {
            (true, true) => &[GPU_BATCH][..],
            (true, false) => &GPU_BATCHES[..],
            (false, true) => &BATCHES[..2],
            (false, false) => &BATCHES[..],
        };
        match self.batches.is_empty() {
            true => defaults.to_vec(),
            false => self.batches.iter().map(|size| usize::from(*size)).collect(),
        }
    }

    /// Returns the engines of the other programs, with their names in the report.
    fn engines(&self, model: &str) -> Vec<(&'static str, &'static str)> {
        if self.is_gpu() {
            return vec![("torch-cuda-bf16", "PyTorch, bf16, same card")];
        }
        let mut engines = vec![("onnxruntime", "ONNX Runtime, f32")];
        if model == "resnet34" || !self.options.quick {
            engines.push(("torch-f32", "PyTorch, f32"));
            engines.push(("torch-bf16", "PyTorch, bf16 autocast"));
        }
        engines
    }

    /// Returns the number of rounds and the time of one measurement.
    fn rounds(&self) -> (usize, Duration) {
        match self.options.quick {
            true => (2, Duration::from_millis(1000)),
            false => (5, Duration::from_millis(2000)),
        }
    }
}

/// Returns the target that a comparison decides, if any.
fn target_of(model: &str, engine: &str, batch: usize) -> Option<&'static BenchTarget> {
    let key = match (engine, batch) {
        ("onnxruntime", 1 | 8) => format!("network.{model}.batch{batch}"),
        ("torch-f32" | "torch-bf16", 8) => format!("network.{model}.{engine}"),
        ("torch-cuda-bf16", GPU_BATCH) => format!("network.gpu.{model}"),
        _ => return None,
    };
    TARGETS.iter().find(|target| target.key == key)
}

/// Measures all chosen networks. A network or program that fails becomes rows with the reason.
pub async fn measure_networks(
    arguments: &NetworkArguments,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<BenchReport> {
    let options = &arguments.options;
    let mut report = BenchReport::new("network", options.quick);
    let program = product::find_program(options.program.as_deref())?;
    let photos = provide_photos(options.photos.as_deref(), &dir.join("painted"), INPUTS)?;
    let environment = match PeerEnvironment::find(options, &dir.join("peers")) {
        Ok(environment) => environment,
        Err(reason) => {
            report.complete_rows(&["network"], &reason);
            return Ok(report);
        }
    };
    let files = ModelFiles::new(&program, dir);
    for name in arguments.model_names() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let measured = async {
            let model = files.provide(&name, &environment)?;
            measure_model(
                arguments,
                &environment,
                &model,
                &photos,
                dir,
                stop,
                &mut report,
            )
            .await
        };
        if let Err(error) = measured.await {
            let reason = format!("{error:#}");
            stdio::eprint_line(&format!("{name}: {reason}"));
            add_missing_rows(&mut report, arguments, &name, &reason);
        }
    }
    if !arguments.is_gpu() {
        let is_gpu = |target: &&BenchTarget| target.key.starts_with("network.gpu.");
        let reason = "needs a GPU: bench network --device cuda:0, or vulkan:0";
        let missing = TARGETS.iter().filter(is_gpu);
        let rows = missing.map(|target| BenchRow::not_measured(target, reason));
        report.rows.extend(rows);
    }
    let reason = match stop.load(Ordering::Relaxed) {
        true => "the run was interrupted",
        false => "not chosen with --models, --batches and --device",
    };
    report.complete_rows(&["network"], reason);
    Ok(report)
}

fn add_missing_rows(
    report: &mut BenchReport,
    arguments: &NetworkArguments,
    model: &str,
    reason: &str,
) {
    for (engine, _) in arguments.engines(model) {
        for batch in arguments.batch_sizes() {
            let Some(target) = target_of(model, engine, batch) else {
                continue;
            };
            let is_new = !report.rows.iter().any(|row| row.target == Some(target));
            if is_new {
                report.rows.push(BenchRow::not_measured(target, reason));
            }
        }
    }
}

async fn measure_model(
    arguments: &NetworkArguments,
    environment: &PeerEnvironment,
    model: &ProvidedModel,
    photos: &[PhotoFile],
    dir: &Path,
    stop: &AtomicBool,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    report.notes.extend(model.note());
    let folder = model.folder_text()?;
    let inputs = prepare_inputs(folder, photos)?;
    let inputs_file = dir.join(format!("{}.inputs", model.name));
    std::fs::write(&inputs_file, inputs.concat())
        .with_context(|| format!("cannot write {}", inputs_file.display()))?;
    let max_batch = arguments.batch_sizes().into_iter().max().unwrap_or(1);
    for (engine, engine_name) in arguments.engines(&model.name) {
        stdio::eprint_line(&format!("{}: starting {engine_name}", model.name));
        let mut command = environment.command("network.py");
        command
            .args(["--name", &model.name, "--engine", engine, "--weights"])
            .arg(&model.folder)
            .arg("--inputs")
            .arg(&inputs_file)
            .arg("--max-batch")
            .arg(max_batch.to_string());
        let started =
            PeerProcess::start(command, &dir.join(format!("{}-{engine}.log", model.name)));
        let mut peer = match started {
            Ok(peer) => peer,
            Err(error) => {
                let reason = format!("{engine_name} cannot run it: {error:#}");
                add_engine_reason(report, arguments, &model.name, engine, &reason);
                if arguments.is_gpu() {
                    measure_without_peer(arguments, model, &inputs, stop, report).await?;
                }
                continue;
            }
        };
        if peer.greeting["weights_fit"] == false {
            let note = format!(
                "{}: {engine_name} runs random weights of the same shapes",
                model.name
            );
            report.notes.push(note);
        }
        for batch in arguments.batch_sizes() {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let ours = ProductNetwork::start(folder, &arguments.device, batch, inputs.clone())?;
            let samples = alternate(arguments, &ours, &mut peer, batch).await?;
            report
                .rows
                .push(row_for(&model.name, engine, engine_name, batch, &samples));
            note_device(report, &ours);
        }
    }
    Ok(())
}

async fn measure_without_peer(
    arguments: &NetworkArguments,
    model: &ProvidedModel,
    inputs: &[Input],
    stop: &AtomicBool,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let (rounds, time) = arguments.rounds();
    for batch in arguments.batch_sizes() {
        let ours = ProductNetwork::start(
            model.folder_text()?,
            &arguments.device,
            batch,
            inputs.to_owned(),
        )?;
        let mut rates = Vec::new();
        for _ in 0..rounds {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            rates.push(ours.measure_rate(time).await?);
        }
        let name = format!("{}, {}, batch {batch}", model.name, arguments.device);
        let samples = rates.len() as u64;
        let rate = median_of(rates).unwrap_or_default();
        report
            .rows
            .push(BenchRow::info(name, "images/s", rate, samples));
        note_device(report, &ours);
    }
    Ok(())
}

fn note_device(report: &mut BenchReport, network: &ProductNetwork) {
    let device = network.describe();
    if !report.notes.contains(&device) {
        report.notes.push(device);
    }
}

fn add_engine_reason(
    report: &mut BenchReport,
    arguments: &NetworkArguments,
    model: &str,
    engine: &str,
    reason: &str,
) {
    for batch in arguments.batch_sizes() {
        if let Some(target) = target_of(model, engine, batch) {
            report.rows.push(BenchRow::not_measured(target, reason));
        }
    }
}

async fn alternate(
    arguments: &NetworkArguments,
    ours: &ProductNetwork,
    peer: &mut PeerProcess,
    batch: usize,
) -> anyhow::Result<PairedSamples> {
    let (rounds, time) = arguments.rounds();
    let mut samples = PairedSamples::default();
    for _ in 0..rounds {
        let our_rate = ours.measure_rate(time).await?;
        let answer = peer.request(&json!({"batch": batch, "seconds": time.as_secs_f64()}))?;
        let number = |key: &str| answer[key].as_f64().unwrap_or(f64::NAN);
        samples.push_round(our_rate, number("images") / number("seconds"));
    }
    Ok(samples)
}

fn row_for(
    model: &str,
    engine: &str,
    engine_name: &str,
    batch: usize,
    samples: &PairedSamples,
) -> BenchRow {
    match target_of(model, engine, batch) {
        Some(target) => BenchRow::from_pairs(target, samples),
        None => {
            let name = format!("{model}, batch {batch}");
            BenchRow::compare(
                &name,
                engine_name,
                "images/s",
                BetterDirection::Higher,
                samples,
            )
        }
    }
}

/// Returns the images per second of a model alone, in batches as the embedder uses them.
pub async fn measure_alone(
    model: &str,
    photos: &[PhotoFile],
    time: Duration,
) -> anyhow::Result<f64> {
    const EMBEDDER_BATCH: usize = 16;
    let inputs: Vec<Input> = prepare_inputs(model, photos)?;
    let network = ProductNetwork::start(model, "cpu", EMBEDDER_BATCH, inputs)?;
    network.measure_rate(time).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_target_is_measured_by_some_arguments() {
        let cpu = NetworkArguments::with_options(&BenchOptions::default());
        let gpu = NetworkArguments {
            device: "cuda:0".to_owned(),
            ..cpu.clone()
        };
        let quick = NetworkArguments {
            options: BenchOptions {
                quick: true,
                ..BenchOptions::default()
            },
            ..cpu.clone()
        };
        let keys = |arguments: &NetworkArguments| -> Vec<&str> {
            let mut keys = Vec::new();
            for model in arguments.model_names() {
                for (engine, _) in arguments.engines(&model) {
                    for batch in arguments.batch_sizes() {
                        keys.extend(target_of(&model, engine, batch).map(|target| target.key));
                    }
                }
            }
            keys
        };
        for target in TARGETS.iter().filter(|target| target.command == "network") {
            let is_gpu = target.key.starts_with("network.gpu.");
            let arguments = if is_gpu { &gpu } else { &quick };
            assert!(keys(arguments).contains(&target.key), "{}", target.key);
            assert!(is_gpu || keys(&cpu).contains(&target.key), "{}", target.key);
        }
    }
}
