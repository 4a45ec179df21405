//! The counts of all libraries and the model.

use poem_openapi::Object;
use poem_openapi::types::Example;

use super::device::DeviceBody;
use super::library::LibraryBody;

/// The model that computes the vectors.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Model", example)]
pub(crate) struct ModelBody {
    /// The name of the model.
    pub name: String,
    /// The length of a vector.
    pub dimension: u32,
    /// SHA-256 of the weights, 64 hexadecimal digits.
    pub checksum: String,
    /// Whether the model has a text encoder, so images can be searched by text.
    pub text: bool,
}

impl Example for ModelBody {
    fn example() -> Self {
        Self {
            name: "lookalike-mini".into(),
            dimension: 384,
            checksum: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
            text: false,
        }
    }
}

/// Throughput over the last ten seconds.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Rates", example)]
pub(crate) struct RatesBody {
    /// Files per second that were indexed, removed or failed; null while it is not known.
    pub files_per_second: Option<f64>,
}

impl Example for RatesBody {
    fn example() -> Self {
        Self {
            files_per_second: Some(97.5),
        }
    }
}

/// The counts of all libraries together, each library, and the model.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct Stats {
    /// Regular files below the roots: always the sum of the next four counts. All counts are null
    /// while they are not known: no watcher reports one of the libraries, or there is no library.
    /// `libraries` contains the counts that are known.
    pub on_disk: Option<u64>,
    /// Files in the index; null if unknown.
    pub indexed: Option<u64>,
    /// Files that cannot be indexed; `/v1/failures` lists them with a reason. Null if unknown.
    pub failed: Option<u64>,
    /// Files that a rule excludes from the index; null if unknown.
    pub ignored: Option<u64>,
    /// Files that were seen and are none of the above yet; null if unknown.
    pub in_flight: Option<u64>,
    /// The libraries, ordered by name.
    pub libraries: Vec<LibraryBody>,
    /// The model in service.
    pub model: ModelBody,
    /// One line for people about the model and the devices. Null while no embedder reports its status.
    pub device: Option<String>,
    /// The devices that compute vectors, of all embedders that serve the model.
    pub devices: Vec<DeviceBody>,
    /// Whether an embedder has stopped taking new files, because Milvus rejects writes or too many
    /// of its threads hang on a mount. New files wait, and none is lost.
    pub intake_paused: bool,
    /// Why this service or an embedder still uses another model than the one in service. Normally
    /// null.
    pub rollover_error: Option<String>,
    /// Embedders that react to no request, each with its device. Searches use others until they react
    /// again. Normally empty.
    pub unresponsive_embedders: Vec<String>,
    /// Throughput of all libraries together.
    pub rates: RatesBody,
}

impl Example for Stats {
    fn example() -> Self {
        let library = LibraryBody::example();
        Self {
            on_disk: library.on_disk,
            indexed: library.indexed,
            failed: library.failed,
            ignored: library.ignored,
            in_flight: library.in_flight,
            libraries: vec![library],
            model: ModelBody::example(),
            device: Some(
                "lookalike-mini (384 numbers) on cpu: own kernels, avx512-bf16, 2 threads; no GPU support in \
                 this build"
                    .into(),
            ),
            devices: vec![DeviceBody::example()],
            intake_paused: false,
            rollover_error: None,
            unresponsive_embedders: Vec::new(),
            rates: RatesBody::example(),
        }
    }
}
