//! Finding a model: bundled by name, or a folder with a description and weights.
//!
//! Nothing is ever downloaded here, and the default model is part of the program.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{description::Description, error::Error, weights::Weights};

/// The model that comes with lookalike.
pub const DEFAULT: &str = "lookalike-mini";

static MINI: &[u8] = include_bytes!("../models/lookalike-mini/lookalike-mini.safetensors");

/// A model with its weights, checked, not yet on a device.
#[derive(Debug)]
pub struct Model {
    pub(crate) description: Description,
    pub(crate) weights: Weights,
}

impl Model {
    /// Loads a model by name (`"lookalike-mini"`) or from a folder with one `.safetensors` file
    /// and a description: our JSON, or timm's `config.json`.
    ///
    /// # Errors
    /// When there is no such model, or it is not sound: unknown network, wrong checksum, broken
    /// weights.
    pub fn load(name_or_folder: &str) -> Result<Self, Error> {
        let (mut description, file) = find(name_or_folder)?;
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
        let weights = Weights::parse(&file).map_err(|problem| Error::Weights {
            model: description.name.clone(),
            problem,
        })?;
        Ok(Self {
            description,
            weights,
        })
    }

    /// Loads only the description, checksum included, for callers that need no network.
    ///
    /// # Errors
    /// As [`load`](Self::load), without the checks of the weights.
    pub fn load_description(name_or_folder: &str) -> Result<Description, Error> {
        let (mut description, file) = find(name_or_folder)?;
        if description.checksum.is_empty() {
            description.checksum = hex_sha256(&file);
        }
        Ok(description)
    }

    /// What the model is.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

fn find(name_or_folder: &str) -> Result<(Description, Cow<'static, [u8]>), Error> {
    if name_or_folder == DEFAULT {
        let description = Description::bundled(DEFAULT).expect("the default is bundled");
        return Ok((description, Cow::Borrowed(MINI)));
    }
    let folder = Path::new(name_or_folder);
    if !folder.is_dir() {
        let name = name_or_folder.to_owned();
        return Err(match Description::bundled(name_or_folder) {
            Some(_) => Error::WeightsNotBundled { name },
            None => Error::UnknownModel { name },
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
    Ok((description, Cow::Owned(file)))
}

/// The first file, by name, that is a description. Hub folders hold other JSON files as well.
fn find_description(mut files: Vec<PathBuf>) -> Result<Option<Description>, Error> {
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::ReadModel {
            path: path.clone(),
            source,
        })?;
        if text.contains("\"preprocessing\"") || text.contains("\"pretrained_cfg\"") {
            return Description::parse(&text, &path.display().to_string()).map(Some);
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
        assert!(error("resnet34").contains("do not come with lookalike"));
    }
}
