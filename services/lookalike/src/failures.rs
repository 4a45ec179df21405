//! `failures`: files that are not in the index, listed, tried again, or left alone.

use serde_json::{Value, json};

use crate::cli::{FailuresArgs, FailuresCommand, ListArgs, SelectArgs};
use crate::client::{self, Service};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::shown;
use crate::why;

/// `failures`, with or without a word behind it.
///
/// # Errors
/// When the service does not answer, or a file is not known.
pub async fn failures(settings: &Settings, args: &FailuresArgs) -> Result<(), Failure> {
    match &args.command {
        None => list(settings, &args.list).await,
        Some(FailuresCommand::List(args)) => list(settings, args).await,
        Some(FailuresCommand::Show(args)) => why::show(settings, args).await,
        Some(FailuresCommand::Retry(args)) => order(settings, args, Order::Retry).await,
        Some(FailuresCommand::Discard(args)) => order(settings, args, Order::Discard).await,
    }
}

async fn list(settings: &Settings, args: &ListArgs) -> Result<(), Failure> {
    let service = Service::find(settings)?;
    let mut all = Vec::new();
    let mut unanswered = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(args.library.clone().map(|library| ("library", library)));
        query.extend(args.code.clone().map(|code| ("code", code)));
        query.extend(args.ignored.then(|| ("ignored", "true".to_owned())));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = service.get("/v1/failures", &query).await?;
        let failures = page["failures"].as_array().cloned().unwrap_or_default();
        if !args.service.json {
            for failure in &failures {
                println!("{}", shown::plain(&line(failure)));
            }
        }
        all.extend(failures);
        unanswered.extend(silent(&page));
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    if args.service.json {
        client::print_json(&json!({ "failures": all, "unanswered": names(&mut unanswered) }));
    } else if all.is_empty() && unanswered.is_empty() {
        println!("{}", none(args));
    }
    if !unanswered.is_empty() {
        return Err(Failure::failed(format!(
            "no watcher answered for {}: its failures are not listed",
            names(&mut unanswered).join(", ")
        )));
    }
    Ok(())
}

fn none(args: &ListArgs) -> String {
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
fn silent(answer: &Value) -> Vec<String> {
    let silent = answer["unanswered"].as_array().into_iter().flatten();
    silent
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// Each once.
fn names(unanswered: &mut Vec<String>) -> &[String] {
    unanswered.sort_unstable();
    unanswered.dedup();
    unanswered
}

fn line(failure: &Value) -> String {
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
enum Order {
    Retry,
    Discard,
}

/// Ids in one request.
const MOST_IDS: usize = 1000;

async fn order(settings: &Settings, args: &SelectArgs, order: Order) -> Result<(), Failure> {
    let service = Service::find(settings)?;
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
        let ids = why::ids(&service, &args.files).await?;
        for ids in ids.chunks(MOST_IDS) {
            selection["ids"] = json!(ids);
            selections.push(selection.clone());
        }
    }
    let path = match order {
        Order::Retry => "/v1/failures/retry",
        Order::Discard => "/v1/failures/discard",
    };
    let (mut files, mut not_found) = (0, 0);
    let mut unanswered: Vec<String> = Vec::new();
    for selection in selections {
        let answer = service.post(path, &selection).await?;
        files += answer["files"].as_u64().unwrap_or(0);
        not_found += answer["not_found"].as_u64().unwrap_or(0);
        unanswered.extend(silent(&answer));
    }
    let unanswered = names(&mut unanswered);
    if args.service.json {
        client::print_json(
            &json!({ "files": files, "not_found": not_found, "unanswered": unanswered }),
        );
    } else {
        println!("{}", done(order, files));
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

fn done(order: Order, files: u64) -> String {
    match (order, files) {
        (_, 0) => "no failed file is meant by that".into(),
        (Order::Retry, 1) => "1 file is tried again".into(),
        (Order::Retry, files) => format!("{files} files are tried again"),
        (Order::Discard, 1) => "1 file is left alone until it changes".into(),
        (Order::Discard, files) => format!("{files} files are left alone until they change"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_in_words() {
        assert_eq!(done(Order::Retry, 0), "no failed file is meant by that");
        assert_eq!(done(Order::Retry, 1), "1 file is tried again");
        assert_eq!(
            done(Order::Discard, 2),
            "2 files are left alone until they change"
        );
    }

    #[test]
    fn silent_libraries_are_named_once() {
        let mut unanswered = silent(&json!({ "unanswered": ["shop", "attic"] }));
        unanswered.extend(silent(&json!({ "unanswered": ["shop"] })));
        // A service of an older version.
        unanswered.extend(silent(&json!({ "failures": [] })));
        assert_eq!(names(&mut unanswered), ["attic", "shop"]);
    }

    #[test]
    fn a_failure_is_one_line() {
        let failure = json!({
            "library": "shop", "path": "a.jpg", "detail": "it is cut short", "code": "truncated"
        });
        assert_eq!(line(&failure), "shop/a.jpg: it is cut short (truncated)");
    }
}
