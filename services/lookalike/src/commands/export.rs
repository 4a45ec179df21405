//! Connects `export` with the service, and with the index if it needs vectors.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use lookalike_client::export::{self, ExportArgs, VectorReader};
use lookalike_index::{Index, ReadConsistency};

use crate::connect::{locate_servers, open_index};
use crate::model::resolve_audited_description;
use crate::settings::Settings;

pub async fn run_export(settings: &Settings, args: &ExportArgs) -> Result<()> {
    let service = settings.connect_service()?;
    let read_vectors = match args.needs_vectors() {
        true => Some(open_vectors(settings).await?),
        false => None,
    };
    export::run_export(&service, args, read_vectors).await
}

async fn open_vectors(settings: &Settings) -> Result<VectorReader> {
    let settings = locate_servers(settings)?;
    let (description, source) = resolve_audited_description(&settings).await?;
    let index = Arc::new(open_index(&settings, &description, &source).await?);
    Ok(Box::new(move |ids| {
        let index = Arc::clone(&index);
        Box::pin(fetch_vectors(index, ids))
    }))
}

async fn fetch_vectors(index: Arc<Index>, ids: Vec<String>) -> Result<HashMap<String, Vec<f32>>> {
    Ok(index.fetch_vectors(&ids, ReadConsistency::Bounded).await?)
}
