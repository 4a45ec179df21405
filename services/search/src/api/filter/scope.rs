//! From the filter of a request to the condition on rows: the libraries that it names must exist, and
//! a filter that names none covers the libraries of this service.

use std::collections::BTreeSet;

use lookalike_index::RowFilter;
use serde_json::{Map, Value};

use super::parse::{ParsedFilter, parse_filter};
use super::schema::{FilterBody, MAX_FILTER_TEXT};
use crate::core::libraries::{check_library_exists, parse_library};
use crate::core::service::SearchService;
use crate::problem::Problem;

/// The conditions in the address of a request.
#[derive(Debug, Default)]
pub(crate) struct FilterParams {
    /// A filter in JSON.
    pub filter: Option<String>,
    pub library: Option<String>,
}

impl FilterParams {
    /// Returns the condition on rows.
    pub(crate) async fn to_row_filter(
        &self,
        service: &SearchService,
    ) -> Result<RowFilter, Problem> {
        let fields = match &self.filter {
            Some(text) => parse_filter_text(text)?,
            None => Map::new(),
        };
        let mut parsed = parse_filter("filter", &fields)?;
        if let Some(name) = &self.library {
            check_library_exists(service, "library", Some(name)).await?;
            let library = RowFilter::Library(vec![parse_library("library", name)?.to_string()]);
            parsed.rows = RowFilter::And(vec![library, parsed.rows]);
            parsed.is_limited_to_libraries = true;
        }
        finish_filter(service, parsed).await
    }
}

/// Returns the condition on rows of a filter in a JSON body.
pub(crate) async fn to_row_filter(
    service: &SearchService,
    filter: Option<&FilterBody>,
) -> Result<RowFilter, Problem> {
    let parsed = match filter {
        Some(FilterBody(fields)) => parse_filter("filter", fields)?,
        None => ParsedFilter::default(),
    };
    finish_filter(service, parsed).await
}

/// Returns the condition on rows of a stored filter. Its libraries existed when it was stored.
pub(crate) fn stored_row_filter(
    service: &SearchService,
    filter: Option<&Map<String, Value>>,
) -> Result<RowFilter, Problem> {
    let parsed = match filter {
        Some(fields) => parse_filter("filter", fields)?,
        None => ParsedFilter::default(),
    };
    Ok(limit_to_libraries(parsed, configured_names(service)))
}

async fn finish_filter(
    service: &SearchService,
    parsed: ParsedFilter,
) -> Result<RowFilter, Problem> {
    let mut checked = BTreeSet::new();
    for (param, library) in &parsed.libraries {
        if checked.insert(library.as_str()) {
            check_library_exists(service, param, Some(library.as_str())).await?;
        }
    }
    let rows = limit_to_libraries(parsed, configured_names(service));
    let checked = rows.check_size();
    checked.map_err(|error| Problem::invalid_parameter("filter", error.to_string()))?;
    Ok(rows)
}

/// Returns the names of the libraries of this service that the request may see.
fn configured_names(service: &SearchService) -> BTreeSet<String> {
    let configured = service.configured_libraries();
    configured.map(|(name, _)| name.to_string()).collect()
}

/// Parses a filter in JSON.
pub(super) fn parse_filter_text(text: &str) -> Result<Map<String, Value>, Problem> {
    let refuse = |detail: String| Problem::invalid_parameter("filter", detail);
    if text.chars().count() > MAX_FILTER_TEXT {
        let detail = format!("filter has more than {MAX_FILTER_TEXT} characters");
        return Err(refuse(detail));
    }
    serde_json::from_str(text).map_err(|error| {
        refuse(format!(
            "filter is not a filter in JSON, such as {{\"format\": \"jpeg\"}}: {error}"
        ))
    })
}

/// The index may contain libraries that are no longer configured; their files could not be displayed.
/// They are found only if the filter names them.
pub(super) fn limit_to_libraries(parsed: ParsedFilter, configured: BTreeSet<String>) -> RowFilter {
    if parsed.is_limited_to_libraries || configured.is_empty() {
        return parsed.rows;
    }
    let mut libraries = configured;
    libraries.extend(parsed.libraries.iter().map(|(_, name)| name.to_string()));
    let libraries = RowFilter::Library(libraries.into_iter().collect());
    match parsed.rows {
        RowFilter::All => libraries,
        rows => RowFilter::And(vec![libraries, rows]),
    }
}
