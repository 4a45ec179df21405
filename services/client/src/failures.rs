//! `failures`: lists the files that failed, retries them, or discards them.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgGroup, Args, Subcommand};
use lookalike_chassis::stdio;
use lookalike_proto::reasons;
use serde_json::{Value, json};

use crate::service::{FileArgs, ServiceArgs, ServiceClient};
use crate::terminal::{self, escape_line};
use crate::why;

/// The API's limit on ids in one request.
const MAX_IDS_PER_REQUEST: usize = 1000;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FailuresArgs {
    #[command(subcommand)]
    pub command: Option<FailuresCommand>,
    /// Used when there is no subcommand.
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub enum FailuresCommand {
    /// List failures, one per line (the default of `failures`)
    #[command(after_help = "Examples:\n  \
        lookalike failures list --library shop\n  \
        lookalike failures list --ignored                also ignored files, with their rules\n  \
        lookalike failures list --json | jq '.failures | group_by(.code) | map(length)'")]
    List(ListArgs),
    /// Show one failure with its reason, and what can be done
    #[command(after_help = "Examples:\n  \
        lookalike failures show ~/Pictures/2026/a.jpg\n  \
        lookalike failures show shop/2026/a.jpg          LIBRARY/PATH, as the list prints it")]
    Show(FileArgs),
    /// Retry files whose obstacle is gone
    ///
    /// Files that change are retried without this. It also takes discarded files by name, or all
    /// of them with --code discarded.
    #[command(after_help = "Examples:\n  \
        lookalike failures retry ~/Pictures/2026/a.jpg\n  \
        lookalike failures retry --code unreadable       after a change of permissions\n  \
        lookalike failures retry --all --library shop")]
    Retry(SelectArgs),
    /// Ignore files until they change
    ///
    /// Files on disk are not touched. `failures retry` undoes it.
    #[command(after_help = "Examples:\n  \
        lookalike failures discard ~/Pictures/notes.jpg\n  \
        lookalike failures discard --code not_an_image")]
    Discard(SelectArgs),
}

/// The arguments of `failures list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only files with this code
    #[arg(long, value_name = "CODE", value_parser = failure_code_parser())]
    pub code: Option<String>,
    /// Also list ignored files
    #[arg(long)]
    pub ignored: bool,
}

/// The arguments of `failures retry` and `failures discard`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["files", "code", "all"]))]
pub struct SelectArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Files: each an id, a path on this disk, or LIBRARY/PATH
    #[arg(value_name = "ID|PATH")]
    pub files: Vec<PathBuf>,
    /// Files with this code
    #[arg(long, value_name = "CODE", value_parser = failure_code_parser())]
    pub code: Option<String>,
    /// Every failed file
    #[arg(long, conflicts_with = "files")]
    pub all: bool,
    /// Only files of this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
}

impl FailuresArgs {
    pub fn service_args(&self) -> &ServiceArgs {
        match &self.command {
            None => &self.list.service,
            Some(FailuresCommand::List(args)) => &args.service,
            Some(FailuresCommand::Show(args)) => &args.service,
            Some(FailuresCommand::Retry(args) | FailuresCommand::Discard(args)) => &args.service,
        }
    }
}

/// Rejects unknown codes with a list of the known ones, which shells can complete as well.
fn failure_code_parser() -> PossibleValuesParser {
    let values = reasons::REASONS
        .iter()
        .map(|reason| PossibleValue::new(reason.code).help(reason.title));
    PossibleValuesParser::new(values)
}

pub async fn run_failures(service: &ServiceClient, args: &FailuresArgs) -> Result<()> {
    match &args.command {
        None => list_failures(service, &args.list).await,
        Some(FailuresCommand::List(args)) => list_failures(service, args).await,
        Some(FailuresCommand::Show(args)) => why::show_failure(service, args).await,
        Some(FailuresCommand::Retry(args)) => {
            apply_to_selection(service, args, SelectionAction::Retry).await
        }
        Some(FailuresCommand::Discard(args)) => {
            apply_to_selection(service, args, SelectionAction::Discard).await
        }
    }
}

async fn list_failures(service: &ServiceClient, args: &ListArgs) -> Result<()> {
    let mut all = Vec::new();
    let mut unreachable = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(args.library.clone().map(|library| ("library", library)));
        query.extend(args.code.clone().map(|code| ("code", code)));
        query.extend(args.ignored.then(|| ("ignored", "true".to_owned())));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = service.get_json("/v1/failures", &query).await?;
        let failures = page["failures"].as_array().cloned().unwrap_or_default();
        if !args.service.json {
            for failure in &failures {
                stdio::write_line(&format_failure(failure, terminal::stdout_width()))?;
            }
        }
        all.extend(failures);
        unreachable.extend(unreachable_libraries(&page));
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let unreachable = sort_and_dedup(unreachable);
    if args.service.json {
        terminal::write_json(&json!({ "failures": all, "unreachable_libraries": unreachable }))?;
    } else if all.is_empty() && unreachable.is_empty() {
        stdio::write_line(&describe_empty_list(args))?;
    }
    if !unreachable.is_empty() {
        bail!(
            "no watcher answered for {}: its failures are missing from the list",
            unreachable.join(", ")
        );
    }
    Ok(())
}

