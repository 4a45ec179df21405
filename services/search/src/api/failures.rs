//! Files that are not in the index: listed a page at a time through all libraries, tried again,
//! or left alone.

use std::time::Instant;

use futures_util::future::join_all;
use lookalike_bus::{FileFailure, WatcherReply, WatcherRequest};
use lookalike_proto::LibraryName;
use lookalike_proto::reasons::{self, RetryPolicy};

use super::preview;
use super::schema::maintenance::{
    FailureBody, FailureList, ReasonBody, Selection, SelectionResult,
};
use crate::api::convert;
use crate::core::service::SearchService;
use crate::core::watcher_client as ask;
use crate::problem::{Code, Problem};
use crate::time;

/// Checks a code: one that is not listed would silently find nothing.
fn check_code(code: Option<String>) -> Result<Option<String>, Problem> {
    match code {
        Some(code) if reasons::find_reason(&code).is_none() => Err(Problem::invalid_parameter(
            "code",
            format!(
                "no file fails with the code {:?}; REASONS.md lists them",
                code.chars().take(64).collect::<String>()
            ),
        )),
        code => Ok(code),
    }
}

/// What a list is asked for.
pub(crate) struct FailureListRequest {
    pub library: Option<String>,
    pub code: Option<String>,
    pub ignored: bool,
    pub cursor: Option<String>,
    pub limit: usize,
}

/// Where a page of failures goes on: a library, and the last id seen in it.
#[derive(Debug, PartialEq, Eq)]
struct FailureCursor {
    library: LibraryName,
    after: Option<String>,
}

impl FailureCursor {
    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::invalid_parameter("cursor", "give the cursor of the last answer as it came")
        };
        let (library, after) = text.split_once(':').ok_or_else(wrong)?;
        let library = LibraryName::new(library).map_err(|_| wrong())?;
        let after = match after {
            "" => None,
            id => Some(convert::parse_image_id("cursor", id)?),
        };
        Ok(Self { library, after })
    }

    fn to_text(&self) -> String {
        format!(
            "{}:{}",
            self.library,
            self.after.as_deref().unwrap_or_default()
        )
    }
}

/// A page of failures, through the libraries in the order of their names.
pub(crate) async fn list_failures(
    service: &SearchService,
    wanted: FailureListRequest,
) -> Result<FailureList, Problem> {
    let libraries = ask::select_libraries(service, wanted.library.as_deref())?;
    let code = check_code(wanted.code)?;
    // Who asks for the code of a rule means ignored files; a file can be too large for either.
    let is_rule = |code: &String| {
        reasons::find_reason(code).is_some_and(|one| one.retry_policy == RetryPolicy::Rule)
    };
    let ignored = wanted.ignored
        || code.as_deref() == Some("too_large")
        || code.as_ref().is_some_and(is_rule);
    let start = wanted
        .cursor
        .as_deref()
        .map(FailureCursor::parse)
        .transpose()?;
    let begun = Instant::now();
    let whole = start.is_none();
    let all = libraries.len();
    let mut page = FailurePageBuilder::new(wanted.limit);
    for library in libraries {
        let after = match &start {
            Some(cursor) if library.as_str() < cursor.library.as_str() => continue,
            Some(cursor) if library == cursor.library => cursor.after.clone(),
            _ => None,
        };
        // Each silent one costs time; the page ends before the request's time does.
        let late = page.refusal.is_some() && begun.elapsed() > service.settings.request_timeout / 3;
        if page.remaining() == 0 || late {
            return Ok(page.finish(Some(FailureCursor { library, after })));
        }
        let question = WatcherRequest::Failures {
            after,
            limit: page.remaining(),
            ignored,
            code: code.clone(),
        };
        let answer = ask::ask_watcher(service, &library, question).await;
        if let Some(cursor) = page.add_answer(&library, answer)? {
            return Ok(page.finish(Some(cursor)));
        }
    }
    match page.refusal.take() {
        // As with an order: it fails as a whole only where nobody answered.
        Some(refusal) if whole && page.unreachable_libraries.len() == all => Err(refusal),
        _ => Ok(page.finish(None)),
    }
}

/// A page that is being gathered.
struct FailurePageBuilder {
    limit: usize,
    failures: Vec<FailureBody>,
    unreachable_libraries: Vec<String>,
    /// Of the first library that did not answer.
    refusal: Option<Problem>,
}

