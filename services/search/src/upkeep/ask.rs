//! Questions to the watchers, one or all, and what their answers mean for a request.

use futures_util::future::join_all;
use lookalike_bus::{WatcherAnswer, WatcherQuestion};
use lookalike_proto::Library;

use crate::convert;
use crate::libraries;
use crate::problem::{Code, Problem};
use crate::service::Service;
use crate::status;

/// The one library that is named, or every known one, by name.
pub(crate) fn libraries(service: &Service, only: Option<&str>) -> Result<Vec<Library>, Problem> {
    let known = status::libraries(service);
    match only {
        Some(name) => {
            let library = convert::library("library", name)?;
            if known.iter().all(|known| known.name != library.as_str()) {
                return Err(libraries::unknown(&library, &libraries::names(service)));
            }
            Ok(vec![library])
        }
        None => known
            .iter()
            .map(|known| convert::library("library", &known.name))
            .collect(),
    }
}

/// Asks the watcher of one library.
pub(crate) async fn watcher(
    service: &Service,
    library: &Library,
    question: WatcherQuestion,
) -> Result<WatcherAnswer, Problem> {
    if !service.bus.is_connected() {
        return Err(Problem::new(
            Code::QueueUnavailable,
            "NATS can't be reached now, so that no watcher can be asked",
        ));
    }
    match service.bus.ask_watcher((library.clone(), question)).await {
        Ok(WatcherAnswer::Refused(why)) => Err(Problem::new(Code::Refused, why)),
        Ok(answer) => Ok(answer),
        Err(lookalike_bus::Error::NobodyAnswers(why)) => Err(Problem::new(
            Code::WatcherUnavailable,
            format!("{library}: {why}"),
        )),
        Err(error) => Err(Problem::new(Code::QueueUnavailable, error.to_string())),
    }
}

/// Asks the watchers of several libraries at once; their answers come in the same order.
pub(crate) async fn watchers(
    service: &Service,
    libraries: &[Library],
    question: &WatcherQuestion,
) -> Vec<Result<WatcherAnswer, Problem>> {
    let asked = libraries
        .iter()
        .map(|library| watcher(service, library, question.clone()));
    join_all(asked).await
}

/// An answer that does not belong to its question: a watcher of another version.
pub(crate) fn strange(library: &Library, answer: &WatcherAnswer) -> Problem {
    // An answer may be long; its kind says enough.
    let shown: String = format!("{answer:?}").chars().take(60).collect();
    Problem::new(
        Code::WatcherUnavailable,
        format!("the watcher of {library} answered something else: {shown}"),
    )
}
