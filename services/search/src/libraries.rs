//! Whether a library is known. A name that is none would silently find nothing.

use lookalike_index::{Consistency, Filter};
use lookalike_proto::Library;

use crate::problem::{Code, Problem};
use crate::service::Service;
use crate::{convert, status};

/// Names that a refusal lists at most.
const MOST_NAMES: usize = 20;

/// Refuses a library that is neither configured here, nor told of by a watcher, nor in the index.
pub(crate) async fn must_be_known(
    service: &Service,
    param: &str,
    name: Option<&str>,
) -> Result<(), Problem> {
    let Some(name) = name else { return Ok(()) };
    let library = convert::library(param, name)?;
    let known = names(service);
    if known.iter().any(|known| known == library.as_str()) {
        return Ok(());
    }
    // One that nobody watches any more still has its rows.
    let filter = Filter::Library(vec![library.to_string()]);
    let rows = service
        .serving()
        .index
        .list(&filter, None, 1, Consistency::Bounded)
        .await?;
    match rows.is_empty() {
        false => Ok(()),
        true => Err(unknown(&library, &known).about(param)),
    }
}

/// The libraries that are configured here or told of by a watcher.
pub(crate) fn names(service: &Service) -> Vec<String> {
    let known = status::libraries(service).into_iter();
    known.map(|library| library.name).collect()
}

/// What is said of a library that is not known.
pub(crate) fn unknown(library: &Library, known: &[String]) -> Problem {
    let shown = known[..known.len().min(MOST_NAMES)].join(", ");
    let there = match known.len() {
        0 => "none is known now".to_owned(),
        1 => format!("there is {shown}"),
        count if count > MOST_NAMES => format!("there are {shown} and others"),
        _ => format!("there are {shown}"),
    };
    Problem::new(
        Code::NoSuchLibrary,
        format!("no library is called {library}; {there}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_instead_is_said() {
        let typo = Library::new("shpo").unwrap();
        let said = |known: &[&str]| {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            unknown(&typo, &known).detail
        };
        assert_eq!(said(&[]), "no library is called shpo; none is known now");
        assert_eq!(said(&["shop"]), "no library is called shpo; there is shop");
        assert_eq!(
            said(&["attic", "shop"]),
            "no library is called shpo; there are attic, shop"
        );
        let many = said(&["x"; 21]);
        assert!(many.ends_with("x, x and others"), "{many}");
        assert_eq!(many.matches("x,").count(), 19);
    }
}
