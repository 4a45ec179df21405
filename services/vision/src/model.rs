//! Finding a model: bundled by name, or a folder with a description and weights.
//!
//! Nothing is ever downloaded here, and the default model is part of the program. Names of other
//! models are in [`registry`]; whoever fetches one puts it into a folder.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    description::Description,
    error::Error,
    golden::{self, Golden},
    registry,
    weights::Weights,
};

/// The model that comes with lookalike.
pub const DEFAULT: &str = "lookalike-mini";

static MINI: &[u8] = include_bytes!("../models/lookalike-mini/lookalike-mini.safetensors");
static MINI_GOLDEN: &str = include_str!("../models/lookalike-mini/golden.json");

/// The file of a model's folder that a model with a text side splits words by.
const TOKENIZER: &str = "tokenizer.json";

/// The file of a transformers model's folder that says how pictures are prepared.
const PREPROCESSOR: &str = "preprocessor_config.json";

/// A model with its weights, checked, not yet on a device.
#[derive(Debug)]
pub struct Model {
    pub(crate) description: Description,
    pub(crate) weights: Weights,
    /// `tokenizer.json`, as it lies beside the weights.
    pub(crate) tokenizer: Option<Vec<u8>>,
    /// What the golden picture must become, where that is known.
    pub(crate) golden: Option<Vec<f32>>,
}

/// What there is of a model before it is checked.
struct Found {
    description: Description,
    weights: Cow<'static, [u8]>,
    /// The folder it is from; none of the bundled model.
    folder: Option<PathBuf>,
}

impl Model {
    /// Loads a model by name (`"lookalike-mini"`) or from a folder with one `.safetensors` file
    /// and a description: our JSON, or timm's `config.json`.
    ///
    /// # Errors
    /// When there is no such model, or it is not sound: unknown network, wrong checksum, broken
    /// weights.
    pub fn load(name_or_folder: &str) -> Result<Self, Error> {
        let Found {
            mut description,
            weights: file,
            folder,
        } = find(name_or_folder)?;
        let found = hex_sha256(&file);
        if description.checksum.is_empty() {
            description.checksum.clone_from(&found);
        }
        if description.checksum != found {
            return Err(Error::Checksum {
                model: description.name,
                expected: description.checksum,
                found,
            });
        }
        let weights = Weights::parse(file).map_err(|problem| Error::Weights {
            model: description.name.clone(),
            problem,
        })?;
        let (tokenizer, golden) = match &folder {
            None => (None, Some(Cow::Borrowed(MINI_GOLDEN))),
            Some(folder) => {
                let golden = read_if_there(&folder.join(golden::FILE))?;
                let golden = golden.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let tokenizer = read_if_there(&folder.join(TOKENIZER))?;
                (tokenizer, golden.map(Cow::Owned))
            }
        };
        let golden = golden.map_or(Ok(None), |json| {
            Golden::vector_for(&json, &description.checksum, description.dimension).map_err(
                |problem| Error::ModelFolder {
                    path: folder.unwrap_or_else(|| PathBuf::from(&description.name)),
                    problem: format!("has a {} that can't be read: {problem}", golden::FILE),
                },
            )
        })?;
        Ok(Self {
            description,
            weights,
            tokenizer,
            golden,
        })
    }

    /// Starts this model without comparing its golden picture: for whoever writes that anew.
    pub fn forget_golden(&mut self) {
        self.golden = None;
    }

    /// Loads only the description, checksum included, for callers that need no network.
    ///
    /// # Errors
    /// As [`load`](Self::load), without the checks of the weights.
    pub fn load_description(name_or_folder: &str) -> Result<Description, Error> {
        let Found {
            mut description,
            weights,
            ..
        } = find(name_or_folder)?;
        if description.checksum.is_empty() {
            description.checksum = hex_sha256(&weights);
        }
        Ok(description)
    }

    /// Length of the bundled model's weights.
    pub fn bundled_bytes() -> u64 {
        MINI.len() as u64
    }

