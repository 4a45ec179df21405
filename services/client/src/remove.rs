//! `remove`: moves pictures to the trash of a running lookalike.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lookalike_chassis::stdio;
use serde_json::{Value, json};

use crate::file_list::name_unprocessed_files;
use crate::service::{ServiceArgs, ServiceClient, ServiceRefusal, retry_request};
use crate::terminal::{self, escape_line};
use crate::usage_error::format_error;
use crate::why::resolve_image_ids;

/// Codes of refusals that concern one picture and no other.
const CODES_OF_ONE_PICTURE: &[&str] = &["no_such_image", "file_gone", "file_changed"];

#[derive(Debug, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Indexed pictures: each an id, a path on this disk, or LIBRARY/PATH
    #[arg(value_name = "ID|PATH", required = true)]
    pub files: Vec<PathBuf>,
}

/// The examples in the help of `remove`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike remove 9f8a41c25d7e03b6f4a1c2d3e4f50617\n  \
    lookalike remove shop/2026/a.jpg shop/2026/b.jpg   LIBRARY/PATH, as search prints it\n\n\
    The service moves each file to its trash folder (uploads.trash_dir), and the picture leaves the\n\
    index. To undo it, move the file back. The library must permit it: start the service with\n\
    --allow-deletions NAME.";

/// Moves each picture, and reports where it is now. An error that concerns all pictures ends the
/// command after the report of those that were moved.
pub async fn run_remove(service: &ServiceClient, args: &RemoveArgs) -> Result<()> {
    let ids = resolve_image_ids(service, &args.files).await?;
    let mut removed = Vec::new();
    let mut failed = 0;
    let mut outcome = Ok(());
    for (index, (id, file)) in ids.iter().zip(&args.files).enumerate() {
        let path = format!("/v1/images/{id}");
        // Until the image has left the index, the service answers a repetition with the same place.
        match retry_request(|| service.delete_json(&path)).await {
            Ok(answer) => {
                if !args.service.json {
                    stdio::write_line(&escape_line(&format_removal(&answer)))?;
                }
                removed.push(answer);
            }
            Err(error) if ServiceRefusal::has_code(&error, CODES_OF_ONE_PICTURE) => {
                failed += 1;
                let line = format!("{}: {}", file.display(), format_error(&error));
                stdio::eprint_line(&escape_line(&line));
            }
            Err(error) => {
                let files = name_unprocessed_files(file, args.files.len() - index - 1);
                outcome = Err(error.context(format!("cannot remove {files}")));
                break;
            }
        }
    }
    if args.service.json {
        terminal::write_json(&json!({ "removed": removed }))?;
    }
    outcome?;
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} of {} pictures were not moved", args.files.len()),
    }
}

fn format_removal(answer: &Value) -> String {
    let text = |key: &str| answer[key].as_str().unwrap_or("?");
    format!(
        "{}/{}: moved to {}",
        text("library"),
        text("path"),
        text("trash_path")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_one_line() {
        let answer = json!({ "library": "shop", "path": "a.jpg", "trash_path": "/t/shop/1/a.jpg" });
        assert_eq!(
            format_removal(&answer),
            "shop/a.jpg: moved to /t/shop/1/a.jpg"
        );
    }
}
