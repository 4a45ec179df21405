//! Loads a model: the bundled one by name, or a folder with a description and weights.
//!
//! This crate never downloads anything; `lookalike-mini` is part of the program. [`registry`] lists
//! the other models, which are fetched into a folder.
//!
//! All functions fail with [`Error`] if there is no such model, or if a file of it is unreadable or
//! invalid.

pub(crate) mod bands;
pub(crate) mod convert;
pub(crate) mod description;
pub(crate) mod golden;
mod parse;
mod pytorch;
pub mod registry;
mod timm;
pub(crate) mod towers;
mod transformers;
pub(crate) mod weights;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    model::description::Description,
    model::golden::{GOLDEN_FILE, GoldenFile},
    model::registry::BUNDLED_MODEL,
    model::weights::Weights,
};

static MINI_WEIGHTS: &[u8] =
    include_bytes!("../../models/lookalike-mini/lookalike-mini.safetensors");
static MINI_GOLDEN_JSON: &str = include_str!("../../models/lookalike-mini/golden.json");
static LITE0_GOLDEN_JSON: &str = include_str!("../../models/efficientnet-lite0/golden.json");
static LITE2_GOLDEN_JSON: &str = include_str!("../../models/efficientnet-lite2/golden.json");

/// The tokenizer of a model with a text encoder.
const TOKENIZER_FILE: &str = "tokenizer.json";

/// The preprocessing of a transformers model.
const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// A model with checked weights, not yet on a device. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) description: Description,
    pub(crate) weights: Arc<Weights>,
    /// The contents of `tokenizer.json`.
    pub(crate) tokenizer: Option<Vec<u8>>,
    /// The expected vector of the golden picture, if it is known.
    pub(crate) golden: Option<Vec<f32>>,
}

/// The parts of a model before they are checked.
struct UncheckedModel {
    description: Description,
    weights: Cow<'static, [u8]>,
    /// The model's folder; `None` for the bundled model.
    folder: Option<PathBuf>,
}

impl Model {
    /// Loads a model by name (`"lookalike-mini"`) or from a folder with one `.safetensors` file
    /// and a description: our JSON, or the `config.json` of a timm or transformers model.
    pub fn load(name_or_folder: &str) -> Result<Self, Error> {
        let UncheckedModel {
            mut description,
            weights: file,
            folder,
        } = find_model(name_or_folder)?;
        let actual_checksum = hex_sha256(&file);
        if description.checksum.is_empty() {
            description.checksum.clone_from(&actual_checksum);
        }
        if description.checksum != actual_checksum {
            return Err(Error::Checksum {
                model: description.name,
                expected: description.checksum,
                actual: actual_checksum,
            });
        }
        let weights = Weights::from_safetensors(file).map_err(|problem| Error::Weights {
            model: description.name.clone(),
            problem,
        })?;
        let (tokenizer, golden) = match &folder {
            None => (None, Some(Cow::Borrowed(MINI_GOLDEN_JSON))),
            Some(folder) => {
                let golden = read_if_exists(&folder.join(GOLDEN_FILE))?;
                let golden = golden.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let tokenizer = read_if_exists(&folder.join(TOKENIZER_FILE))?;
                (tokenizer, golden.map(Cow::Owned))
            }
        };
        let golden = golden.map_or(Ok(None), |json| {
            GoldenFile::vector_for(&json, &description.checksum, description.dimension).map_err(
                |problem| Error::ModelFolder {
                    path: folder.unwrap_or_else(|| PathBuf::from(&description.name)),
                    problem: format!("has an invalid {GOLDEN_FILE}: {problem}"),
                },
            )
        })?;
        Ok(Self {
            description,
            weights: Arc::new(weights),
            tokenizer,
            golden,
        })
    }

    /// Discards the expected golden vector, so that a new one can be computed.
    pub fn forget_golden(&mut self) {
        self.golden = None;
    }

    /// Loads only the description with the checksum, for callers that need no network. The weights
    /// are not checked.
    pub fn load_description(name_or_folder: &str) -> Result<Description, Error> {
        let UncheckedModel {
            mut description,
            weights,
            ..
        } = find_model(name_or_folder)?;
        if description.checksum.is_empty() {
            description.checksum = hex_sha256(&weights);
        }
        Ok(description)
    }

    /// Returns the file with the expected golden vector of a registered model whose weights are pinned
    /// by us, as name and content, to store next to its weights.
    pub fn golden_file(name: &str) -> Option<(&'static str, &'static str)> {
        let json = match name {
            "lookalike-mini" => MINI_GOLDEN_JSON,
            "efficientnet-lite0" => LITE0_GOLDEN_JSON,
            "efficientnet-lite2" => LITE2_GOLDEN_JSON,
            _ => return None,
        };
        Some((GOLDEN_FILE, json))
    }