    /// What the model is.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

fn find(name_or_folder: &str) -> Result<Found, Error> {
    if name_or_folder == DEFAULT {
        let description = Description::bundled(DEFAULT).expect("the default is bundled");
        return Ok(Found {
            description,
            weights: Cow::Borrowed(MINI),
            folder: None,
        });
    }
    let folder = Path::new(name_or_folder);
    if !folder.is_dir() {
        let name = name_or_folder.to_owned();
        return Err(match registry::find(name_or_folder) {
            Some(_) => Error::WeightsNotBundled { name },
            None => Error::unknown_model(name),
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
    let problem = |problem: &str| Error::ModelFolder {
        path: folder.to_path_buf(),
        problem: problem.to_owned(),
    };
    let [weights] = weights.as_slice() else {
        return Err(problem("must hold exactly one .safetensors file"));
    };
    let description = find_description(descriptions)?
        .ok_or_else(|| problem("holds no description (.json) of a model"))?;
    let file = std::fs::read(weights).map_err(read_error(weights))?;
    Ok(Found {
        description,
        weights: Cow::Owned(file),
        folder: Some(folder.to_path_buf()),
    })
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::ReadModel {
            path: path.to_path_buf(),
            source,
        }),
    }
}

/// The first file, by name, that is a description. Hub folders hold other JSON files as well.
fn find_description(mut files: Vec<PathBuf>) -> Result<Option<Description>, Error> {
    // Large, or with words in it that may be anything.
    files.retain(|path| !path.ends_with(TOKENIZER) && !path.ends_with(golden::FILE));
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::ReadModel {
            path: path.clone(),
            source,
        })?;
        let origin = path.display().to_string();
        if text.contains("\"preprocessing\"") || text.contains("\"pretrained_cfg\"") {
            return Description::parse(&text, &origin).map(Some);
        }
        if text.contains("\"model_type\"") {
            let preprocessor = read_if_there(&path.with_file_name(PREPROCESSOR))?;
            let preprocessor = preprocessor.as_deref().map(String::from_utf8_lossy);
            return Description::parse_hub(&text, preprocessor.as_deref(), &origin).map(Some);
        }
    }
    Ok(None)
}

fn hex_sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes everything");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_loads_and_its_checksum_holds() {
        let model = Model::load(DEFAULT).unwrap();
        assert_eq!(model.description().checksum.len(), 64);
        assert!(
            model.golden.is_some(),
            "models/lookalike-mini/golden.json is of other weights: write it anew, as the example \
             `golden` says"
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
        std::fs::write(folder.path().join("weights.safetensors"), MINI).unwrap();
        error("no description");
        std::fs::write(folder.path().join("a.json"), r#"{"something": "else"}"#).unwrap();
        let json = include_str!("../models/lookalike-mini/lookalike-mini.json");
        std::fs::write(folder.path().join("model.json"), json).unwrap();
        let loaded = Model::load(path).unwrap();
        assert_eq!(
            loaded.description(),
            Model::load(DEFAULT).unwrap().description()
        );
        assert_eq!(
            &Model::load_description(path).unwrap(),
            loaded.description()
        );
        assert!(loaded.golden.is_none() && loaded.tokenizer.is_none());

        // A tokenizer may contain any words.
        std::fs::write(folder.path().join(TOKENIZER), "{\"preprocessing\"").unwrap();
        std::fs::write(folder.path().join(golden::FILE), MINI_GOLDEN).unwrap();
        let loaded = Model::load(path).unwrap();
        assert_eq!(loaded.golden, Model::load(DEFAULT).unwrap().golden);
        assert!(loaded.tokenizer.is_some());
        std::fs::write(folder.path().join(golden::FILE), "{").unwrap();
        error("golden.json");
        std::fs::remove_file(folder.path().join(golden::FILE)).unwrap();

        let mut other = MINI.to_vec();
        let last = other.len() - 1;
        other[last] ^= 1;
        std::fs::write(folder.path().join("weights.safetensors"), other).unwrap();
        error("SHA-256");
    }

    #[test]
    fn unknown_names_say_what_to_do() {
        let error = |name| Model::load(name).unwrap_err().to_string();
        assert!(error("no-such-model").contains("lookalike-mini"));
        assert!(error("resnet43").contains("did you mean \"resnet34\""));
        assert!(error("resnet34").contains("lookalike models fetch resnet34"));
    }
}
