//! The known libraries. A search in an unknown one would silently find nothing, so it is refused.

use std::collections::BTreeSet;

use lookalike_index::{ReadConsistency, RowFilter};
use lookalike_proto::LibraryName;

use super::service::SearchService;
use crate::problem::{Code, Problem};

/// Names that a refusal lists at most.
const MAX_LISTED_NAMES: usize = 20;

/// Parses a name in any case, with white space around it: libraries have lower-case names.
pub(crate) fn parse_library(param: &str, name: &str) -> Result<LibraryName, Problem> {
    // Only ASCII: other characters may have a letter of a name as their lower case.
    LibraryName::new(&name.trim_ascii().to_ascii_lowercase())
        .or_else(|_| LibraryName::new(name))
        .map_err(|error| Problem::invalid_parameter(param, error.to_string()))
}

/// Rejects a library that is not configured here, not reported by a watcher and not in the index, and
/// one that the request may not see.
pub(crate) async fn check_library_exists(
    service: &SearchService,
    param: &str,
    name: Option<&str>,
) -> Result<(), Problem> {
    let Some(name) = name else { return Ok(()) };
    let names = library_names(service);
    let library = parse_library(param, name).map_err(|problem| Problem {
        detail: format!("{}; {}", problem.detail, describe_known_libraries(&names)),
        ..problem
    })?;
    if names.iter().any(|name| name == library.as_str()) {
        return Ok(());
    }
    // A library that is no longer watched still has its rows.
    let filter = RowFilter::Library(vec![library.to_string()]);
    let rows = service
        .load_model()
        .index
        .list_images(&filter, None, 1, ReadConsistency::Bounded)
        .await?;
    match rows.is_empty() {
        false => Ok(()),
        true => Err(unknown_library(&library, &names).with_param(param)),
    }
}

/// Returns the visible libraries that are configured here or reported by a watcher, in order.
pub(crate) fn library_names(service: &SearchService) -> Vec<String> {
    let reported = service.library_statuses();
    let configured = service
        .configured_libraries()
        .map(|(name, _)| name.to_string());
    let names: BTreeSet<String> = reported
        .into_iter()
        .map(|library| library.name)
        .chain(configured)
        .collect();
    names.into_iter().collect()
}

pub(crate) fn unknown_library(library: &LibraryName, names: &[String]) -> Problem {
    let known = describe_known_libraries(names);
    Problem::new(
        Code::NoSuchLibrary,
        format!("no library is called {library}; {known}"),
    )
}

/// Refuses what needs the folder of a library that only other services have.
pub(crate) fn library_not_configured(library: &str) -> Problem {
    Problem::new(
        Code::LibraryUnavailable,
        format!("the folder of library {library} is not configured for this service"),
    )
}

fn describe_known_libraries(names: &[String]) -> String {
    let listed = names[..names.len().min(MAX_LISTED_NAMES)].join(", ");
    match names.len() {
        0 => "no library is known".to_owned(),
        1 => format!("the only one is {listed}"),
        count if count > MAX_LISTED_NAMES => format!("known libraries: {listed} and others"),
        _ => format!("known libraries: {listed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_in_any_case() {
        for name in ["shop", "Shop", " SHOP "] {
            assert_eq!(parse_library("library", name).unwrap().as_str(), "shop");
        }
        for name in [
            "",
            "my shop",
            "sh\u{f6}p",
            "\u{212a}itchen",
            "\u{a0}shop",
            "../etc",
        ] {
            let problem = parse_library("library", name).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("library"), "{name}");
        }
    }

    #[test]
    fn the_refusal_lists_the_known_libraries() {
        let typo = LibraryName::new("shpo").unwrap();
        let detail = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            unknown_library(&typo, &names).detail
        };
        assert_eq!(
            detail(&[]),
            "no library is called shpo; no library is known"
        );
        assert_eq!(
            detail(&["shop"]),
            "no library is called shpo; the only one is shop"
        );
        assert_eq!(
            detail(&["attic", "shop"]),
            "no library is called shpo; known libraries: attic, shop"
        );
        let many = detail(&["x"; 21]);
        assert!(many.ends_with("x, x and others"), "{many}");
        assert_eq!(many.matches("x,").count(), 19);
    }
}
