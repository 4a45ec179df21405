//! Questions to the watchers, one or all, and what their answers mean for a request.

use futures_util::future::join_all;
use lookalike_bus::{WatcherReply, WatcherRequest};
use lookalike_proto::LibraryName;

use crate::api::convert;
use crate::api::status;
use crate::core::libraries;
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};

/// The one library that is named, or every known one, by name.
pub(crate) fn select_libraries(
    service: &SearchService,
    only: Option<&str>,
) -> Result<Vec<LibraryName>, Problem> {
    let known = status::list_libraries(service);
    match only {
        Some(name) => {
            let library = convert::parse_library("library", name)?;
            if known.iter().all(|known| known.name != library.as_str()) {
                return Err(libraries::unknown_library(
                    &library,
                    &libraries::library_names(service),
                ));
            }
            Ok(vec![library])
        }
        None => known
            .iter()
            .map(|known| convert::parse_library("library", &known.name))
            .collect(),
    }
}

/// Asks the watcher of one library.
pub(crate) async fn ask_watcher(
    service: &SearchService,
    library: &LibraryName,
    question: WatcherRequest,
) -> Result<WatcherReply, Problem> {
    if !service.bus.is_connected() {
        return Err(Problem::new(
            Code::QueueUnavailable,
            "NATS can't be reached now, so that no watcher can be asked",
        ));
    }
    match service
        .bus
        .request_watcher((library.clone(), question))
        .await
    {
        Ok(WatcherReply::Refused(why)) => Err(Problem::new(Code::Refused, why)),
        Ok(answer) => Ok(answer),
        Err(lookalike_bus::Error::NoResponders(why)) => Err(Problem::new(
            Code::WatcherUnavailable,
            format!("{library}: {why}"),
        )),
        Err(error) => Err(Problem::new(Code::QueueUnavailable, error.to_string())),
    }
}

/// Asks the watchers of several libraries at once; their answers come in the same order.
pub(crate) async fn ask_watchers(
    service: &SearchService,
    libraries: &[LibraryName],
    question: &WatcherRequest,
) -> Vec<Result<WatcherReply, Problem>> {
    let asked = libraries
        .iter()
        .map(|library| ask_watcher(service, library, question.clone()));
    join_all(asked).await
}

/// An answer that does not belong to its question: a watcher of another version.
pub(crate) fn unexpected_answer(library: &LibraryName, answer: &WatcherReply) -> Problem {
    // An answer may be long; its kind says enough.
    let shown: String = format!("{answer:?}").chars().take(60).collect();
    Problem::new(
        Code::WatcherUnavailable,
        format!("the watcher of {library} answered something else: {shown}"),
    )
}
