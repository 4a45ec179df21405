//! Requests to the watchers of one or of all libraries.

use futures_util::future::join_all;
use lookalike_bus::{WatcherReply, WatcherRequest};
use lookalike_proto::LibraryName;

use super::libraries::{library_names, parse_library, unknown_library};
use super::service::SearchService;
use crate::problem::{Code, Problem};

/// Returns the named library, or every known one in the order of their names.
pub(crate) fn select_libraries(
    service: &SearchService,
    name: Option<&str>,
) -> Result<Vec<LibraryName>, Problem> {
    let names = library_names(service);
    match name {
        Some(name) => {
            let library = parse_library("library", name)?;
            if names.iter().all(|name| name != library.as_str()) {
                return Err(unknown_library(&library, &names));
            }
            Ok(vec![library])
        }
        None => names
            .iter()
            .map(|name| parse_library("library", name))
            .collect(),
    }
}

/// Sends a request to the watcher of one library.
pub(crate) async fn request_watcher(
    service: &SearchService,
    library: &LibraryName,
    request: WatcherRequest,
) -> Result<WatcherReply, Problem> {
    let watchers = service.watchers();
    if !watchers.are_reachable() {
        return Err(Problem::new(
            Code::QueueUnavailable,
            "NATS is unreachable, so no watcher can be reached",
        ));
    }
    match watchers.send_request(library, request).await {
        Ok(WatcherReply::Refused(reason)) => Err(Problem::new(Code::Refused, reason)),
        Ok(reply) => Ok(reply),
        Err(lookalike_bus::Error::NoResponders(reason)) => Err(Problem::new(
            Code::WatcherUnavailable,
            format!("{library}: {reason}"),
        )),
        Err(error) => Err(Problem::new(Code::QueueUnavailable, error.to_string())),
    }
}

/// Sends a request to several watchers at once. The replies have the order of the libraries.
pub(crate) async fn request_watchers(
    service: &SearchService,
    libraries: &[LibraryName],
    request: &WatcherRequest,
) -> Vec<Result<WatcherReply, Problem>> {
    let requests = libraries
        .iter()
        .map(|library| request_watcher(service, library, request.clone()));
    join_all(requests).await
}

/// Reports a reply of another kind than the request expects: the watcher has another version.
pub(crate) fn unexpected_reply(library: &LibraryName, reply: &WatcherReply) -> Problem {
    // A reply may be long; its start shows its kind.
    let start: String = format!("{reply:?}").chars().take(60).collect();
    Problem::new(
        Code::WatcherUnavailable,
        format!("the watcher of {library} sent an unexpected reply: {start}"),
    )
}
