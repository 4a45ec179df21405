//! The history of one file: the steps that its watcher and the last embedder report, and what the
//! index contains of it.

use std::time::Duration;

use lookalike_bus::{FileHistory, WatcherReply, WatcherRequest};
use lookalike_index::{IndexedImage, ReadConsistency};
use lookalike_proto::RelativePath;

use super::convert::parse_image_id;
use super::schema::{FileHistoryBody, HistoryStep, ReasonBody};
use crate::core::service::SearchService;
use crate::core::watcher_client::{request_watchers, select_libraries, unexpected_reply};
use crate::problem::{Code, Problem};
use crate::time;

/// How a client selects a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileSelector {
    Id(String),
    /// The path below the root of a library.
    Path(String),
}

/// Parses an id, or a library with a path in it.
pub(crate) fn parse_selector(
    id: Option<String>,
    library: Option<&str>,
    path: Option<String>,
) -> Result<FileSelector, Problem> {
    match (id, path) {
        (Some(_), Some(_)) => Err(Problem::invalid_parameter(
            "path",
            "give an id or a path, not both",
        )),
        (Some(id), None) => Ok(FileSelector::Id(parse_image_id("id", &id)?)),
        (None, Some(_)) if library.is_none() => Err(Problem::invalid_parameter(
            "library",
            "give the library of the path",
        )),
        (None, Some(path)) if path.len() > RelativePath::MAX_BYTES => {
            let max = RelativePath::MAX_BYTES;
            let detail = format!(
                "the path has {} bytes; no file has more than {max}",
                path.len()
            );
            Err(Problem::new(Code::NoSuchFile, detail).with_param("path"))
        }
        (None, Some(path)) => {
            let path = RelativePath::new(path)
                .map_err(|error| Problem::invalid_parameter("path", error.to_string()))?;
            Ok(FileSelector::Path(path.to_string()))
        }
        (None, None) => Err(Problem::invalid_parameter(
            "id",
            "select a file by its id, or by its library and path",
        )),
    }
}

/// Requests the history of a file from the watchers.
pub(crate) async fn find_history(
    service: &SearchService,
    selector: FileSelector,
    library: Option<&str>,
) -> Result<FileHistory, Problem> {
    let libraries = select_libraries(service, library)?;
    let (id, path) = match selector.clone() {
        FileSelector::Id(id) => (Some(id), None),
        FileSelector::Path(path) => (None, Some(path)),
    };
    let request = WatcherRequest::FileHistory { id, path };
    let replies = request_watchers(service, &libraries, &request).await;
    let mut refusal = None;
    for (library, reply) in libraries.iter().zip(replies) {
        match reply {
            Ok(WatcherReply::FileHistory(Some(history))) => return Ok(*history),
            Ok(WatcherReply::FileHistory(None)) => {}
            Ok(reply) => refusal = refusal.or(Some(unexpected_reply(library, &reply))),
            Err(problem) => refusal = refusal.or(Some(problem)),
        }
    }
    // The file may be in a library whose watcher is unreachable.
    match refusal {
        Some(refusal) => Err(refusal),
        None => Err(no_such_file(service, &selector).await),
    }
}

async fn no_such_file(service: &SearchService, selector: &FileSelector) -> Problem {
    let detail = match selector {
        FileSelector::Id(id) => {
            match find_indexed_row(service, id, ReadConsistency::Strong).await {
                Ok(Some(row)) => format!(
                    "no catalog lists a file with the id {id}, but the index has a row for {}/{}: the \
                 next audit removes it, or its library is not being watched",
                    row.library, row.path
                ),
                _ => format!("no catalog lists a file with the id {id}"),
            }
        }
        FileSelector::Path(path) => format!(
            "no catalog lists a file at {path}; watchers skip folders whose name starts with a dot \
             and folders that an ignore file excludes"
        ),
    };
    Problem::new(Code::NoSuchFile, detail)
}

/// How long the index may take; the history is useful without it.
const INDEX_TIMEOUT: Duration = Duration::from_secs(5);

