//! One file's life: what its watcher and the last embedder know of it, step by step, and what the
//! index has of it now.

use std::time::Duration;

use lookalike_bus::{FileHistory, WatcherReply, WatcherRequest};
use lookalike_index::{IndexedImage, ReadConsistency};
use lookalike_proto::RelativePath;

use super::schema::maintenance as schema;
use crate::api::convert;
use crate::core::service::SearchService;
use crate::core::watcher_client as ask;
use crate::problem::{Code, Problem};
use crate::time;
use schema::{FileHistoryBody, HistoryStep, ReasonBody};

/// How a file is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileSelector {
    /// By its image's id.
    Id(String),
    /// By its path below the root of a library.
    Path(String),
}

/// Checks what a client named: an id, or a library and a path in it.
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
        (Some(id), None) => Ok(FileSelector::Id(convert::parse_image_id("id", &id)?)),
        (None, Some(_)) if library.is_none() => Err(Problem::invalid_parameter(
            "library",
            "a path lies in a library: say in which",
        )),
        (None, Some(path)) => {
            let path = RelativePath::new(path)
                .map_err(|error| Problem::invalid_parameter("path", error.to_string()))?;
            Ok(FileSelector::Path(path.to_string()))
        }
        (None, None) => Err(Problem::invalid_parameter(
            "id",
            "name a file: by its id, or by its library and path",
        )),
    }
}

/// Asks the watchers for a file's life.
pub(crate) async fn find_history(
    service: &SearchService,
    which: FileSelector,
    library: Option<&str>,
) -> Result<FileHistory, Problem> {
    let libraries = ask::select_libraries(service, library)?;
    let (id, path) = match which.clone() {
        FileSelector::Id(id) => (Some(id), None),
        FileSelector::Path(path) => (None, Some(path)),
    };
    let question = WatcherRequest::FileHistory { id, path };
    let answers = ask::ask_watchers(service, &libraries, &question).await;
    let mut refusal = None;
    for (library, answer) in libraries.iter().zip(answers) {
        match answer {
            Ok(WatcherReply::FileHistory(Some(life))) => return Ok(*life),
            Ok(WatcherReply::FileHistory(None)) => {}
            Ok(other) => refusal = refusal.or(Some(ask::unexpected_answer(library, &other))),
            Err(problem) => refusal = refusal.or(Some(problem)),
        }
    }
    // It may be one of those that did not answer.
    match refusal {
        Some(refusal) => Err(refusal),
        None => Err(no_such_file(service, &which).await),
    }
}

async fn no_such_file(service: &SearchService, which: &FileSelector) -> Problem {
    let detail = match which {
        FileSelector::Id(id) => match find_indexed_row(service, id).await {
            Ok(Some(row)) => format!(
                "no watcher knows a file with the id {id}, but the index has a row of it, at \
                 {}/{}: the next audit removes it, or its library is not watched now",
                row.library, row.path
            ),
            _ => format!("no watcher knows a file with the id {id}"),
        },
        FileSelector::Path(path) => format!(
            "the watcher knows no file at {path}; folders whose name begins with a dot, and those \
             that an ignore file names, are not entered"
        ),
    };
    Problem::new(Code::NoSuchFile, detail)
}

/// How long the index may take: the rest of a life is worth knowing without it.
const INDEX_TIMEOUT: Duration = Duration::from_secs(5);

async fn find_indexed_row(
    service: &SearchService,
    id: &str,
) -> Result<Option<IndexedImage>, String> {
    let ids = [id.to_owned()];
    let serving = service.serving();
    let asked = serving.index.fetch_images(&ids, ReadConsistency::Strong);
    match tokio::time::timeout(INDEX_TIMEOUT, asked).await {
        Ok(Ok(rows)) => Ok(rows.into_iter().next()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "it did not answer within {} s",
            INDEX_TIMEOUT.as_secs()
        )),
    }
}

/// A file's life with what the index has of it now.
pub(crate) async fn explain_file(
    service: &SearchService,
    which: FileSelector,
    library: Option<&str>,
) -> Result<FileHistoryBody, Problem> {
    let life = find_history(service, which, library).await?;
    // A file that the catalog does not list (yet) has no id, and no row.
    if life.id.is_empty() {
        let index = "the index has no row of a file that is not taken in".into();
        return Ok(to_history_body(life, Some(false), index));
    }
    let (visible, index) = match find_indexed_row(service, &life.id).await {
        Ok(row) => compare_row(&life, row.as_ref()),
        Err(why) => (None, format!("the index can't be asked now: {why}")),
    };
    Ok(to_history_body(life, visible, index))
}

/// Whether the row is the file's, and what it is else.
fn compare_row(life: &FileHistory, row: Option<&IndexedImage>) -> (Option<bool>, String) {
    let Some(row) = row else {
        return (Some(false), "the index has no row of it".into());
    };
    let told = Some(row.content_hash.as_str()) == life.content_hash.as_deref();
    let is_newest = life.state == "indexed" && told;
    let says = if (row.library.as_str(), row.path.as_str()) != (&life.library, &life.path) {
        format!("the index has it at {}/{}", row.library, row.path)
    } else if is_newest {
        "the index has it as it is".into()
    } else if told {
        "the index still has a row with the content that was answered last".into()
    } else {
        format!(
            "the index has another content of it, {}…",
            row.content_hash.get(..16).unwrap_or_default()
        )
    };
    let is_here = (row.library.as_str(), row.path.as_str()) == (&life.library, &life.path);
    (Some(is_newest && is_here), says)
}