impl FailurePageBuilder {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            failures: Vec::new(),
            unreachable_libraries: Vec::new(),
            refusal: None,
        }
    }

    fn remaining(&self) -> usize {
        self.limit - self.failures.len()
    }

    /// Takes one library's answer; where the list goes on, if it does not with the next library.
    fn add_answer(
        &mut self,
        library: &LibraryName,
        answer: Result<WatcherReply, Problem>,
    ) -> Result<Option<FailureCursor>, Problem> {
        let room = self.remaining();
        let refused = match answer {
            Ok(WatcherReply::Failures(page)) => {
                // A page may be short of its limit for its bytes.
                let goes_on = page.more || page.failures.len() >= room;
                let last = page.failures.last().map(|failure| failure.id.clone());
                let failures = page.failures.into_iter().take(room).map(to_failure_body);
                self.failures.extend(failures);
                return Ok(last.filter(|_| goes_on).map(|last| FailureCursor {
                    library: library.clone(),
                    after: Some(last),
                }));
            }
            Ok(other) => ask::unexpected_answer(library, &other),
            // Without NATS no library can be asked: not a silence of this one.
            Err(problem) if problem.code == Code::QueueUnavailable => return Err(problem),
            Err(problem) => problem,
        };
        self.unreachable_libraries.push(library.to_string());
        self.refusal.get_or_insert(refused);
        Ok(None)
    }

    fn finish(self, cursor: Option<FailureCursor>) -> FailureList {
        FailureList {
            failures: self.failures,
            cursor: cursor.map(|cursor| cursor.to_text()),
            unreachable_libraries: self.unreachable_libraries,
        }
    }
}

fn to_failure_body(failure: FileFailure) -> FailureBody {
    FailureBody {
        preview_url: preview::preview_url(&failure),
        reason: ReasonBody::for_code(&failure.code),
        id: failure.id,
        library: failure.library,
        path: failure.path,
        state: failure.state,
        code: failure.code,
        detail: failure.detail,
        bytes: failure.size,
        since: time::format_time(failure.since_ms),
    }
}

/// What becomes of the files that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureAction {
    /// They are tried again.
    Retry,
    /// They are left alone until they change.
    Discard,
}

/// A selection that was checked.
#[derive(Debug, PartialEq, Eq)]
struct CheckedSelection {
    /// None: whatever the rest says.
    ids: Option<Vec<String>>,
    code: Option<String>,
}

fn check_selection(selection: &Selection) -> Result<CheckedSelection, Problem> {
    let everything = selection.all == Some(true);
    let narrows =
        selection.ids.is_some() || selection.code.is_some() || selection.library.is_some();
    if !narrows && !everything {
        return Err(Problem::invalid_parameter(
            "ids",
            "say which files are meant: ids, a code, a library, or all",
        ));
    }
    if selection.ids.is_some() && everything {
        return Err(Problem::invalid_parameter(
            "all",
            "either ids are meant or all files; give one of the two",
        ));
    }
    let ids = match &selection.ids {
        Some(ids) => {
            let checked: Result<Vec<String>, Problem> = ids
                .iter()
                .map(|id| convert::parse_image_id("ids", id))
                .collect();
            let mut ids = checked?;
            ids.sort_unstable();
            ids.dedup();
            Some(ids)
        }
        None => None,
    };
    Ok(CheckedSelection {
        ids,
        code: check_code(selection.code.clone())?,
    })
}

/// Carries out an order; asks every library that may hold what is meant.
pub(crate) async fn apply_action(
    service: &SearchService,
    order: FailureAction,
    selection: Selection,
) -> Result<SelectionResult, Problem> {
    let meant = check_selection(&selection)?;
    let libraries = ask::select_libraries(service, selection.library.as_deref())?;
    let ids = meant.ids.unwrap_or_default();
    if selection.ids.is_some() && ids.is_empty() {
        // To a watcher, no ids would mean all.
        return Ok(SelectionResult::default());
    }
    let asked = ids.len() as u64;
    let code = meant.code;
    let question = match order {
        FailureAction::Retry => WatcherRequest::Retry { ids, code },
        FailureAction::Discard => WatcherRequest::Discard { ids, code },
    };
    let answers = libraries
        .iter()
        .map(|library| repeat_until_done(service, library, &question));
    sum_answers(&libraries, join_all(answers).await, asked)
}

/// Asks again while a watcher did as many as it does at once.
async fn repeat_until_done(
    service: &SearchService,
    library: &LibraryName,
    question: &WatcherRequest,
) -> Result<WatcherReply, Problem> {
    // A file that fails again meanwhile is not to be tried for ever.
    const ROUNDS: usize = 400;
    let mut files = 0;
    for _ in 0..ROUNDS {
        match ask::ask_watcher(service, library, question.clone()).await {
            Ok(WatcherReply::Retried(more) | WatcherReply::Discarded(more)) => {
                files += more;
                if more < lookalike_bus::MAX_FILES_PER_REQUEST as u64 {
                    break;
                }
            }
            // What was done before is done.
            Ok(_) | Err(_) if files > 0 => break,
            other => return other,
        }
    }
    Ok(WatcherReply::Retried(files))
}

