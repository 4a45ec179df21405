//! What the roles of a process are connected to: NATS, the index, and the model with its device.

use std::sync::Arc;

use anyhow::Result;
use lookalike_bus::Bus;
use lookalike_index::Index;
use lookalike_vision::{Description, Engine};

use super::role::AppRole;
use crate::connect::{connect_bus, open_index};
use crate::model::{
    ChosenModel, RequestedModel, replace_outdated_collection, resolve_description, resolve_model,
};
use crate::rollover::missing_model::{reconcile_with_named_model, record_model_source};
use crate::settings::Settings;

pub(super) struct RoleConnections {
    pub(super) bus: Bus,
    /// Of every role but a lone watcher.
    pub(super) index: Option<Index>,
    /// Of roles that run the network.
    pub(super) engine: Option<Arc<Engine>>,
    /// Of roles that prepare pictures.
    pub(super) description: Option<Description>,
    /// One line for the user about the choice of the model, if the user did not choose it.
    pub(super) model_reason: Option<String>,
}

/// Connects the roles. `loaded` is the model of `up` if it is known without the index, loaded
/// beforehand.
pub(super) async fn connect_role(
    role: AppRole,
    settings: &Settings,
    loaded: Option<(RequestedModel, Arc<Engine>)>,
) -> Result<RoleConnections> {
    match role {
        AppRole::All => connect_all(settings, loaded).await,
        AppRole::Watcher => Ok(RoleConnections {
            bus: connect_bus(settings, "watcher").await?,
            index: None,
            engine: None,
            description: None,
            model_reason: None,
        }),
        AppRole::Embedder => {
            let ChosenModel { model, reason } = resolve_model(settings).await?;
            let engine = model.start_engine(settings).await?;
            let bus = connect_bus(settings, "embedder").await?;
            let source = model.to_model_source(engine.description())?;
            let index = open_index(settings, engine.description(), &source).await?;
            Ok(RoleConnections {
                bus,
                index: Some(index),
                description: Some(engine.description().clone()),
                engine: Some(engine),
                model_reason: reason,
            })
        }
        AppRole::Service => {
            let (description, source) = resolve_description(settings).await?;
            let bus = connect_bus(settings, "search").await?;
            let index = open_index(settings, &description, &source).await?;
            Ok(RoleConnections {
                bus,
                index: Some(index),
                engine: None,
                description: Some(description),
                model_reason: None,
            })
        }
    }
}

/// Connects `up`, which also repairs the index's choice of a model: see
/// [`reconcile_with_named_model`] and [`replace_outdated_collection`].
async fn connect_all(
    settings: &Settings,
    loaded: Option<(RequestedModel, Arc<Engine>)>,
) -> Result<RoleConnections> {
    let open = async {
        let (model, engine, reason) = match loaded {
            Some((model, engine)) => {
                reconcile_with_named_model(settings, &model, engine.description()).await?;
                (model, engine, None)
            }
            None => {
                let ChosenModel { model, reason } = resolve_model(settings).await?;
                let engine = model.start_engine(settings).await?;
                (model, engine, reason)
            }
        };
        let description = engine.description();
        replace_outdated_collection(settings, &model, description).await?;
        let source = model.to_model_source(description)?;
        let index = open_index(settings, description, &source).await?;
        record_model_source(&index.collections(), &index.collection(), &source).await;
        anyhow::Ok((index, engine, reason))
    };
    let (bus, (index, engine, model_reason)) = tokio::try_join!(connect_bus(settings, "up"), open)?;
    Ok(RoleConnections {
        bus,
        index: Some(index),
        description: Some(engine.description().clone()),
        engine: Some(engine),
        model_reason,
    })
}
