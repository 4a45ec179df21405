//! `models list`: every known model in a line, what is here, and what is in service.

use lookalike_vision::registry::{self, RegisteredModel, WeightsOrigin};
use lookalike_vision::{DEFAULT_MODEL, Description, Model};
use serde::Serialize;
use serde_json::Value;

use super::bar::format_bytes;
use super::cache::{self, CachedModel, ModelLock, PinnedBy};
use super::measure::{self, MeasuredRates};
use crate::cli::ModelsListArgs;
use crate::client::{self, ServiceClient};
use crate::failure::Failure;
use crate::settings::Settings;

/// One model, as it is printed.
#[derive(Debug, Serialize)]
struct ModelListing {
    name: &'static str,
    about: &'static str,
    dimension: usize,
    input: [u32; 3],
    text: bool,
    licence: &'static str,
    /// On disk, or of the download where that is known.
    bytes: Option<u64>,
    precision_at_10: Option<f32>,
    images_per_second: Option<f64>,
    device: Option<String>,
    here: ModelCacheState,
    /// What `--model` loads, where it is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    /// Why what is here can't be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    pinned: ChecksumSource,
    repository: Option<&'static str>,
    revision: Option<String>,
    sha256: Option<String>,
    in_service: bool,
}

/// Where a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ModelCacheState {
    Bundled,
    Fetched,
    Partly,
    Altered,
    No,
}

/// Who says what its bytes must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ChecksumSource {
    Lookalike,
    FirstFetch,
    AtFirstFetch,
}

/// `models list`.
///
/// # Errors
/// When the cache can't be read, a model can't be measured, or a service that was named does not
/// answer.
pub async fn run_list(settings: &Settings, args: &ModelsListArgs) -> Result<(), Failure> {
    let in_service = served_model(settings, args).await?;
    let models = cache::models_folder(settings).map_err(super::failed)?;
    let mut lines = Vec::new();
    for known in registry::list_models() {
        lines.push(ModelListing::for_model(known, &models)?);
    }
    let mut measured = MeasuredRates::read_cached(&models);
    let mut failure = None;
    if args.measure {
        let mut settings = settings.clone();
        if let Some(device) = &args.device {
            settings.vision.device.clone_from(device);
        }
        for line in &lines {
            let (Some(loadable), Some(sha256)) = (line.load_path(), &line.sha256) else {
                continue;
            };
            eprintln!("measuring {}", line.name);
            match measure::measure_model(&settings, loadable).await {
                Ok(rate) => measured.record_rate(&models, sha256, rate),
                Err(problem) => {
                    failure = Some(format!("{} can't be measured: {problem}", line.name));
                }
            }
        }
    }
    for line in &mut lines {
        if let Some(rate) = line.sha256.as_ref().and_then(|sum| measured.rate_for(sum)) {
            line.images_per_second = Some((rate.images_per_second * 10.0).round() / 10.0);
            line.device = Some(rate.device.clone());
        }
        line.in_service = in_service.as_ref().is_some_and(|model| {
            model["name"] == line.name
                && (line.sha256.is_none() || model["checksum"].as_str() == line.sha256.as_deref())
        });
    }
    if args.service.json {
        client::print_json(&serde_json::json!({
            "models": lines,
            "in_service": in_service,
            "folder": models.display().to_string(),
        }));
    } else {
        print_table(&lines, in_service.as_ref());
    }
    failure.map_or(Ok(()), |problem| Err(Failure::failed(problem)))
}

/// The model of the lookalike that runs, if one does.
async fn served_model(
    settings: &Settings,
    args: &ModelsListArgs,
) -> Result<Option<Value>, Failure> {
    let answer = match ServiceClient::from_settings(settings) {
        Ok(service) => service.get_json("/v1/stats", &[]).await,
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(stats) => Ok(Some(stats["model"].clone()).filter(|model| !model.is_null())),
        // The list is of use without one; but who names one wants to hear of it.
        Err(failure) if args.service.url.is_some() => Err(failure),
        Err(_) => Ok(None),
    }
}

