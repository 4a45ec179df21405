//! Failed and ignored files: lists them page by page through all libraries, retries and discards them.

use std::time::Instant;

use futures_util::future::join_all;
use lookalike_bus::{FileFailure, WatcherReply, WatcherRequest};
use lookalike_proto::LibraryName;
use lookalike_proto::reasons::{self, RetryPolicy};

use super::convert::parse_image_id;
use super::preview;
use super::schema::{FailureBody, FailureList, ReasonBody, Selection, SelectionResult};
use crate::core::service::SearchService;
use crate::core::watcher_client::{request_watcher, select_libraries, unexpected_reply};
use crate::problem::{Code, Problem};
use crate::time;

/// Refuses an unknown code, which would silently select nothing.
fn check_code(code: Option<String>) -> Result<Option<String>, Problem> {
    match code {
        Some(code) if reasons::find_reason(&code).is_none() => Err(Problem::invalid_parameter(
            "code",
            format!(
                "the code {:?} is unknown; REASONS.md lists all codes",
                code.chars().take(64).collect::<String>()
            ),
        )),
        code => Ok(code),
    }
}

pub(crate) struct FailureListRequest {
    pub library: Option<String>,
    pub code: Option<String>,
    pub ignored: bool,
    pub cursor: Option<String>,
    pub limit: usize,
}

/// Where the next page starts: after an id within a library.
#[derive(Debug, PartialEq, Eq)]
struct FailureCursor {
    library: LibraryName,
    after: Option<String>,
}

