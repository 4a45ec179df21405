//! The list of registered models: what each is, whether it is on disk, and which one is in service.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use lookalike_vision::registry::{self, RegisteredModel};
use lookalike_vision::{BUNDLED_MODEL, Description, Model};
use serde::Serialize;
use serde_json::Value;

use crate::error::Error;
use crate::measure::MeasuredRates;
use crate::store::{ModelLock, ModelStore, PinnedBy};

/// One model, as `models list` prints it.
#[derive(Debug, Serialize)]
pub struct ModelListing {
    pub name: &'static str,
    about: &'static str,
    dimension: usize,
    /// Channels, height and width of the network's input.
    input: [u32; 3],
    text: bool,
    licence: &'static str,
    /// Size on disk, or of the download if it is known.
    bytes: Option<u64>,
    precision_at_10: Option<f32>,
    images_per_second: Option<f64>,
    device: Option<String>,
    state: ModelState,
    /// What `--model` loads, if the model is on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    /// Why the files on disk cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pinned: ChecksumSource,
    repository: Option<&'static str>,
    revision: Option<String>,
    /// SHA-256 of the weights, 64 hexadecimal digits.
    pub sha256: Option<String>,
    in_service: bool,
}

/// Whether a model's files are available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ModelState {
    Bundled,
    Fetched,
    Partial,
    Altered,
    Missing,
}

/// Where the checksums of a model come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ChecksumSource {
    Lookalike,
    FirstFetch,
    /// The model is not fetched yet; its first fetch will record them.
    AtFirstFetch,
}

/// Lists all registered models, the bundled one first.
pub fn list_models(store: &ModelStore) -> Result<Vec<ModelListing>, Error> {
    registry::list_models()
        .map(|entry| ModelListing::for_model(entry, store))
        .collect()
}

/// Fills in the measured rates.
pub fn apply_measurements(listings: &mut [ModelListing], rates: &MeasuredRates) {
    for listing in listings {
        if let Some(rate) = listing.sha256.as_ref().and_then(|sum| rates.rate_for(sum)) {
            listing.images_per_second = Some((rate.images_per_second * 10.0).round() / 10.0);
            listing.device = Some(rate.device.clone());
        }
    }
}

/// Marks the model in service, given the `model` object of the service's statistics.
pub fn mark_served_model(listings: &mut [ModelListing], served_model: Option<&Value>) {
    for listing in listings {
        listing.in_service = served_model.is_some_and(|model| {
            let is_same_checksum =
                listing.sha256.is_none() || model["checksum"].as_str() == listing.sha256.as_deref();
            model["name"] == listing.name && is_same_checksum
        });
    }
}

impl ModelListing {
    fn for_model(entry: &'static RegisteredModel, store: &ModelStore) -> Result<Self, Error> {
        let description = Description::find_bundled(entry.name)
            .expect("every registered model has a bundled description");
        let mut listing = Self {
            name: entry.name,
            about: entry.about,
            dimension: description.dimension,
            input: description.input,
            text: description.has_text(),
            licence: entry.licence,
            bytes: None,
            precision_at_10: entry.precision_at_10,
            images_per_second: None,
            device: None,
            state: ModelState::Bundled,
            folder: None,
            problem: None,
            pinned: ChecksumSource::Lookalike,
            repository: None,
            revision: None,
            sha256: None,
            in_service: false,
        };
        let Some(repository) = entry.origin.fetched_files() else {
            let description =
                Model::load_description(entry.name).map_err(|source| Error::Bundled {
                    name: entry.name,
                    source,
                })?;
            listing.sha256 = Some(description.checksum);
            listing.bytes = Some(Model::bundled_bytes());
            return Ok(listing);
        };
        let cached_model = store.cached_model(entry, repository);
        listing.repository = Some(repository.repository);
        let lock = cached_model.read_current_lock();
        let complete_folder = cached_model.complete_folder();
        listing.state = match (&lock, &complete_folder) {
            (Ok(_), Ok(Some(_))) => ModelState::Fetched,
            (Ok(Some(lock)), Ok(None)) if cached_model.has_part(lock) => ModelState::Partial,
            (Ok(_), Ok(None)) => ModelState::Missing,
            _ => ModelState::Altered,
        };
        match complete_folder {
            Ok(Some(folder)) => listing.folder = Some(folder.display().to_string()),
            Ok(None) => {}
            Err(error) => listing.problem = Some(error.to_string()),
        }
        listing.pinned = ChecksumSource::AtFirstFetch;
        let lock = lock.ok().flatten();
        if let Some(lock) = lock.or_else(|| ModelLock::from_pins(entry, &repository)) {
            listing.pinned = match lock.pinned {
                PinnedBy::Lookalike => ChecksumSource::Lookalike,
                PinnedBy::FirstFetch => ChecksumSource::FirstFetch,
            };
            listing.bytes = Some(lock.total_bytes());
            listing.sha256 = lock.files.first().map(|file| file.sha256.clone());
            listing.revision = Some(lock.revision);
        }
        Ok(listing)
    }

