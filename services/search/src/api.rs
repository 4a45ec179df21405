//! The operations of the API. Each one checks its parameters and leaves the work to the module it
//! belongs to.

mod tags;

mod body;
mod form_part;
mod form_stream;
mod image_upload;
mod json_body;
mod params;
mod upload_stream;

mod convert;
mod filter;
mod filter_words;
mod image_text;
mod schema;
mod search_request;

mod problem_response;
mod refusals;
mod responses;

mod document;

mod compare;
mod duplicates;
mod events;
mod facets;
mod images;
mod saved_searches;
mod search;
mod status;
mod uploads;

mod failures;
mod history;
mod maintenance;
mod preview;
mod session;

use poem_openapi::OpenApiService;

pub(crate) use filter::stored_row_filter;
pub(crate) use problem_response::to_response as problem_to_response;
pub(crate) use responses::JSON;

use compare::CompareApi;
use duplicates::DuplicateApi;
use events::EventApi;
use facets::FacetApi;
use images::ImageApi;
use maintenance::MaintenanceApi;
use saved_searches::SavedSearchApi;
use search::SearchApi;
use session::SessionApi;
use status::StatusApi;

pub(crate) type Apis = (
    SearchApi,
    ImageApi,
    FacetApi,
    DuplicateApi,
    CompareApi,
    SavedSearchApi,
    StatusApi,
    MaintenanceApi,
    SessionApi,
    EventApi,
);

/// Returns all operations with their document.
pub(crate) fn open_api_service() -> OpenApiService<Apis, ()> {
    let apis = (
        SearchApi,
        ImageApi,
        FacetApi,
        DuplicateApi,
        CompareApi,
        SavedSearchApi,
        StatusApi,
        MaintenanceApi,
        SessionApi,
        EventApi,
    );
    OpenApiService::new(apis, "lookalike", env!("CARGO_PKG_VERSION"))
        .summary("Finds images by what they look like")
        .description(
            "A visual search index of a set of folders. Every error is `application/problem+json` \
             with a stable `code` for programs. Every response has the header `X-Request-Id`; a \
             request may set it (1 to 64 letters, digits, `.`, `_`, `-`). Requests that change \
             something are refused if a page of another site sends them. A method that an address \
             does not support is refused with 405, `method_not_allowed` and the header `Allow`; an \
             unknown address with 404 and `no_such_route`; an address of more than 64 KiB with 414, \
             without a body. Limits that the settings change are \
             documented with their defaults. A service that listens beyond its own machine \
             requires an API key (`Authorization: Bearer KEY`). A key may be limited to libraries: to its \
             requests, no other library exists, and saved searches are refused with 403 and \
             `insufficient_scope`. Besides these operations there are `/healthz` (the process is alive), `/readyz` (a search would succeed) and \
             `/metrics` (Prometheus).",
        )
        .license("MIT OR Apache-2.0")
}

/// Returns the OpenAPI document as JSON.
pub(crate) fn open_api_document(service: &OpenApiService<Apis, ()>) -> String {
    document::complete_document(&service.spec())
}

/// Returns the page that displays the document.
pub(crate) fn docs_html(service: &OpenApiService<Apis, ()>) -> String {
    let html = service.swagger_ui_html();
    html.replace(&service.spec(), &open_api_document(service))
}
