//! Decides what a rollover to a model needs, and opens its second collection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use lookalike_embedder::rollover::copy::{CollectionCopy, CopyContext};
use lookalike_index::{Collection, Index, ModelSource};
use lookalike_proto::LibraryName;
use lookalike_vision::Limits;

use super::missing_model::record_model_source;
use super::session::RolloverSession;
use crate::model::{find_model, model_identity};

pub(super) enum RolloverPlan {
    /// The model is in service already; its recorded source may be outdated.
    AlreadyInService {
        collection: Collection,
        source: ModelSource,
    },
    Copy(Box<ShadowCopy>),
}

/// A second collection, which is filled while the first one serves.
pub(super) struct ShadowCopy {
    pub(super) current: Collection,
    pub(super) old_index: Index,
    pub(super) new_index: Index,
    pub(super) copy: CollectionCopy,
    pub(super) libraries: BTreeMap<LibraryName, PathBuf>,
}

/// Finds the model, and unless it is in service, loads it and opens its collection.
pub(super) async fn plan_rollover(
    session: &RolloverSession<'_>,
    name: &str,
) -> Result<RolloverPlan> {
    let settings = &session.settings;
    let current = session.collection_in_service().await?;
    let model = find_model(settings, name).await?;
    let description = model.load_description()?;
    let source = model.to_model_source(&description)?;
    let identity = model_identity(&description);
    if current.model == identity {
        return Ok(RolloverPlan::AlreadyInService {
            collection: current,
            source,
        });
    }
    let engine = model.start_engine(settings).await?;
    session.progress.print_line(&format!(
        "rolling over from {} to {}",
        current.model.name,
        engine.describe_device()
    ));
    let old_index = Index::open(&settings.milvus, &current.model).await?;
    let new_index = Index::open_shadow(&settings.milvus, &identity, &source).await?;
    // An earlier command may have created the collection when the model's folder was elsewhere.
    record_model_source(&session.collections, &new_index.collection(), &source).await;
    let libraries = session.local_libraries().await;
    let copy = CollectionCopy::new(CopyContext {
        old: old_index.clone(),
        new: new_index.clone(),
        engine,
        limits: Limits::from(&settings.vision),
        decode_threads: settings.vision.decode_threads(),
        libraries: libraries.clone(),
        settings: settings.embed.clone(),
    });
    Ok(RolloverPlan::Copy(Box::new(ShadowCopy {
        current,
        old_index,
        new_index,
        copy,
        libraries,
    })))
}