    /// Returns the size of the bundled model's weights.
    pub fn bundled_bytes() -> u64 {
        MINI_WEIGHTS.len() as u64
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    #[cfg(test)]
    pub(crate) fn weights_mut(&mut self) -> &mut Weights {
        Arc::get_mut(&mut self.weights).expect("the model has no clone yet")
    }
}

fn find_model(name_or_folder: &str) -> Result<UncheckedModel, Error> {
    if name_or_folder == BUNDLED_MODEL {
        let description = Description::find_bundled(BUNDLED_MODEL).expect("it is bundled");
        return Ok(UncheckedModel {
            description,
            weights: Cow::Borrowed(MINI_WEIGHTS),
            folder: None,
        });
    }
    let folder = Path::new(name_or_folder);
    if !folder.is_dir() {
        let name = name_or_folder.to_owned();
        return Err(match registry::find_model(name_or_folder) {
            Some(_) => Error::WeightsNotBundled { name },
            None => unknown_model(name),
        });
    }
    let mut descriptions = Vec::new();
    let mut weights = Vec::new();
    let read_error = |path: &Path| {
        let path = path.to_path_buf();
        |source| Error::ReadModel { path, source }
    };
    for entry in std::fs::read_dir(folder).map_err(read_error(folder))? {
        let path = entry.map_err(read_error(folder))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => descriptions.push(path),
            Some("safetensors") => weights.push(path),
            _ => {}
        }
    }
    let folder_error = |problem: &str| Error::ModelFolder {
        path: folder.to_path_buf(),
        problem: problem.to_owned(),
    };
    let [weights] = weights.as_slice() else {
        return Err(folder_error("must contain exactly one .safetensors file"));
    };
    let description = find_description(descriptions)?
        .ok_or_else(|| folder_error("contains no description (.json) of a model"))?;
    let file = std::fs::read(weights).map_err(read_error(weights))?;
    Ok(UncheckedModel {
        description,
        weights: Cow::Owned(file),
        folder: Some(folder.to_path_buf()),
    })
}

/// Returns [`Error::UnknownModel`] with the registered names.
fn unknown_model(name: String) -> Error {
    let hint = registry::closest_name(&name)
        .map(|similar| format!(" (did you mean {similar:?}?)"))
        .unwrap_or_default();
    Error::UnknownModel {
        name,
        hint,
        known: registry::join_names(),
    }
}

fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::ReadModel {
            path: path.to_path_buf(),
            source,
        }),
    }
}

/// Returns the first description in the order of file names. Hub folders contain other JSON files,
/// too. Without a description, a file that is not JSON is the error.
fn find_description(mut files: Vec<PathBuf>) -> Result<Option<Description>, Error> {
    // These files are large, or may contain any text.
    files.retain(|path| !path.ends_with(TOKENIZER_FILE) && !path.ends_with(GOLDEN_FILE));
    files.sort();
    let mut invalid = None;
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::ReadModel {
            path: path.clone(),
            source,
        })?;
        let origin = path.display().to_string();
        if text.contains("\"preprocessing\"") || text.contains("\"pretrained_cfg\"") {
            return Description::from_json(&text, &origin).map(Some);
        }
        if text.contains("\"model_type\"") {
            let preprocessor = read_if_exists(&path.with_file_name(PREPROCESSOR_FILE))?;
            let preprocessor = preprocessor.as_deref().map(String::from_utf8_lossy);
            return Description::from_hub_json(&text, preprocessor.as_deref(), &origin).map(Some);
        }
        if invalid.is_none() && serde_json::from_str::<IgnoredAny>(&text).is_err() {
            invalid = Some((text, origin));
        }
    }
    invalid
        .map(|(text, origin)| Description::from_json(&text, &origin))
        .transpose()
}

fn hex_sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_loads_and_its_checksum_holds() {
        let model = Model::load(BUNDLED_MODEL).unwrap();
        assert_eq!(model.description().checksum.len(), 64);
        assert!(
            model.golden.is_some(),
            "models/lookalike-mini/golden.json belongs to other weights: write it again with the \
             example `golden`"
        );
    }

    #[test]
    fn a_folder_is_a_model_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let error = |expected: &str| {
            let error = Model::load(path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        error("exactly one .safetensors");
        std::fs::write(folder.path().join("weights.safetensors"), MINI_WEIGHTS).unwrap();
        error("no description");
        std::fs::write(folder.path().join("a.json"), r#"{"something": "else"}"#).unwrap();
        error("no description");
        std::fs::write(folder.path().join("model.json"), "{\"name\": ").unwrap();
        error("model.json");
        let json = include_str!("../../models/lookalike-mini/lookalike-mini.json");
        std::fs::write(folder.path().join("model.json"), json).unwrap();
        let loaded = Model::load(path).unwrap();
        assert_eq!(
            loaded.description(),
            Model::load(BUNDLED_MODEL).unwrap().description()
        );
        assert_eq!(
            &Model::load_description(path).unwrap(),
            loaded.description()
        );
        assert!(loaded.golden.is_none() && loaded.tokenizer.is_none());

        // A tokenizer may contain any text.
        std::fs::write(folder.path().join(TOKENIZER_FILE), "{\"preprocessing\"").unwrap();
        std::fs::write(folder.path().join(GOLDEN_FILE), MINI_GOLDEN_JSON).unwrap();
        let loaded = Model::load(path).unwrap();
        assert_eq!(loaded.golden, Model::load(BUNDLED_MODEL).unwrap().golden);
        assert!(loaded.tokenizer.is_some());
        std::fs::write(folder.path().join(GOLDEN_FILE), "{").unwrap();
        error("golden.json");
        std::fs::remove_file(folder.path().join(GOLDEN_FILE)).unwrap();

        let mut other = MINI_WEIGHTS.to_vec();
        let last = other.len() - 1;
        other[last] ^= 1;
        std::fs::write(folder.path().join("weights.safetensors"), other).unwrap();
        error("SHA-256");
    }

    #[test]
    fn errors_of_unknown_names_say_what_to_do() {
        let error = |name| Model::load(name).unwrap_err().to_string();
        assert!(error("no-such-model").contains("lookalike-mini"));
        assert!(error("resnet43").contains("did you mean \"resnet34\""));
        assert!(error("resnet34").contains("lookalike models fetch resnet34"));
    }
}