/// One answer of many: it fails as a whole only where nobody answered.
fn sum_answers(
    libraries: &[LibraryName],
    answers: Vec<Result<WatcherReply, Problem>>,
    asked: u64,
) -> Result<SelectionResult, Problem> {
    let mut selected = SelectionResult::default();
    let mut refusal = None;
    for (library, answer) in libraries.iter().zip(answers) {
        let refused = match answer {
            Ok(WatcherReply::Retried(files) | WatcherReply::Discarded(files)) => {
                selected.files += files;
                continue;
            }
            Ok(other) => ask::unexpected_answer(library, &other),
            Err(problem) => problem,
        };
        selected.unreachable_libraries.push(library.to_string());
        refusal.get_or_insert(refused);
    }
    if let (Some(refusal), true) = (
        refusal,
        selected.unreachable_libraries.len() == libraries.len(),
    ) {
        return Err(refusal);
    }
    selected.not_found = asked.saturating_sub(selected.files);
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schema::EXAMPLE_ID;
    use lookalike_bus::FileFailurePage;

    #[test]
    fn cursors_survive_their_text() {
        for after in [None, Some(EXAMPLE_ID.to_owned())] {
            let library = LibraryName::new("shop").unwrap();
            let cursor = FailureCursor { library, after };
            assert_eq!(FailureCursor::parse(&cursor.to_text()).unwrap(), cursor);
        }
        for bad in ["", "shop", "Shop:", "shop:xyz", ":", "../x:"] {
            assert_eq!(
                FailureCursor::parse(bad).unwrap_err().param.unwrap(),
                "cursor",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_silent_library_does_not_end_the_list() {
        let [archive, shop] = ["archive", "shop"].map(|name| LibraryName::new(name).unwrap());
        let of_shop = |more| {
            let failure = FileFailure {
                id: EXAMPLE_ID.into(),
                library: "shop".into(),
                path: "a.jpg".into(),
                state: "failed".into(),
                code: "truncated".into(),
                detail: "it is cut short".into(),
                size: 1,
                since_ms: 1,
            };
            Ok(WatcherReply::Failures(FileFailurePage {
                failures: vec![failure],
                total: 1,
                more,
            }))
        };
        for code in [Code::WatcherUnavailable, Code::Refused] {
            let mut page = FailurePageBuilder::new(5);
            let silent = Err(Problem::new(code, "nobody"));
            assert_eq!(page.add_answer(&archive, silent).unwrap(), None);
            assert_eq!(page.add_answer(&shop, of_shop(false)).unwrap(), None);
            let list = page.finish(None);
            assert_eq!(list.unreachable_libraries, ["archive"]);
            assert_eq!(list.failures.len(), 1);
        }
        let mut page = FailurePageBuilder::new(5);
        let other = Ok(WatcherReply::Scanning);
        assert_eq!(page.add_answer(&archive, other).unwrap(), None);
        let cursor = page.add_answer(&shop, of_shop(true)).unwrap();
        assert_eq!(cursor.unwrap().to_text(), format!("shop:{EXAMPLE_ID}"));
        assert_eq!(page.finish(None).unreachable_libraries, ["archive"]);
        // Without NATS there is no list: its end would be told too early.
        let away = Err(Problem::new(Code::QueueUnavailable, "NATS is away"));
        assert!(
            FailurePageBuilder::new(5)
                .add_answer(&archive, away)
                .is_err()
        );
    }

    #[test]
    fn nothing_given_never_means_everything() {
        let param = |selection: Selection| check_selection(&selection).unwrap_err().param.unwrap();
        assert_eq!(param(Selection::default()), "ids");
        assert_eq!(
            param(Selection {
                all: Some(false),
                ..Selection::default()
            }),
            "ids"
        );
        let with_ids = |ids: &[&str]| Selection {
            ids: Some(ids.iter().map(|id| (*id).to_owned()).collect()),
            ..Selection::default()
        };
        assert_eq!(param(with_ids(&["../../etc/passwd"])), "ids");
        assert_eq!(
            param(Selection {
                all: Some(true),
                ..with_ids(&[EXAMPLE_ID])
            }),
            "all"
        );
        assert_eq!(
            param(Selection {
                code: Some("brokn".into()),
                ..Selection::default()
            }),
            "code"
        );
        let twice = check_selection(&with_ids(&[EXAMPLE_ID, EXAMPLE_ID])).unwrap();
        assert_eq!(twice.ids, Some(vec![EXAMPLE_ID.to_owned()]));
        assert_eq!(check_selection(&with_ids(&[])).unwrap().ids, Some(vec![]));
        let all = Selection {
            all: Some(true),
            ..Selection::default()
        };
        assert_eq!(check_selection(&all).unwrap().ids, None);
    }

    #[test]
    fn answers_of_several_libraries_are_one() {
        let libraries = ["archive", "shop"].map(|name| LibraryName::new(name).unwrap());
        let away = || Err(Problem::new(Code::WatcherUnavailable, "nobody"));
        let both = sum_answers(
            &libraries,
            vec![Ok(WatcherReply::Retried(2)), Ok(WatcherReply::Retried(1))],
            5,
        );
        assert_eq!(
            both.unwrap(),
            SelectionResult {
                files: 3,
                not_found: 2,
                unreachable_libraries: vec![]
            }
        );
        let one = sum_answers(&libraries, vec![away(), Ok(WatcherReply::Discarded(1))], 0);
        assert_eq!(one.unwrap().unreachable_libraries, ["archive"]);
        let none = sum_answers(&libraries, vec![away(), away()], 1);
        assert_eq!(none.unwrap_err().code, Code::WatcherUnavailable);
        assert_eq!(sum_answers(&[], vec![], 2).unwrap().not_found, 2);
    }
}