    /// The name or folder to load the model from, if it is available.
    pub fn load_path(&self) -> Option<&str> {
        match self.state {
            ModelState::Bundled => Some(BUNDLED_MODEL),
            ModelState::Fetched => self.folder.as_deref(),
            ModelState::Partial | ModelState::Altered | ModelState::Missing => None,
        }
    }

    fn format_row(&self) -> String {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        format!(
            "{} {:<18} {:>9} {:>5} {:>10}  {:<17} {:<4} {:>5} {:>8}  {:<8} {}",
            if self.in_service { '*' } else { ' ' },
            self.name,
            self.dimension,
            self.input[2],
            or_dash(self.bytes.map(|bytes| HumanBytes(bytes).to_string())),
            self.licence,
            if self.text { "yes" } else { "no" },
            or_dash(self.precision_at_10.map(|p| format!("{p:.2}"))),
            or_dash(self.images_per_second.map(|n| format!("{n:.1}"))),
            match self.state {
                ModelState::Bundled => "bundled",
                ModelState::Fetched => "fetched",
                ModelState::Partial => "partial",
                ModelState::Altered => "ALTERED",
                ModelState::Missing => "no",
            },
            match self.pinned {
                ChecksumSource::Lookalike => "pinned",
                ChecksumSource::FirstFetch => "from the first fetch",
                ChecksumSource::AtFirstFetch => "at first fetch",
            },
        )
    }
}

/// Formats the table of `models list`, with its notes.
pub fn format_table(listings: &[ModelListing], served_model: Option<&Value>) -> String {
    let mut table = format!(
        "  {:<18} {:>9} {:>5} {:>10}  {:<17} {:<4} {:>5} {:>8}  {:<8} checksum\n",
        "name", "dimension", "input", "size", "licence", "text", "P@10", "images/s", "on disk"
    );
    for listing in listings {
        table += &listing.format_row();
        table += "\n";
    }
    table += "\n";
    for listing in listings {
        if let Some(problem) = &listing.problem {
            let _ = writeln!(table, "{}: {problem}", listing.name);
        }
    }
    table += &match served_model {
        Some(model) if listings.iter().any(|listing| listing.in_service) => {
            format!("* in service ({})\n", model["name"].as_str().unwrap_or("?"))
        }
        Some(model) => format!(
            "in service: {}, which is not in this list\n",
            model["name"].as_str().unwrap_or("a model")
        ),
        None => "no lookalike is reachable, so the model in service is unknown: use --url or \
                 --data-dir to select one\n"
            .to_owned(),
    };
    table += "P@10: share of correct images among the ten nearest, measured on 50 classes of \
              Caltech-101\n";
    if listings.iter().all(|l| l.images_per_second.is_none()) {
        table += "images/s: `lookalike models list --measure` measures the models on disk\n";
    }
    table += "checksum: `pinned` in lookalike; `at first fetch`: recorded from the hub then\n";
    table
}