async fn find_indexed_row(
    service: &SearchService,
    id: &str,
    consistency: ReadConsistency,
) -> Result<Option<IndexedImage>, String> {
    let ids = [id.to_owned()];
    let serving = service.load_model();
    let reading = serving.index.fetch_images(&ids, consistency);
    match tokio::time::timeout(INDEX_TIMEOUT, reading).await {
        Ok(Ok(rows)) => Ok(rows.into_iter().next()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no response within {} s", INDEX_TIMEOUT.as_secs())),
    }
}

/// Returns the history of a file with what the index contains of it.
pub(crate) async fn explain_file(
    service: &SearchService,
    selector: FileSelector,
    library: Option<&str>,
) -> Result<FileHistoryBody, Problem> {
    let history = find_history(service, selector, library).await?;
    // A file that the catalog does not contain (yet) has no id and no row.
    if history.id.is_empty() {
        let index = "the index has no row, because the file is not observed yet".into();
        return Ok(to_history_body(history, Some(false), index));
    }
    let (visible, index) = read_visibility(service, &history).await;
    Ok(to_history_body(history, visible, index))
}

/// Returns whether searches see the newest content of the file, and describes its row.
async fn read_visibility(service: &SearchService, history: &FileHistory) -> (Option<bool>, String) {
    let mut found = (None, String::new());
    // Searches read with bounded consistency. Only what they do not see yet is worth the wait of a
    // strong read.
    for consistency in [ReadConsistency::Bounded, ReadConsistency::Strong] {
        found = match find_indexed_row(service, &history.id, consistency).await {
            Ok(row) => compare_row(history, row.as_ref()),
            Err(reason) => (None, format!("the index is unreachable: {reason}")),
        };
        if found.0 != Some(false) {
            break;
        }
    }
    found
}

/// Returns whether the row has the newest content at the current path, and describes the row.
fn compare_row(history: &FileHistory, row: Option<&IndexedImage>) -> (Option<bool>, String) {
    let Some(row) = row else {
        return (Some(false), "the index has no row of this file".into());
    };
    let has_newest_content = Some(row.content_hash.as_str()) == history.content_hash.as_deref();
    let is_newest = history.state == "indexed" && has_newest_content;
    let description =
        if (row.library.as_str(), row.path.as_str()) != (&history.library, &history.path) {
            format!("the row of this file is at {}/{}", row.library, row.path)
        } else if is_newest {
            "the row is up to date".into()
        } else if has_newest_content {
            "the row has the content of the last outcome".into()
        } else {
            format!(
                "the row has other content: {}…",
                row.content_hash.get(..16).unwrap_or_default()
            )
        };
    let is_here = (row.library.as_str(), row.path.as_str()) == (&history.library, &history.path);
    (Some(is_newest && is_here), description)
}

fn to_history_body(history: FileHistory, visible: Option<bool>, index: String) -> FileHistoryBody {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    FileHistoryBody {
        steps: history_steps(&history),
        since: (history.since_ns > 0).then(|| time::format_time(history.since_ns / 1_000_000)),
        code: some(&history.code),
        detail: some(&history.detail),
        reason: ReasonBody::for_code(&history.code),
        modified_at: (history.mtime_ns != 0)
            .then(|| time::format_time(history.mtime_ns.div_euclid(1_000_000))),
        model: history
            .last_outcome
            .as_ref()
            .and_then(|last| some(&last.model)),
        waits_for: some(&history.waits_for),
        id: (!history.id.is_empty()).then_some(history.id),
        library: history.library,
        path: history.path,
        state: history.state,
        bytes: history.size,
        content_hash: history.content_hash,
        generation: history.generation,
        confirmed: history.confirmed,
        visible,
        index,
    }
}

fn count_in_words(number: u32) -> String {
    match number {
        0 | 1 => "once".into(),
        2 => "twice".into(),
        more => format!("{more} times"),
    }
}

/// Returns the steps of the newest version so far. The outcome of an older version is not part of
/// them.
fn history_steps(history: &FileHistory) -> Vec<HistoryStep> {
    let no_note = String::new;
    let mut done = vec![
        ("seen", history.first_seen_ns, no_note()),
        ("settled", history.observed_ns, no_note()),
        ("sent", history.sent_ns, count_in_words(history.attempt)),
    ];
    let is_newest = |last: &&lookalike_bus::LastOutcome| last.generation == history.generation;
    if let Some(last) = history.last_outcome.as_ref().filter(is_newest) {
        done.extend([
            (
                "delivered",
                last.received_ns,
                count_in_words(last.deliveries),
            ),
            ("read", last.read_ns, no_note()),
            ("decoded", last.decoded_ns, no_note()),
        ]);
        done.push(match last.reused {
            false => ("embedded", last.embedded_ns, no_note()),
            // A cached vector takes no time of its own.
            true => (
                "reused",
                last.read_ns,
                "a vector of the same content".into(),
            ),
        });
        done.push(match last.state.as_str() {
            "indexed" => ("written", last.committed_ns, no_note()),
            state => ("answered", last.committed_ns, state.replace('_', " ")),
        });
        done.push(("confirmed", last.confirmed_ns, no_note()));
    }
    let mut previous = None;
    let mut steps = Vec::new();
    for (step, at_ns, note) in done {
        if at_ns <= 0 {
            continue;
        }
        let after_ms = previous.map(|previous: i64| {
            let micros = (at_ns - previous) / 1_000;
            micros as f64 / 1e3
        });
        previous = Some(at_ns);
        steps.push(HistoryStep {
            step: step.into(),
            at: time::format_time_ms(at_ns.div_euclid(1_000_000)),
            after_ms,
            note,
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schema::EXAMPLE_ID;
    use lookalike_bus::LastOutcome;

    const MS: i64 = 1_000_000;

    fn indexed() -> FileHistory {
        FileHistory {
            id: EXAMPLE_ID.into(),
            library: "shop".into(),
            path: "a.jpg".into(),
            state: "indexed".into(),
            content_hash: Some("ab".repeat(32)),
            generation: 7,
            confirmed: 7,
            attempt: 1,
            first_seen_ns: 1000 * MS,
            observed_ns: 1200 * MS,
            sent_ns: 1201 * MS,
            last_outcome: Some(LastOutcome {
                generation: 7,
                state: "indexed".into(),
                deliveries: 2,
                received_ns: 1203 * MS,
                read_ns: 1204 * MS,
                decoded_ns: 1210 * MS,
                embedded_ns: 1220 * MS + 500_000,
                committed_ns: 1240 * MS,
                confirmed_ns: 1242 * MS,
                ..LastOutcome::default()
            }),
            ..FileHistory::default()
        }
    }

    fn step_lines(history: &FileHistory) -> Vec<String> {
        let steps = history_steps(history).into_iter();
        steps
            .map(|step| format!("{} {:?} {}", step.step, step.after_ms, step.note))
            .collect()
    }

    #[test]
    fn a_complete_history() {
        assert_eq!(
            step_lines(&indexed()),
            [
                "seen None ",
                "settled Some(200.0) ",
                "sent Some(1.0) once",
                "delivered Some(2.0) twice",
                "read Some(1.0) ",
                "decoded Some(6.0) ",
                "embedded Some(10.5) ",
                "written Some(19.5) ",
                "confirmed Some(2.0) ",
            ]
        );
        assert_eq!(history_steps(&indexed())[0].at, "1970-01-01T00:00:01.000Z");
    }

    #[test]
    fn an_older_outcome_is_not_part_of_the_newest_steps() {
        let mut history = indexed();
        history.generation = 8;
        assert_eq!(step_lines(&history).len(), 3);
        history.generation = 7;
        if let Some(last) = &mut history.last_outcome {
            last.reused = true;
            last.decoded_ns = 0;
            last.embedded_ns = 0;
        }
        let lines = step_lines(&history);
        assert!(
            lines.iter().any(|step| step.starts_with("reused")),
            "{lines:?}"
        );
        assert!(
            lines.iter().all(|step| !step.starts_with("decoded")),
            "{lines:?}"
        );
    }

    #[test]
    fn the_index_is_compared_with_the_newest_content() {
        let history = indexed();
        let row = IndexedImage {
            id: EXAMPLE_ID.into(),
            library: "shop".into(),
            path: "a.jpg".into(),
            content_hash: "ab".repeat(32),
            ..IndexedImage::default()
        };
        assert_eq!(compare_row(&history, Some(&row)).0, Some(true));
        assert_eq!(compare_row(&history, None).0, Some(false));
        let moved = IndexedImage {
            path: "b.jpg".into(),
            ..row.clone()
        };
        let (visible, description) = compare_row(&history, Some(&moved));
        assert!(
            visible == Some(false) && description.contains("b.jpg"),
            "{description}"
        );
        let stale = IndexedImage {
            content_hash: "cd".repeat(32),
            ..row.clone()
        };
        let (visible, description) = compare_row(&history, Some(&stale));
        assert!(
            visible == Some(false) && description.contains("cdcdcdcdcdcdcdcd"),
            "{description}"
        );
        let waiting = FileHistory {
            state: "in_flight".into(),
            ..history
        };
        assert_eq!(compare_row(&waiting, Some(&row)).0, Some(false));
    }

    #[test]
    fn a_file_is_selected_in_one_way() {
        let param = |id: Option<&str>, library, path: Option<&str>| {
            parse_selector(id.map(str::to_owned), library, path.map(str::to_owned))
                .unwrap_err()
                .param
                .unwrap()
        };
        assert_eq!(param(None, None, None), "id");
        assert_eq!(param(Some("x"), None, None), "id");
        assert_eq!(param(Some(EXAMPLE_ID), None, Some("a")), "path");
        assert_eq!(param(None, None, Some("a")), "library");
        assert_eq!(param(None, Some("shop"), Some("../a")), "path");
        let long = parse_selector(None, Some("shop"), Some("\u{fc}".repeat(4000)));
        assert_eq!(long.unwrap_err().code, Code::NoSuchFile);
        assert_eq!(
            parse_selector(None, Some("shop"), Some("a/b.jpg".into())).unwrap(),
            FileSelector::Path("a/b.jpg".into())
        );
    }
}
