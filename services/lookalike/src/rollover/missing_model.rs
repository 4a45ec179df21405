//! A model in service that can't be had any more, and another one than that in service: what is
//! said then, and the way back without anything that runs.

use std::path::Path;

use lookalike_index::{Collection, Collections, Index, ModelSource};
use lookalike_vision::{DEFAULT_MODEL, Description, registry};

use super::{RequestedModel, find_model, lookup_name, model_identity};
use crate::failure::Failure;
use crate::roles::failed_chain;
use crate::settings::Settings;

/// Finds the model of a collection and looks whether it is there.
///
/// # Errors
/// Why it can't be had.
pub(super) async fn find_collection_model(
    settings: &Settings,
    collection: &Collection,
) -> Result<RequestedModel, Failure> {
    let named = find_model(settings, lookup_name(collection)).await?;
    named.load_description()?;
    Ok(named)
}

/// What is said of a model that can't be had.
pub(super) fn explain_missing_model(collection: &Collection, failure: &Failure) -> String {
    let (name, source) = (&collection.model.name, lookup_name(collection));
    let is_gone = Path::new(source).is_absolute() && !Path::new(source).exists();
    let why = match is_gone {
        true => format!("its folder {source} is not there any more"),
        false => format!("that can't be had now ({source}: {failure})"),
    };
    format!(
        "the index in service was made with the model {name}, and {why}. If it lies elsewhere now, \
         name its new folder with --model, once"
    )
}

/// The way back to the model before, in words; nothing where there is none.
pub(super) async fn describe_way_back(collections: &Collections) -> String {
    match collections.previous().await {
        Ok(Some(previous)) => format!(
            "; or go back to {}, the model before, whose collection is still there: `lookalike up` \
             with --model {}",
            previous.model.name,
            quote_for_shell(lookup_name(&previous))
        ),
        _ => String::new(),
    }
}

/// For an `up` that was told its model: where another one is in service that can't be had any more,
/// and the index was made with this one before, that collection is put in service again, and the
/// audit brings in what has changed since.
///
/// # Errors
/// When another model is in service, and there is no way back or no reason for it; when Milvus
/// does not answer.
pub async fn reconcile_with_named_model(
    settings: &Settings,
    named: &RequestedModel,
    description: &Description,
) -> Result<(), Failure> {
    let collections = Collections::open(&settings.milvus).await;
    let collections = collections.map_err(failed_chain)?;
    let current = collections.in_service().await.map_err(failed_chain)?;
    let wanted = model_identity(description);
    let Some(current) = current.filter(|current| current.model != wanted) else {
        return Ok(());
    };
    let Err(why) = verify_obtainable(settings, &current).await else {
        return Err(Failure::usage(explain_refusal(settings, &current, named)));
    };
    let previous = collections.previous().await.map_err(failed_chain)?;
    let Some(previous) = previous.filter(|previous| previous.model == wanted) else {
        if lookup_name(&current) == named.source {
            // Opening the index says in what the two differ.
            return Ok(());
        }
        let (told, back) = (
            explain_missing_model(&current, &why),
            describe_way_back(&collections).await,
        );
        return Err(Failure::usage(format!(
            "{told}{back}. An index of {} needs another --data-dir or milvus.namespace meanwhile",
            named.source
        )));
    };
    tracing::warn!(
        "{} can't be had any more ({}): going back to {}, with which the index was made before; \
         what has changed since is brought in",
        current.model.name,
        lookup_name(&current),
        previous.model.name
    );
    let gone_back = async {
        // It must be able to answer before anything asks it.
        let index = Index::open_shadow(&settings.milvus, &wanted, &previous.model_source).await?;
        index.check_ready().await?;
        collections.put_in_service(&index.collection()).await
    };
    gone_back.await.map_err(failed_chain)
}

/// Whether the model of a collection is here with the same weights, or can be fetched.
///
/// # Errors
/// Why it can't be had.
pub async fn verify_obtainable(
    settings: &Settings,
    collection: &Collection,
) -> Result<(), Failure> {
    let known = registry::find_model(lookup_name(collection)).map(|known| known.origin);
    if matches!(known, Some(registry::WeightsOrigin::Hub(_))) && !settings.offline {
        return Ok(());
    }
    let named = find_collection_model(settings, collection).await?;
    match model_identity(&named.load_description()?) == collection.model {
        true => Ok(()),
        false => Err(Failure::usage("another version of it lies there now")),
    }
}

fn explain_refusal(settings: &Settings, current: &Collection, named: &RequestedModel) -> String {
    let data_dir = match settings.data_dir.as_str() {
        "" => String::new(),
        dir => format!(" --data-dir {}", quote_for_shell(dir)),
    };
    format!(
        "the index in service (collection {:?}) was made by the model {:?}, not by {:?}, and \
         vectors of different models can't be compared. Start `lookalike up` without --model, and \
         while it runs, go over with `lookalike models use{data_dir} {}`; or make a second index \
         beside it with another --data-dir or milvus.namespace",
        current.name,
        lookup_name(current),
        named.source,
        quote_for_shell(&named.source)
    )
}

/// One word for a shell.
fn quote_for_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=~".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Notes by what the model of a collection was found just now, for roles that are started without
/// its name. What comes with lookalike is found by its name for good.
pub async fn record_model_source(collections: &Collections, name: &str, origin: &ModelSource) {
    let bundled = Description::find_bundled(DEFAULT_MODEL);
    let is_bundled = bundled.is_some_and(|bundled| {
        serde_json::to_string(&bundled).is_ok_and(|json| json == origin.description)
    });
    if is_bundled && origin.locator != DEFAULT_MODEL {
        return;
    }
    if let Err(error) = collections.record_model_source(name, origin).await {
        tracing::warn!(%error, "the model's folder could not be noted: name it again at the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookalike_index::ModelIdentity;

    fn make_collection(source: &str) -> Collection {
        Collection {
            name: "lookalike_mine_1".to_owned(),
            model: ModelIdentity {
                name: "mine".to_owned(),
                dimension: 8,
                checksum: "0".repeat(64),
                preprocessing: "none".to_owned(),
            },
            model_source: ModelSource {
                locator: source.to_owned(),
                description: String::new(),
            },
        }
    }

    #[tokio::test]
    async fn a_lost_folder_is_told_as_that() {
        let settings = Settings::default();
        let lost = make_collection("/no/such/mine");
        let failure = find_collection_model(&settings, &lost).await.unwrap_err();
        let told = explain_missing_model(&lost, &failure);
        assert!(
            told.contains("the model mine, and its folder /no/such/mine is not there any more"),
            "{told}"
        );
        assert!(told.contains("with --model, once"), "{told}");
        assert!(!told.contains("known are"), "{told}");
        assert!(verify_obtainable(&settings, &lost).await.is_err());
    }

    #[tokio::test]
    async fn a_model_is_to_be_had_with_the_same_weights_only() {
        let settings = Settings::default();
        let mut here = make_collection(DEFAULT_MODEL);
        assert!(verify_obtainable(&settings, &here).await.is_err());
        here.model = model_identity(&Description::find_bundled(DEFAULT_MODEL).unwrap());
        verify_obtainable(&settings, &here).await.unwrap();
        // Nothing is fetched to find out.
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
        let named = RequestedModel {
            source: "dinov2-s14".to_owned(),
            load_path: String::new(),
        };
        let said = explain_refusal(&settings, &make_collection("/m"), &named);
        assert!(
            said.contains("`lookalike models use --data-dir '/my data' dinov2-s14`"),
            "{said}"
        );
    }
}