impl FailureCursor {
    fn parse(text: &str) -> Result<Self, Problem> {
        let invalid = || {
            Problem::invalid_parameter("cursor", "give the cursor of the previous page unchanged")
        };
        let (library, after) = text.split_once(':').ok_or_else(invalid)?;
        let library = LibraryName::new(library).map_err(|_| invalid())?;
        let after = match after {
            "" => None,
            id => Some(parse_image_id("cursor", id)?),
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

/// Lists a page of failures, in the order of the libraries and their ids.
pub(crate) async fn list_failures(
    service: &SearchService,
    request: FailureListRequest,
) -> Result<FailureList, Problem> {
    let libraries = select_libraries(service, request.library.as_deref())?;
    let code = check_code(request.code)?;
    // The code of a rule selects ignored files; `too_large` can be a rule or a failure.
    let is_rule = |code: &String| {
        reasons::find_reason(code).is_some_and(|reason| reason.retry_policy == RetryPolicy::Rule)
    };
    let ignored = request.ignored
        || code.as_deref() == Some("too_large")
        || code.as_ref().is_some_and(is_rule);
    let start = request
        .cursor
        .as_deref()
        .map(FailureCursor::parse)
        .transpose()?;
    let started = Instant::now();
    let is_first_page = start.is_none();
    let library_count = libraries.len();
    let mut page = FailurePageBuilder::new(request.limit);
    for library in libraries {
        let after = match &start {
            Some(cursor) if library.as_str() < cursor.library.as_str() => continue,
            Some(cursor) if library == cursor.library => cursor.after.clone(),
            _ => None,
        };
        // Each unreachable watcher costs time; the page must end before the request times out.
        let is_late =
            page.refusal.is_some() && started.elapsed() > service.settings.request_timeout / 3;
        if page.remaining() == 0 || is_late {
            return Ok(page.finish(Some(FailureCursor { library, after })));
        }
        let page_request = WatcherRequest::Failures {
            after,
            limit: page.remaining(),
            ignored,
            code: code.clone(),
        };
        let reply = request_watcher(service, &library, page_request).await;
        if let Some(cursor) = page.add_reply(&library, reply)? {
            return Ok(page.finish(Some(cursor)));
        }
    }
    match page.refusal.take() {
        // As with an action: it fails only if no watcher is reachable.
        Some(refusal) if is_first_page && page.unreachable_libraries.len() == library_count => {
            Err(refusal)
        }
        _ => Ok(page.finish(None)),
    }
}

/// A page while it is being collected.
struct FailurePageBuilder {
    limit: usize,
    failures: Vec<FailureBody>,
    unreachable_libraries: Vec<String>,
    /// The problem of the first unreachable library.
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

    /// Adds the reply of one library. Returns where the next page starts if the library has more
    /// failures than fit.
    fn add_reply(
        &mut self,
        library: &LibraryName,
        reply: Result<WatcherReply, Problem>,
    ) -> Result<Option<FailureCursor>, Problem> {
        let room = self.remaining();
        let problem = match reply {
            Ok(WatcherReply::Failures(page)) => {
                // A page may be shorter than its limit, because its bytes are limited, too.
                let has_more = page.has_more || page.failures.len() >= room;
                let last = page.failures.last().map(|failure| failure.id.clone());
                let failures = page.failures.into_iter().take(room).map(to_failure_body);
                self.failures.extend(failures);
                return Ok(last.filter(|_| has_more).map(|last| FailureCursor {
                    library: library.clone(),
                    after: Some(last),
                }));
            }
            Ok(reply) => unexpected_reply(library, &reply),
            // Without NATS, no watcher at all is reachable.
            Err(problem) if problem.code == Code::QueueUnavailable => return Err(problem),
            Err(problem) => problem,
        };
        self.unreachable_libraries.push(library.to_string());
        self.refusal.get_or_insert(problem);
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

/// What to do with selected files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureAction {
    Retry,
    /// Ignores the files until they change.
    Discard,
}

#[derive(Debug, PartialEq, Eq)]
struct CheckedSelection {
    /// `None` selects all files that meet the other conditions.
    ids: Option<Vec<String>>,
    code: Option<String>,
}

fn check_selection(selection: &Selection) -> Result<CheckedSelection, Problem> {
    let selects_all = selection.all == Some(true);
    let narrows =
        selection.ids.is_some() || selection.code.is_some() || selection.library.is_some();
    if !narrows && !selects_all {
        return Err(Problem::invalid_parameter(
            "ids",
            "select files: by ids, a code, a library, or all",
        ));
    }
    if selection.ids.is_some() && selects_all {
        return Err(Problem::invalid_parameter(
            "all",
            "give either ids or all, not both",
        ));
    }
    let ids = match &selection.ids {
        Some(ids) => {
            let checked: Result<Vec<String>, Problem> =
                ids.iter().map(|id| parse_image_id("ids", id)).collect();
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

/// Applies an action in every library that may have selected files.
pub(crate) async fn apply_action(
    service: &SearchService,
    action: FailureAction,
    selection: Selection,
) -> Result<SelectionResult, Problem> {
    let checked = check_selection(&selection)?;
    let libraries = select_libraries(service, selection.library.as_deref())?;
    let ids = checked.ids.unwrap_or_default();
    if selection.ids.is_some() && ids.is_empty() {
        // For a watcher, an empty list of ids selects all files.
        return Ok(SelectionResult::default());
    }
    let given_ids = ids.len() as u64;
    let code = checked.code;
    let request = match action {
        FailureAction::Retry => WatcherRequest::Retry { ids, code },
        FailureAction::Discard => WatcherRequest::Discard { ids, code },
    };
    let replies = libraries
        .iter()
        .map(|library| repeat_until_done(service, library, &request));
    sum_replies(&libraries, join_all(replies).await, given_ids)
}

/// Repeats a request while the watcher processes as many files as it does at once.
async fn repeat_until_done(
    service: &SearchService,
    library: &LibraryName,
    request: &WatcherRequest,
) -> Result<WatcherReply, Problem> {
    // Bounded, because a file that fails again meanwhile would be retried forever.
    const MAX_ROUNDS: usize = 400;
    let mut files = 0;
    for _ in 0..MAX_ROUNDS {
        match request_watcher(service, library, request.clone()).await {
            Ok(WatcherReply::Retried(more) | WatcherReply::Discarded(more)) => {
                files += more;
                if more < lookalike_bus::MAX_FILES_PER_REQUEST as u64 {
                    break;
                }
            }
            // The previous rounds have had their effect.
            Ok(_) | Err(_) if files > 0 => break,
            reply => return reply,
        }
    }
    Ok(WatcherReply::Retried(files))
}

/// Sums the replies of all libraries. Fails only if no watcher is reachable.
fn sum_replies(
    libraries: &[LibraryName],
    replies: Vec<Result<WatcherReply, Problem>>,
    given_ids: u64,
) -> Result<SelectionResult, Problem> {
    let mut result = SelectionResult::default();
    let mut refusal = None;
    for (library, reply) in libraries.iter().zip(replies) {
        let problem = match reply {
            Ok(WatcherReply::Retried(files) | WatcherReply::Discarded(files)) => {
                result.files += files;
                continue;
            }
            Ok(reply) => unexpected_reply(library, &reply),
            Err(problem) => problem,
        };
        result.unreachable_libraries.push(library.to_string());
        refusal.get_or_insert(problem);
    }
    if let (Some(refusal), true) = (
        refusal,
        result.unreachable_libraries.len() == libraries.len(),
    ) {
        return Err(refusal);
    }
    result.not_found = given_ids.saturating_sub(result.files);
    Ok(result)
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
    fn an_unreachable_library_does_not_end_the_list() {
        let [archive, shop] = ["archive", "shop"].map(|name| LibraryName::new(name).unwrap());
        let of_shop = |more| {
            let failure = FileFailure {
                id: EXAMPLE_ID.into(),
                library: "shop".into(),
                path: "a.jpg".into(),
                state: "failed".into(),
                code: "truncated".into(),
                detail: "it is truncated".into(),
                size: 1,
                since_ms: 1,
            };
            Ok(WatcherReply::Failures(FileFailurePage {
                failures: vec![failure],
                total: 1,
                has_more: more,
            }))
        };
        for code in [Code::WatcherUnavailable, Code::Refused] {
            let mut page = FailurePageBuilder::new(5);
            let unreachable = Err(Problem::new(code, "no responders"));
            assert_eq!(page.add_reply(&archive, unreachable).unwrap(), None);
            assert_eq!(page.add_reply(&shop, of_shop(false)).unwrap(), None);
            let list = page.finish(None);
            assert_eq!(list.unreachable_libraries, ["archive"]);
            assert_eq!(list.failures.len(), 1);
        }
        let mut page = FailurePageBuilder::new(5);
        let unexpected = Ok(WatcherReply::Scanning);
        assert_eq!(page.add_reply(&archive, unexpected).unwrap(), None);
        let cursor = page.add_reply(&shop, of_shop(true)).unwrap();
        assert_eq!(cursor.unwrap().to_text(), format!("shop:{EXAMPLE_ID}"));
        assert_eq!(page.finish(None).unreachable_libraries, ["archive"]);
        // Without NATS there is no list, because its end would be wrong.
        let away = Err(Problem::new(Code::QueueUnavailable, "NATS is unreachable"));
        assert!(
            FailurePageBuilder::new(5)
                .add_reply(&archive, away)
                .is_err()
        );
    }

    #[test]
    fn an_empty_selection_never_selects_all_files() {
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
    fn replies_of_several_libraries_are_summed() {
        let libraries = ["archive", "shop"].map(|name| LibraryName::new(name).unwrap());
        let away = || Err(Problem::new(Code::WatcherUnavailable, "no responders"));
        let both = sum_replies(
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
        let one = sum_replies(&libraries, vec![away(), Ok(WatcherReply::Discarded(1))], 0);
        assert_eq!(one.unwrap().unreachable_libraries, ["archive"]);
        let none = sum_replies(&libraries, vec![away(), away()], 1);
        assert_eq!(none.unwrap_err().code, Code::WatcherUnavailable);
        assert_eq!(sum_replies(&[], vec![], 2).unwrap().not_found, 2);
    }
}
