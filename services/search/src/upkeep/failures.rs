//! Files that are not in the index: listed a page at a time through all libraries, tried again,
//! or left alone.

use std::time::Instant;

use futures_util::future::join_all;
use lookalike_bus::{Failure, WatcherAnswer, WatcherQuestion};
use lookalike_proto::Library;
use lookalike_proto::reasons::{self, Fate};

use super::schema::{FailureBody, FailureList, ReasonBody, Selected, Selection};
use super::{ask, preview};
use crate::convert;
use crate::problem::{Code, Problem};
use crate::service::Service;
use crate::time;

/// Checks a code: one that is not listed would silently find nothing.
fn code(code: Option<String>) -> Result<Option<String>, Problem> {
    match code {
        Some(code) if reasons::of(&code).is_none() => Err(Problem::parameter(
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
pub(crate) struct Wanted {
    pub library: Option<String>,
    pub code: Option<String>,
    pub ignored: bool,
    pub cursor: Option<String>,
    pub limit: usize,
}

/// Where a page of failures goes on: a library, and the last id seen in it.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    library: Library,
    after: Option<String>,
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong =
            || Problem::parameter("cursor", "give the cursor of the last answer as it came");
        let (library, after) = text.split_once(':').ok_or_else(wrong)?;
        let library = Library::new(library).map_err(|_| wrong())?;
        let after = match after {
            "" => None,
            id => Some(convert::image_id("cursor", id)?),
        };
        Ok(Self { library, after })
    }

    fn text(&self) -> String {
        format!(
            "{}:{}",
            self.library,
            self.after.as_deref().unwrap_or_default()
        )
    }
}

/// A page of failures, through the libraries in the order of their names.
pub(crate) async fn list(service: &Service, wanted: Wanted) -> Result<FailureList, Problem> {
    let libraries = ask::libraries(service, wanted.library.as_deref())?;
    let code = code(wanted.code)?;
    // Who asks for the code of a rule means ignored files; a file can be too large for either.
    let is_rule = |code: &String| reasons::of(code).is_some_and(|one| one.fate == Fate::Rule);
    let ignored = wanted.ignored
        || code.as_deref() == Some("too_large")
        || code.as_ref().is_some_and(is_rule);
    let start = wanted.cursor.as_deref().map(Cursor::parse).transpose()?;
    let begun = Instant::now();
    let whole = start.is_none();
    let all = libraries.len();
    let mut page = Page::new(wanted.limit);
    for library in libraries {
        let after = match &start {
            Some(cursor) if library.as_str() < cursor.library.as_str() => continue,
            Some(cursor) if library == cursor.library => cursor.after.clone(),
            _ => None,
        };
        // Each silent one costs time; the page ends before the request's time does.
        let late = page.refusal.is_some() && begun.elapsed() > service.settings.request_timeout / 3;
        if page.room() == 0 || late {
            return Ok(page.ends(Some(Cursor { library, after })));
        }
        let question = WatcherQuestion::Failures {
            after,
            limit: page.room(),
            ignored,
            code: code.clone(),
        };
        let answer = ask::watcher(service, &library, question).await;
        if let Some(cursor) = page.take(&library, answer)? {
            return Ok(page.ends(Some(cursor)));
        }
    }
    match page.refusal.take() {
        // As with an order: it fails as a whole only where nobody answered.
        Some(refusal) if whole && page.unanswered.len() == all => Err(refusal),
        _ => Ok(page.ends(None)),
    }
}

/// A page that is being gathered.
struct Page {
    limit: usize,
    failures: Vec<FailureBody>,
    unanswered: Vec<String>,
    /// Of the first library that did not answer.
    refusal: Option<Problem>,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            failures: Vec::new(),
            unanswered: Vec::new(),
            refusal: None,
        }
    }

    fn room(&self) -> usize {
        self.limit - self.failures.len()
    }

    /// Takes one library's answer; where the list goes on, if it does not with the next library.
    fn take(
        &mut self,
        library: &Library,
        answer: Result<WatcherAnswer, Problem>,
    ) -> Result<Option<Cursor>, Problem> {
        let room = self.room();
        let refused = match answer {
            Ok(WatcherAnswer::Failures(page)) => {
                // A page may be short of its limit for its bytes.
                let goes_on = page.more || page.failures.len() >= room;
                let last = page.failures.last().map(|failure| failure.id.clone());
                let failures = page.failures.into_iter().take(room).map(body);
                self.failures.extend(failures);
                return Ok(last.filter(|_| goes_on).map(|last| Cursor {
                    library: library.clone(),
                    after: Some(last),
                }));
            }
            Ok(other) => ask::strange(library, &other),
            // Without NATS no library can be asked: not a silence of this one.
            Err(problem) if problem.code == Code::QueueUnavailable => return Err(problem),
            Err(problem) => problem,
        };
        self.unanswered.push(library.to_string());
        self.refusal.get_or_insert(refused);
        Ok(None)
    }

    fn ends(self, cursor: Option<Cursor>) -> FailureList {
        FailureList {
            failures: self.failures,
            cursor: cursor.map(|cursor| cursor.text()),
            unanswered: self.unanswered,
        }
    }
}

