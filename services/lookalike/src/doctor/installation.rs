//! What the checks are about: settings, folders, and a lookalike that may already run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lookalike_client::RunningInstance;
use lookalike_proto::LibraryName;
use serde_json::Value;

use crate::libraries::expand_home;
use crate::settings::Settings;

pub(super) struct Installation {
    pub(super) settings: Settings,
    /// `None` if this account has none.
    pub(super) data_dir: Option<PathBuf>,
    /// Names and root folders: of the settings and arguments, else of the running service, else
    /// `./images`.
    pub(super) libraries: Vec<(String, PathBuf)>,
    /// The `lookalike up` that runs with the data folder.
    pub(super) running: Option<RunningInstance>,
    /// What the running service reports, or why it cannot be asked. `None` if none should run.
    pub(super) stats: Option<Result<Value, String>>,
    /// Limit of one check.
    pub(super) limit: Duration,
}

impl Installation {
    pub(super) async fn locate(settings: &Settings, limit: Duration) -> Self {
        let data_dir = settings.data_dir().ok();
        let running = data_dir
            .as_ref()
            .and_then(|dir| RunningInstance::find_live(dir));
        let stats = match running.is_some() || !settings.url.is_empty() {
            true => Some(fetch_stats(settings, limit).await),
            false => None,
        };
        let mut libraries: Vec<(String, PathBuf)> = settings
            .library_folders()
            .into_iter()
            .map(|(name, folder)| (name, absolute(expand_home(&folder))))
            .collect();
        if libraries.is_empty() {
            libraries = reported_libraries(stats.as_ref());
        }
        if libraries.is_empty() && PathBuf::from("images").is_dir() {
            libraries.push(("images".to_owned(), absolute(PathBuf::from("images"))));
        }
        Self {
            settings: settings.clone(),
            data_dir,
            libraries,
            running,
            stats,
            limit,
        }
    }

    /// Returns the libraries whose names are valid.
    pub(super) fn named_libraries(&self) -> BTreeMap<LibraryName, PathBuf> {
        let libraries = self.libraries.iter().filter_map(|(name, root)| {
            let name = LibraryName::new(name).ok()?;
            Some((name, root.clone()))
        });
        libraries.collect()
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

async fn fetch_stats(settings: &Settings, limit: Duration) -> Result<Value, String> {
    let service = settings.connect_service().map_err(|e| e.to_string())?;
    let request = service.get_json("/v1/stats", &[]);
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{} did not answer within {limit:?}", service.url())),
    }
}

/// The libraries of the running service whose folders are on this machine.
fn reported_libraries(stats: Option<&Result<Value, String>>) -> Vec<(String, PathBuf)> {
    let Some(Ok(stats)) = stats else {
        return Vec::new();
    };
    let libraries = stats["libraries"].as_array().into_iter().flatten();
    libraries
        .filter_map(|library| {
            let name = library["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(library["root"].as_str()?)))
        })
        .collect()
}