impl ModelListing {
    fn for_model(
        known: &'static RegisteredModel,
        models: &std::path::Path,
    ) -> Result<Self, Failure> {
        let description =
            Description::find_bundled(known.name).expect("known models are described");
        let mut line = Self {
            name: known.name,
            about: known.about,
            dimension: description.dimension,
            input: description.input,
            text: description.has_text(),
            licence: known.licence,
            bytes: None,
            precision_at_10: known.precision_at_10,
            images_per_second: None,
            device: None,
            here: ModelCacheState::Bundled,
            folder: None,
            problem: None,
            pinned: ChecksumSource::Lookalike,
            repository: None,
            revision: None,
            sha256: None,
            in_service: false,
        };
        let WeightsOrigin::Hub(hub) = known.origin else {
            let model = Model::load_description(known.name).map_err(Failure::failed)?;
            line.sha256 = Some(model.checksum);
            line.bytes = Some(Model::bundled_bytes());
            return Ok(line);
        };
        let place = CachedModel::new(models, known, hub);
        line.repository = Some(hub.repository);
        let lock = place.read_current_lock();
        let complete = place.complete_folder();
        line.here = match (&lock, &complete) {
            (Ok(_), Ok(Some(_))) => ModelCacheState::Fetched,
            (Ok(Some(lock)), Ok(None)) if place.has_part(lock) => ModelCacheState::Partly,
            (Ok(_), Ok(None)) => ModelCacheState::No,
            _ => ModelCacheState::Altered,
        };
        if let Err(error) = &complete {
            line.problem = Some(error.to_string());
        }
        if let Ok(Some(folder)) = complete {
            line.folder = Some(folder.display().to_string());
        }
        line.pinned = ChecksumSource::AtFirstFetch;
        if let Some(lock) = lock
            .ok()
            .flatten()
            .or_else(|| ModelLock::from_pins(known, &hub))
        {
            line.pinned = match lock.pinned {
                PinnedBy::Lookalike => ChecksumSource::Lookalike,
                PinnedBy::FirstFetch => ChecksumSource::FirstFetch,
            };
            line.bytes = Some(lock.total_bytes());
            line.sha256 = lock.files.first().map(|file| file.sha256.clone());
            line.revision = Some(lock.revision);
        }
        Ok(line)
    }

    /// What a model is loaded by, if it is here.
    fn load_path(&self) -> Option<&str> {
        match self.here {
            ModelCacheState::Bundled => Some(DEFAULT_MODEL),
            ModelCacheState::Fetched => self.folder.as_deref(),
            ModelCacheState::Partly | ModelCacheState::Altered | ModelCacheState::No => None,
        }
    }
}

fn print_table(lines: &[ModelListing], in_service: Option<&Value>) {
    println!(
        "  {:<15} {:>9} {:>5} {:>10}  {:<17} {:<5} {:>5} {:>8}  {:<9} checksum",
        "name", "dimension", "input", "size", "licence", "words", "P@10", "images/s", "here"
    );
    let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for line in lines {
        println!(
            "{} {:<15} {:>9} {:>5} {:>10}  {:<17} {:<5} {:>5} {:>8}  {:<9} {}",
            if line.in_service { '*' } else { ' ' },
            line.name,
            line.dimension,
            line.input[2],
            number(line.bytes.map(format_bytes)),
            line.licence,
            if line.text { "yes" } else { "no" },
            number(line.precision_at_10.map(|p| format!("{p:.2}"))),
            number(line.images_per_second.map(|n| format!("{n:.1}"))),
            match line.here {
                ModelCacheState::Bundled => "bundled",
                ModelCacheState::Fetched => "fetched",
                ModelCacheState::Partly => "in part",
                ModelCacheState::Altered => "ALTERED",
                ModelCacheState::No => "no",
            },
            match line.pinned {
                ChecksumSource::Lookalike => "pinned",
                ChecksumSource::FirstFetch => "of the first fetch",
                ChecksumSource::AtFirstFetch => "at first fetch",
            },
        );
    }
    println!();
    for line in lines.iter().filter(|line| line.problem.is_some()) {
        println!(
            "{}: {}",
            line.name,
            line.problem.as_deref().unwrap_or_default()
        );
    }
    match in_service {
        Some(model) if lines.iter().any(|line| line.in_service) => {
            println!("* in service ({})", model["name"].as_str().unwrap_or("?"));
        }
        Some(model) => println!(
            "in service is {}, which is none of these",
            model["name"].as_str().unwrap_or("a model")
        ),
        None => println!(
            "no lookalike answers here, so which one is in service is not known: --url or --data-dir names one"
        ),
    }
    println!(
        "P@10: right ones among the ten nearest, over 50 classes of Caltech-101, where we measured it"
    );
    if lines.iter().all(|line| line.images_per_second.is_none()) {
        println!("images/s: `lookalike models list --measure` measures what is here");
    }
    println!(
        "checksum: `pinned` by lookalike; `at first fetch`: the hub's word is kept from then on"
    );
}
