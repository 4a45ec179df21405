//! Whether a library is known. A name that is none would silently find nothing.

use lookalike_index::{ReadConsistency, RowFilter};
use lookalike_proto::LibraryName;

use crate::api::{convert, status};
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};

/// Names that a refusal lists at most.
const MAX_LISTED_NAMES: usize = 20;

/// Refuses a library that is neither configured here, nor told of by a watcher, nor in the index.
pub(crate) async fn check_library_exists(
    service: &SearchService,
    param: &str,
    name: Option<&str>,
) -> Result<(), Problem> {
    let Some(name) = name else { return Ok(()) };
    let library = convert::parse_library(param, name)?;
    let known = library_names(service);
    if known.iter().any(|known| known == library.as_str()) {
        return Ok(());
    }
    // One that nobody watches any more still has its rows.
    let filter = RowFilter::Library(vec![library.to_string()]);
    let rows = service
        .serving()
        .index
        .list_images(&filter, None, 1, ReadConsistency::Bounded)
        .await?;
    match rows.is_empty() {
        false => Ok(()),
        true => Err(unknown_library(&library, &known).about(param)),
    }
}

/// The libraries that are configured here or told of by a watcher.
pub(crate) fn library_names(service: &SearchService) -> Vec<String> {
    let known = status::list_libraries(service).into_iter();
    known.map(|library| library.name).collect()
}

/// What is said of a library that is not known.
pub(crate) fn unknown_library(library: &LibraryName, known: &[String]) -> Problem {
    let shown = known[..known.len().min(MAX_LISTED_NAMES)].join(", ");
    let there = match known.len() {
        0 => "none is known now".to_owned(),
        1 => format!("there is {shown}"),
        count if count > MAX_LISTED_NAMES => format!("there are {shown} and others"),
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
        let typo = LibraryName::new("shpo").unwrap();
        let said = |known: &[&str]| {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            unknown_library(&typo, &known).detail
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
