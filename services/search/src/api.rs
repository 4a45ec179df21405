//! The operations of the API. Each one checks its parameters and leaves the work to the module it
//! belongs to.

mod tags;

mod body;
mod form_part;
mod image_upload;
mod json_body;
mod params;

mod convert;
mod filter;
mod filter_words;
mod image_text;
mod schema;
mod search_request;

mod problem_response;
mod refusals;
mod responses;

mod facets;
mod images;
mod search;
mod status;

mod failures;
mod history;
mod maintenance;
mod preview;

use poem_openapi::OpenApiService;

pub(crate) use problem_response::to_response as problem_to_response;
pub(crate) use responses::JSON;

use facets::FacetApi;
use images::ImageApi;
use maintenance::MaintenanceApi;
use search::SearchApi;
use status::StatusApi;

type Apis = (SearchApi, ImageApi, FacetApi, StatusApi, MaintenanceApi);

/// Returns all operations with their document.
pub(crate) fn open_api_service() -> OpenApiService<Apis, ()> {
    let apis = (SearchApi, ImageApi, FacetApi, StatusApi, MaintenanceApi);
    OpenApiService::new(apis, "lookalike", env!("CARGO_PKG_VERSION"))
        .summary("Finds images by what they look like")
        .description(
            "A visual search index of a set of folders. Every error is `application/problem+json` \
             with a stable `code` for programs. Every response has the header `X-Request-Id`; a \
             request may set it (1 to 64 letters, digits, `.`, `_`, `-`). Requests that change \
             something are refused if a page of another site sends them. Besides these operations \
             there are `/healthz` (the process is alive), `/readyz` (a search would succeed) and \
             `/metrics` (Prometheus).",
        )
        .license("MIT OR Apache-2.0")
}