fn body(failure: Failure) -> FailureBody {
    FailureBody {
        preview_url: preview::url(&failure),
        reason: ReasonBody::of(&failure.code),
        id: failure.id,
        library: failure.library,
        path: failure.path,
        state: failure.state,
        code: failure.code,
        detail: failure.detail,
        bytes: failure.size,
        since: time::text(failure.since_ms),
    }
}

/// What becomes of the files that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// They are tried again.
    Retry,
    /// They are left alone until they change.
    Discard,
}

/// A selection that was checked.
#[derive(Debug, PartialEq, Eq)]
struct Meant {
    /// None: whatever the rest says.
    ids: Option<Vec<String>>,
    code: Option<String>,
}

fn meant(selection: &Selection) -> Result<Meant, Problem> {
    let everything = selection.all == Some(true);
    let narrows =
        selection.ids.is_some() || selection.code.is_some() || selection.library.is_some();
    if !narrows && !everything {
        return Err(Problem::parameter(
            "ids",
            "say which files are meant: ids, a code, a library, or all",
        ));
    }
    if selection.ids.is_some() && everything {
        return Err(Problem::parameter(
            "all",
            "either ids are meant or all files; give one of the two",
        ));
    }
    let ids = match &selection.ids {
        Some(ids) => {
            let checked: Result<Vec<String>, Problem> =
                ids.iter().map(|id| convert::image_id("ids", id)).collect();
            let mut ids = checked?;
            ids.sort_unstable();
            ids.dedup();
            Some(ids)
        }
        None => None,
    };
    Ok(Meant {
        ids,
        code: code(selection.code.clone())?,
    })
}

/// Carries out an order; asks every library that may hold what is meant.
pub(crate) async fn order(
    service: &Service,
    order: Order,
    selection: Selection,
) -> Result<Selected, Problem> {
    let meant = meant(&selection)?;
    let libraries = ask::libraries(service, selection.library.as_deref())?;
    let ids = meant.ids.unwrap_or_default();
    if selection.ids.is_some() && ids.is_empty() {
        // To a watcher, no ids would mean all.
        return Ok(Selected::default());
    }
    let asked = ids.len() as u64;
    let code = meant.code;
    let question = match order {
        Order::Retry => WatcherQuestion::Retry { ids, code },
        Order::Discard => WatcherQuestion::Discard { ids, code },
    };
    let answers = libraries
        .iter()
        .map(|library| to_the_end(service, library, &question));
    sum(&libraries, join_all(answers).await, asked)
}

/// Asks again while a watcher did as many as it does at once.
async fn to_the_end(
    service: &Service,
    library: &Library,
    question: &WatcherQuestion,
) -> Result<WatcherAnswer, Problem> {
    // A file that fails again meanwhile is not to be tried for ever.
    const ROUNDS: usize = 400;
    let mut files = 0;
    for _ in 0..ROUNDS {
        match ask::watcher(service, library, question.clone()).await {
            Ok(WatcherAnswer::Retried(more) | WatcherAnswer::Discarded(more)) => {
                files += more;
                if more < lookalike_bus::MOST_FILES_AT_ONCE as u64 {
                    break;
                }
            }
            // What was done before is done.
            Ok(_) | Err(_) if files > 0 => break,
            other => return other,
        }
    }
    Ok(WatcherAnswer::Retried(files))
}