fn describe_empty_list(args: &ListArgs) -> String {
    let sentence = match (&args.library, &args.code) {
        (None, None) if args.ignored => return "no file has failed, and none is ignored".into(),
        (None, None) => "no file has failed".to_owned(),
        (Some(library), None) => format!("no file of {library} has failed"),
        (None, Some(code)) => format!("no file has the code {code}"),
        (Some(library), Some(code)) => format!("no file of {library} has the code {code}"),
    };
    if args.ignored || args.code.is_some() {
        return sentence;
    }
    format!("{sentence}; --ignored also lists ignored files")
}

/// The libraries whose watcher did not answer the service.
fn unreachable_libraries(answer: &Value) -> Vec<String> {
    let libraries = answer["unreachable_libraries"]
        .as_array()
        .into_iter()
        .flatten();
    libraries
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

fn sort_and_dedup(mut libraries: Vec<String>) -> Vec<String> {
    libraries.sort_unstable();
    libraries.dedup();
    libraries
}

fn format_failure(failure: &Value, width: Option<usize>) -> String {
    let text = |key: &str| escape_line(failure[key].as_str().unwrap_or("?"));
    terminal::fit_line(
        &format!("{}/{}: ", text("library"), text("path")),
        &text("detail"),
        &format!(" ({})", text("code")),
        width,
    )
}

#[derive(Clone, Copy)]
enum SelectionAction {
    Retry,
    Discard,
}

async fn apply_to_selection(
    service: &ServiceClient,
    args: &SelectArgs,
    action: SelectionAction,
) -> Result<()> {
    let path = match action {
        SelectionAction::Retry => "/v1/failures/retry",
        SelectionAction::Discard => "/v1/failures/discard",
    };
    let (mut files, mut not_found) = (0, 0);
    let mut unreachable = Vec::new();
    for selection in build_selections(service, args).await? {
        let answer = service.post_json(path, &selection).await?;
        files += answer["files"].as_u64().unwrap_or(0);
        not_found += answer["not_found"].as_u64().unwrap_or(0);
        unreachable.extend(unreachable_libraries(&answer));
    }
    let unreachable = sort_and_dedup(unreachable);
    if args.service.json {
        terminal::write_json(
            &json!({ "files": files, "not_found": not_found, "unreachable_libraries": unreachable }),
        )?;
    } else {
        stdio::write_line(&describe_result(action, files))?;
    }
    if !unreachable.is_empty() {
        bail!(
            "no watcher answered for {}: nothing was changed there",
            unreachable.join(", ")
        );
    }
    if not_found > 0 {
        bail!("{not_found} of the named files have not failed");
    }
    Ok(())
}

/// The bodies of the requests that together select the files.
async fn build_selections(service: &ServiceClient, args: &SelectArgs) -> Result<Vec<Value>> {
    let mut selection = json!({});
    if let Some(code) = &args.code {
        selection["code"] = json!(code);
    }
    if let Some(library) = &args.library {
        selection["library"] = json!(library);
    }
    if args.files.is_empty() {
        if args.all {
            selection["all"] = json!(true);
        }
        return Ok(vec![selection]);
    }
    let ids = why::resolve_image_ids(service, &args.files).await?;
    let selections = ids.chunks(MAX_IDS_PER_REQUEST).map(|ids| {
        selection["ids"] = json!(ids);
        selection.clone()
    });
    Ok(selections.collect())
}

fn describe_result(action: SelectionAction, files: u64) -> String {
    match (action, files) {
        (_, 0) => "no failed file matches".into(),
        (SelectionAction::Retry, 1) => "1 file is tried again".into(),
        (SelectionAction::Retry, files) => format!("{files} files are tried again"),
        (SelectionAction::Discard, 1) => "1 file is ignored until it changes".into(),
        (SelectionAction::Discard, files) => format!("{files} files are ignored until they change"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_described() {
        assert_eq!(
            describe_result(SelectionAction::Retry, 0),
            "no failed file matches"
        );
        assert_eq!(
            describe_result(SelectionAction::Retry, 1),
            "1 file is tried again"
        );
        assert_eq!(
            describe_result(SelectionAction::Discard, 2),
            "2 files are ignored until they change"
        );
    }

    #[test]
    fn unreachable_libraries_are_named_once() {
        let mut unreachable =
            unreachable_libraries(&json!({ "unreachable_libraries": ["shop", "attic"] }));
        unreachable.extend(unreachable_libraries(
            &json!({ "unreachable_libraries": ["shop"] }),
        ));
        // An answer without the field.
        unreachable.extend(unreachable_libraries(&json!({ "failures": [] })));
        assert_eq!(sort_and_dedup(unreachable), ["attic", "shop"]);
    }

    #[test]
    fn a_failure_is_one_line() {
        let failure = json!({
            "library": "shop", "path": "a.jpg", "detail": "it is cut short", "code": "truncated"
        });
        assert_eq!(
            format_failure(&failure, None),
            "shop/a.jpg: it is cut short (truncated)"
        );
    }
}
