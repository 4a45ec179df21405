//! The model, and the devices that would run it.

use lookalike_models::{ModelListing, list_models};
use lookalike_vision::{BUNDLED_MODEL, DEFAULT_MODEL, Engine, Model};

use super::finding::{Finding, shell_quote};
use super::installation::Installation;

pub(super) fn check_device(installation: &Installation) -> Vec<Finding> {
    let vision = &installation.settings.vision;
    vec![match Engine::describe_devices(vision) {
        Ok((names, reason)) => Finding::ok("device", format!("{} ({reason})", names.join(", "))),
        Err(error) => Finding::failure("device", error.to_string(), "lookalike up --device auto"),
    }]
}

pub(super) fn check_model(installation: &Installation) -> Vec<Finding> {
    const CHECK: &str = "model";
    let settings = &installation.settings;
    let named = match settings.vision.model.as_str() {
        "" => match installation.stats.as_ref() {
            Some(Ok(stats)) => {
                let name = stats["model"]["name"].as_str().unwrap_or("unknown");
                return vec![Finding::ok(CHECK, format!("{name} is in service"))];
            }
            _ => DEFAULT_MODEL,
        },
        named => named,
    };
    let remedy = format!("lookalike models fetch {}", shell_quote(named));
    let listings = settings
        .open_model_store()
        .and_then(|store| Ok(list_models(&store)?));
    let listings = match listings {
        Ok(listings) => listings,
        Err(error) => return vec![Finding::failure(CHECK, error.to_string(), remedy)],
    };
    let is_default = settings.vision.model.is_empty();
    vec![
        match listings.iter().find(|listing| listing.name == named) {
            Some(listing) if listing.load_path().is_some() => {
                Finding::ok(CHECK, format!("{named} is on disk"))
            }
            Some(ModelListing {
                problem: Some(problem),
                ..
            }) => Finding::failure(CHECK, problem, format!("{remedy} --renew")),
            Some(_) if settings.offline && is_default => Finding::warning(
                CHECK,
                format!("{named} is not on disk, so a new index would use {BUNDLED_MODEL}"),
                remedy,
            ),
            Some(_) if settings.offline => Finding::failure(
                CHECK,
                format!("{named} is not on disk, and --offline forbids fetching it"),
                remedy,
            ),
            Some(_) => Finding::ok(
                CHECK,
                format!("{named} is not fetched yet; the first start fetches it"),
            ),
            None => match Model::load_description(named) {
                Ok(description) => Finding::ok(CHECK, format!("{} in {named}", description.name)),
                Err(error) => Finding::failure(CHECK, error.to_string(), "lookalike models"),
            },
        },
    ]
}