fn to_history_body(life: FileHistory, visible: Option<bool>, index: String) -> FileHistoryBody {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    FileHistoryBody {
        steps: history_steps(&life),
        since: (life.since_ns > 0).then(|| time::format_time(life.since_ns / 1_000_000)),
        code: some(&life.code),
        detail: some(&life.detail),
        reason: ReasonBody::for_code(&life.code),
        modified_at: (life.mtime_ns != 0)
            .then(|| time::format_time(life.mtime_ns.div_euclid(1_000_000))),
        model: life
            .last_outcome
            .as_ref()
            .and_then(|last| some(&last.model)),
        waits_for: some(&life.waits_for),
        id: (!life.id.is_empty()).then_some(life.id),
        library: life.library,
        path: life.path,
        state: life.state,
        bytes: life.size,
        content_hash: life.content_hash,
        generation: life.generation,
        confirmed: life.confirmed,
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

/// The way of the newest version, as far as it came: what was answered for an older one is not
/// part of it.
fn history_steps(life: &FileHistory) -> Vec<HistoryStep> {
    let nothing = String::new;
    let mut done = vec![
        ("seen", life.first_seen_ns, nothing()),
        ("settled", life.observed_ns, nothing()),
        ("sent", life.sent_ns, count_in_words(life.attempt)),
    ];
    let newest = |last: &&lookalike_bus::LastOutcome| last.generation == life.generation;
    if let Some(last) = life.last_outcome.as_ref().filter(newest) {
        done.extend([
            (
                "delivered",
                last.received_ns,
                count_in_words(last.deliveries),
            ),
            ("read", last.read_ns, nothing()),
            ("decoded", last.decoded_ns, nothing()),
        ]);
        done.push(match last.reused {
            false => ("embedded", last.embedded_ns, nothing()),
            // A vector that was at hand takes no time of its own.
            true => (
                "reused",
                last.read_ns,
                "the vector of a known content".into(),
            ),
        });
        done.push(match last.state.as_str() {
            "indexed" => ("written", last.committed_ns, nothing()),
            state => ("answered", last.committed_ns, state.replace('_', " ")),
        });
        done.push(("confirmed", last.confirmed_ns, nothing()));
    }
    let mut before = None;
    let mut steps = Vec::new();
    for (step, at_ns, note) in done {
        if at_ns <= 0 {
            continue;
        }
        let after_ms = before.map(|before: i64| {
            let micros = (at_ns - before) / 1_000;
            micros as f64 / 1e3
        });
        before = Some(at_ns);
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

    fn step_lines(life: &FileHistory) -> Vec<String> {
        let steps = history_steps(life).into_iter();
        steps
            .map(|step| format!("{} {:?} {}", step.step, step.after_ms, step.note))
            .collect()
    }

    #[test]
    fn a_whole_life() {
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
    fn an_older_answer_is_no_part_of_the_newest_way() {
        let mut life = indexed();
        life.generation = 8;
        assert_eq!(step_lines(&life).len(), 3);
        life.generation = 7;
        if let Some(last) = &mut life.last_outcome {
            last.reused = true;
            last.decoded_ns = 0;
            last.embedded_ns = 0;
        }
        let told = step_lines(&life);
        assert!(
            told.iter().any(|step| step.starts_with("reused")),
            "{told:?}"
        );
        assert!(
            told.iter().all(|step| !step.starts_with("decoded")),
            "{told:?}"
        );
    }

    #[test]
    fn the_index_is_compared_with_the_newest_content() {
        let life = indexed();
        let row = IndexedImage {
            id: EXAMPLE_ID.into(),
            library: "shop".into(),
            path: "a.jpg".into(),
            content_hash: "ab".repeat(32),
            ..IndexedImage::default()
        };
        assert_eq!(compare_row(&life, Some(&row)).0, Some(true));
        assert_eq!(compare_row(&life, None).0, Some(false));
        let moved = IndexedImage {
            path: "b.jpg".into(),
            ..row.clone()
        };
        let (visible, says) = compare_row(&life, Some(&moved));
        assert!(visible == Some(false) && says.contains("b.jpg"), "{says}");
        let stale = IndexedImage {
            content_hash: "cd".repeat(32),
            ..row.clone()
        };
        let (visible, says) = compare_row(&life, Some(&stale));
        assert!(
            visible == Some(false) && says.contains("cdcdcdcdcdcdcdcd"),
            "{says}"
        );
        let waiting = FileHistory {
            state: "in_flight".into(),
            ..life
        };
        assert_eq!(compare_row(&waiting, Some(&row)).0, Some(false));
    }

    #[test]
    fn a_file_is_named_in_one_way() {
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
        assert_eq!(
            parse_selector(None, Some("shop"), Some("a/b.jpg".into())).unwrap(),
            FileSelector::Path("a/b.jpg".into())
        );
    }
}
