//! Which model a role works with: the one given with `--model`, otherwise the one whose collection
//! is in service, otherwise the default model, or the bundled one where the default cannot be fetched.

mod choose;
mod default;
mod requested;

pub use choose::{
    model_loader, replace_outdated_collection, resolve_audited_description, resolve_description,
    resolve_model,
};
pub use default::{ChosenModel, choose_default_model};
pub use requested::{
    RequestedModel, configured_model, find_model, lookup_name, model_error, model_identity,
    print_stage,
};