/// One answer of many: it fails as a whole only where nobody answered.
fn sum(
    libraries: &[Library],
    answers: Vec<Result<WatcherAnswer, Problem>>,
    asked: u64,
) -> Result<Selected, Problem> {
    let mut selected = Selected::default();
    let mut refusal = None;
    for (library, answer) in libraries.iter().zip(answers) {
        let refused = match answer {
            Ok(WatcherAnswer::Retried(files) | WatcherAnswer::Discarded(files)) => {
                selected.files += files;
                continue;
            }
            Ok(other) => ask::strange(library, &other),
            Err(problem) => problem,
        };
        selected.unanswered.push(library.to_string());
        refusal.get_or_insert(refused);
    }
    if let (Some(refusal), true) = (refusal, selected.unanswered.len() == libraries.len()) {
        return Err(refusal);
    }
    selected.not_found = asked.saturating_sub(selected.files);
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::EXAMPLE_ID;
    use lookalike_bus::FailurePage;

    #[test]
    fn cursors_survive_their_text() {
        for after in [None, Some(EXAMPLE_ID.to_owned())] {
            let library = Library::new("shop").unwrap();
            let cursor = Cursor { library, after };
            assert_eq!(Cursor::parse(&cursor.text()).unwrap(), cursor);
        }
        for bad in ["", "shop", "Shop:", "shop:xyz", ":", "../x:"] {
            assert_eq!(
                Cursor::parse(bad).unwrap_err().param.unwrap(),
                "cursor",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_silent_library_does_not_end_the_list() {
        let [archive, shop] = ["archive", "shop"].map(|name| Library::new(name).unwrap());
        let of_shop = |more| {
            let failure = Failure {
                id: EXAMPLE_ID.into(),
                library: "shop".into(),
                path: "a.jpg".into(),
                state: "failed".into(),
                code: "truncated".into(),
                detail: "it is cut short".into(),
                size: 1,
                since_ms: 1,
            };
            Ok(WatcherAnswer::Failures(FailurePage {
                failures: vec![failure],
                total: 1,
                more,
            }))
        };
        for code in [Code::WatcherUnavailable, Code::Refused] {
            let mut page = Page::new(5);
            let silent = Err(Problem::new(code, "nobody"));
            assert_eq!(page.take(&archive, silent).unwrap(), None);
            assert_eq!(page.take(&shop, of_shop(false)).unwrap(), None);
            let list = page.ends(None);
            assert_eq!(list.unanswered, ["archive"]);
            assert_eq!(list.failures.len(), 1);
        }
        let mut page = Page::new(5);
        let other = Ok(WatcherAnswer::Scanning);
        assert_eq!(page.take(&archive, other).unwrap(), None);
        let cursor = page.take(&shop, of_shop(true)).unwrap();
        assert_eq!(cursor.unwrap().text(), format!("shop:{EXAMPLE_ID}"));
        assert_eq!(page.ends(None).unanswered, ["archive"]);
        // Without NATS there is no list: its end would be told too early.
        let away = Err(Problem::new(Code::QueueUnavailable, "NATS is away"));
        assert!(Page::new(5).take(&archive, away).is_err());
    }

    #[test]
    fn nothing_given_never_means_everything() {
        let param = |selection: Selection| meant(&selection).unwrap_err().param.unwrap();
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
        let twice = meant(&with_ids(&[EXAMPLE_ID, EXAMPLE_ID])).unwrap();
        assert_eq!(twice.ids, Some(vec![EXAMPLE_ID.to_owned()]));
        assert_eq!(meant(&with_ids(&[])).unwrap().ids, Some(vec![]));
        let all = Selection {
            all: Some(true),
            ..Selection::default()
        };
        assert_eq!(meant(&all).unwrap().ids, None);
    }

    #[test]
    fn answers_of_several_libraries_are_one() {
        let libraries = ["archive", "shop"].map(|name| Library::new(name).unwrap());
        let away = || Err(Problem::new(Code::WatcherUnavailable, "nobody"));
        let both = sum(
            &libraries,
            vec![Ok(WatcherAnswer::Retried(2)), Ok(WatcherAnswer::Retried(1))],
            5,
        );
        assert_eq!(
            both.unwrap(),
            Selected {
                files: 3,
                not_found: 2,
                unanswered: vec![]
            }
        );
        let one = sum(&libraries, vec![away(), Ok(WatcherAnswer::Discarded(1))], 0);
        assert_eq!(one.unwrap().unanswered, ["archive"]);
        let none = sum(&libraries, vec![away(), away()], 1);
        assert_eq!(none.unwrap_err().code, Code::WatcherUnavailable);
        assert_eq!(sum(&[], vec![], 2).unwrap().not_found, 2);
    }
}
