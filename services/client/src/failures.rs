//! `run_failures`: files that are not in the index, listed, tried again, or left alone.

use serde_json::{Value, json};

use crate::cli::{FailuresArgs, FailuresCommand, ListArgs, SelectArgs};
use crate::client::{self, ServiceClient};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::shown;
use crate::why;

/// `run_failures`, with or without a word behind it.
///
/// # Errors
/// When the service does not answer, or a file is not known.
pub async fn run_failures(settings: &Settings, args: &FailuresArgs) -> Result<(), Failure> {
    match &args.command {
        None => list_failures(settings, &args.list).await,
        Some(FailuresCommand::List(args)) => list_failures(settings, args).await,
        Some(FailuresCommand::Show(args)) => why::show_failure(settings, args).await,
        Some(FailuresCommand::Retry(args)) => {
            apply_to_selection(settings, args, SelectionAction::Retry).await
        }
        Some(FailuresCommand::Discard(args)) => {
            apply_to_selection(settings, args, SelectionAction::Discard).await
        }
    }
}

async fn list_failures(settings: &Settings, args: &ListArgs) -> Result<(), Failure> {
    let service = ServiceClient::from_settings(settings)?;
    let mut all = Vec::new();
    let mut unanswered = Vec::new();
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
                println!("{}", shown::escape_line(&format_failure(failure)));
            }
        }
        all.extend(failures);
        unanswered.extend(unanswered_libraries(&page));
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    if args.service.json {
        client::print_json(
            &json!({ "failures": all, "unreachable_libraries": sort_and_dedup(&mut unanswered) }),
        );
    } else if all.is_empty() && unanswered.is_empty() {
        println!("{}", describe_empty_list(args));
    }
    if !unanswered.is_empty() {
        return Err(Failure::failed(format!(
            "no watcher answered for {}: its failures are not listed",
            sort_and_dedup(&mut unanswered).join(", ")
        )));
    }
    Ok(())
}

fn describe_empty_list(args: &ListArgs) -> String {
    let which = match (&args.library, &args.code) {
        (None, None) if args.ignored => return "no file has failed, and none is ignored".into(),
        (None, None) => "no file has failed".to_owned(),
        (Some(library), None) => format!("no file of {library} has failed"),
        (None, Some(code)) => format!("no file has the code {code}"),
        (Some(library), Some(code)) => format!("no file of {library} has the code {code}"),
    };
    if args.ignored || args.code.is_some() {
        return which;
    }
    format!("{which}; --ignored lists those that are not meant to be indexed")
}

/// The libraries whose watcher did not answer.
fn unanswered_libraries(answer: &Value) -> Vec<String> {
    let silent = answer["unreachable_libraries"]
        .as_array()
        .into_iter()
        .flatten();
    silent
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// Each once.
fn sort_and_dedup(unanswered: &mut Vec<String>) -> &[String] {
    unanswered.sort_unstable();
    unanswered.dedup();
    unanswered
}

fn format_failure(failure: &Value) -> String {
    let text = |key: &str| failure[key].as_str().unwrap_or("?");
    format!(
        "{}/{}: {} ({})",
        text("library"),
        text("path"),
        text("detail"),
        text("code")
    )
}

#[derive(Clone, Copy)]
enum SelectionAction {
    Retry,
    Discard,
}

/// Ids in one request.
const MAX_IDS_PER_REQUEST: usize = 1000;

async fn apply_to_selection(
    settings: &Settings,
    args: &SelectArgs,
    order: SelectionAction,
) -> Result<(), Failure> {
    let service = ServiceClient::from_settings(settings)?;
    let mut selection = json!({});
    if let Some(code) = &args.code {
        selection["code"] = json!(code);
    }
    if let Some(library) = &args.library {
        selection["library"] = json!(library);
    }
    let mut selections = Vec::new();
    if args.files.is_empty() {
        if args.all {
            selection["all"] = json!(true);
        }
        selections.push(selection);
    } else {
        let ids = why::resolve_image_ids(&service, &args.files).await?;
        for ids in ids.chunks(MAX_IDS_PER_REQUEST) {
            selection["ids"] = json!(ids);
            selections.push(selection.clone());
        }
    }
    let path = match order {
        SelectionAction::Retry => "/v1/failures/retry",
        SelectionAction::Discard => "/v1/failures/discard",
    };
    let (mut files, mut not_found) = (0, 0);
    let mut unanswered: Vec<String> = Vec::new();
    for selection in selections {
        let answer = service.post_json(path, &selection).await?;
        files += answer["files"].as_u64().unwrap_or(0);
        not_found += answer["not_found"].as_u64().unwrap_or(0);
        unanswered.extend(unanswered_libraries(&answer));
    }
    let unanswered = sort_and_dedup(&mut unanswered);
    if args.service.json {
        client::print_json(
            &json!({ "files": files, "not_found": not_found, "unreachable_libraries": unanswered }),
        );
    } else {
        println!("{}", describe_result(order, files));
    }
    if !unanswered.is_empty() {
        return Err(Failure::failed(format!(
            "no watcher answered for {}: nothing is changed there",
            unanswered.join(", ")
        )));
    }
    if not_found > 0 {
        return Err(Failure::failed(format!(
            "{not_found} of the files that were named have not failed"
        )));
    }
    Ok(())
}

fn describe_result(order: SelectionAction, files: u64) -> String {
    match (order, files) {
        (_, 0) => "no failed file is meant by that".into(),
        (SelectionAction::Retry, 1) => "1 file is tried again".into(),
        (SelectionAction::Retry, files) => format!("{files} files are tried again"),
        (SelectionAction::Discard, 1) => "1 file is left alone until it changes".into(),
        (SelectionAction::Discard, files) => {
            format!("{files} files are left alone until they change")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_in_words() {
        assert_eq!(
            describe_result(SelectionAction::Retry, 0),
            "no failed file is meant by that"
        );
        assert_eq!(
            describe_result(SelectionAction::Retry, 1),
            "1 file is tried again"
        );
        assert_eq!(
            describe_result(SelectionAction::Discard, 2),
            "2 files are left alone until they change"
        );
    }

    #[test]
    fn silent_libraries_are_named_once() {
        let mut unanswered =
            unanswered_libraries(&json!({ "unreachable_libraries": ["shop", "attic"] }));
        unanswered.extend(unanswered_libraries(
            &json!({ "unreachable_libraries": ["shop"] }),
        ));
        // A service of an older version.
        unanswered.extend(unanswered_libraries(&json!({ "failures": [] })));
        assert_eq!(sort_and_dedup(&mut unanswered), ["attic", "shop"]);
    }

    #[test]
    fn a_failure_is_one_line() {
        let failure = json!({
            "library": "shop", "path": "a.jpg", "detail": "it is cut short", "code": "truncated"
        });
        assert_eq!(
            format_failure(&failure),
            "shop/a.jpg: it is cut short (truncated)"
        );
    }
}
