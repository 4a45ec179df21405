//! Model folders that lookalike and the Python programs both load.
//!
//! The weights come from lookalike's own cache or its hub. Where neither has them, a script makes
//! random weights of the same shapes: the speed of a network does not depend on its numbers.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lookalike_chassis::stdio;
use lookalike_test_support::process::product_command;
use serde_json::Value;

use crate::bench::peers::environment::PeerEnvironment;

const WEIGHTS: &str = "model.safetensors";

/// Finds model folders for one run.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    program: PathBuf,
    /// Random weights are stored in a subfolder.
    dir: PathBuf,
}

/// A folder with a description and `model.safetensors`.
#[derive(Debug, Clone)]
pub struct ProvidedModel {
    pub name: String,
    pub folder: PathBuf,
    pub is_random: bool,
}

impl ProvidedModel {
    /// Returns the folder as an argument for lookalike's vision.
    pub fn folder_text(&self) -> anyhow::Result<&str> {
        let text = self.folder.to_str();
        text.context("the folder of the model is not UTF-8")
    }

    /// Returns a remark for the report if the weights are random.
    pub fn note(&self) -> Option<String> {
        let name = &self.name;
        self.is_random.then(|| {
            format!("{name}: random weights, because its own ones are not on this machine and cannot be downloaded")
        })
    }
}

impl ModelFiles {
    pub fn new(program: &Path, dir: &Path) -> Self {
        Self {
            program: program.to_owned(),
            dir: dir.join("models"),
        }
    }

    /// Returns the folder of a model by its name in lookalike.
    pub fn provide(
        &self,
        name: &str,
        environment: &PeerEnvironment,
    ) -> anyhow::Result<ProvidedModel> {
        let provided = |folder: PathBuf, is_random| ProvidedModel {
            name: name.to_owned(),
            folder,
            is_random,
        };
        if let Some(folder) = self.find_fetched(name)? {
            return Ok(provided(folder, false));
        }
        stdio::eprint_line(&format!("downloading {name}"));
        let fetched = product_command(&self.program)
            .args(["models", "fetch", name])
            // Without the hub, random weights do as well.
            .env("LOOKALIKE_MODELS_MAX_ATTEMPTS", "1")
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        if fetched.status.success()
            && let Some(folder) = self.find_fetched(name)?
        {
            return Ok(provided(folder, false));
        }
        let folder = self.dir.join(name);
        if !folder.join(WEIGHTS).is_file() {
            stdio::eprint_line(&format!("making random weights for {name}"));
            environment.run_script("weights.py", &[name.as_ref(), folder.as_os_str()])?;
        }
        Ok(provided(folder, true))
    }

    /// Returns the folder of a model in lookalike's cache.
    pub fn find_fetched(&self, name: &str) -> anyhow::Result<Option<PathBuf>> {
        let output = product_command(&self.program)
            .args(["models", "list", "--json"])
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let models = list["models"].as_array().or(list.as_array());
        let model = models
            .into_iter()
            .flatten()
            .find(|model| model["name"] == name);
        let folder = model.and_then(|model| model["folder"].as_str());
        Ok(folder
            .map(PathBuf::from)
            .filter(|folder| folder.join(WEIGHTS).is_file()))
    }
}
