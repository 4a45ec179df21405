//! The maintenance operations: failures, retries, file histories, scans and confirmations.

use lookalike_bus::{WatcherReply, WatcherRequest};
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::convert::{check_limit, parse_image_id};
use super::failures::FailureAction;
use super::json_body::SmallJson;
use super::params::{ServiceData, example_cursor, example_id, example_library, example_limit};
use super::refusals::{
    FailuresRefusal, HistoryRefusal, LibraryRefusal, PreviewRefusal, SelectionRefusal,
};
use super::responses::{JsonAnswer, PreviewResponse};
use super::schema::{FailureList, FileHistoryBody, ScanStarted, Selection, SelectionResult};
use super::tags::Tag;
use super::{failures, history, preview};
use crate::core::service::SearchService;
use crate::core::watcher_client::{request_watcher, select_libraries, unexpected_reply};
use crate::problem::Problem;

pub(crate) struct MaintenanceApi;

fn example_code() -> Option<String> {
    Some("truncated".into())
}

fn example_path() -> Option<String> {
    Some("2026/broken.jpg".into())
}

fn example_name() -> String {
    "shop".into()
}

#[OpenApi]
impl MaintenanceApi {
    /// List files that are not in the index, and why
    #[oai(
        path = "/v1/failures",
        method = "get",
        operation_id = "listFailures",
        tag = "Tag::Maintenance"
    )]
    async fn list_failures(
        &self,
        service: ServiceData<'_>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Only files with this code; REASONS.md lists all codes.
        #[oai(example = "example_code", validator(max_length = 64))]
        code: Query<Option<String>>,
        /// Whether to include ignored files.
        #[oai(default)]
        ignored: Query<bool>,
        /// The maximum number of files, 1 to 1,000; 12 by default. A page may have fewer files although
        /// more pages follow.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// The `cursor` of the previous page.
        #[oai(example = "example_cursor")]
        cursor: Query<Option<String>>,
    ) -> Result<JsonAnswer<FailureList>, FailuresRefusal> {
        let request = failures::FailureListRequest {
            library: library.0,
            code: code.0,
            ignored: ignored.0,
            cursor: cursor.0,
            limit: check_limit(limit.0, &service.settings)?,
        };
        Ok(JsonAnswer(
            failures::list_failures(&service, request).await?,
        ))
    }

    /// Retry failed files
    ///
    /// Selects files by id, code or library, or all failed files. Discarded files can be selected
    /// by id or by the code `discarded`. A file that changes is retried automatically.
    #[oai(
        path = "/v1/failures/retry",
        method = "post",
        operation_id = "retryFailures",
        tag = "Tag::Maintenance"
    )]
    async fn retry_failures(
        &self,
        service: ServiceData<'_>,
        selection: SmallJson<Selection>,
    ) -> Result<JsonAnswer<SelectionResult>, SelectionRefusal> {
        let result = failures::apply_action(&service, FailureAction::Retry, selection.0);
        Ok(JsonAnswer(result.await?))
    }

    /// Ignore failed files until they change
    ///
    /// The files then count as ignored, with the code `discarded`. No file on disk is touched.
    #[oai(
        path = "/v1/failures/discard",
        method = "post",
        operation_id = "discardFailures",
        tag = "Tag::Maintenance"
    )]
    async fn discard_failures(
        &self,
        service: ServiceData<'_>,
        selection: SmallJson<Selection>,
    ) -> Result<JsonAnswer<SelectionResult>, SelectionRefusal> {
        let result = failures::apply_action(&service, FailureAction::Discard, selection.0);
        Ok(JsonAnswer(result.await?))
    }

    /// Preview a failed file
    ///
    /// The unchanged file, if browsers display its format and its failure is harmless for their
    /// decoders. A browser displays as much of a truncated picture as there is.
    #[oai(
        path = "/v1/failures/:id/preview",
        method = "get",
        operation_id = "previewFailure",
        tag = "Tag::Maintenance"
    )]
    async fn preview_failure(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
        /// The library of the file, if known; it saves requests to the other watchers.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
    ) -> Result<PreviewResponse, PreviewRefusal> {
        let id = parse_image_id("id", &id)?;
        let response = preview::respond_with_preview(&service, &id, library.0.as_deref());
        Ok(PreviewResponse(response.await?))
    }

    /// Explain the state of a file
    ///
    /// Returns when the file was seen, sent, delivered, read, decoded, embedded and written; why it
    /// failed or is ignored, and what can be done; what it is waiting for; and whether a search
    /// can find it. Select it by its id, or by its library and path.
    #[oai(
        path = "/v1/why",
        method = "get",
        operation_id = "explainFile",
        tag = "Tag::Maintenance"
    )]
    async fn explain_file(
        &self,
        service: ServiceData<'_>,
        /// The id of the image: 32 lower-case hexadecimal digits.
        id: Query<Option<String>>,
        /// The library of the path.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// The path relative to the root of the library. At most 4,096 characters.
        #[oai(example = "example_path", validator(max_length = 4096))]
        path: Query<Option<String>>,
    ) -> Result<JsonAnswer<FileHistoryBody>, HistoryRefusal> {
        let library = library.0.as_deref();
        let selector = history::parse_selector(id.0, library, path.0)?;
        let body = history::explain_file(&service, selector, library);
        Ok(JsonAnswer(body.await?))
    }

    /// Compare a folder with the index now
    ///
    /// This also happens automatically, at every sign of a change and every few minutes.
    #[oai(
        path = "/v1/libraries/:name/scan",
        method = "post",
        operation_id = "scanLibrary",
        tag = "Tag::Maintenance"
    )]
    async fn scan_library(
        &self,
        service: ServiceData<'_>,
        /// The name of the library.
        #[oai(example = "example_name")]
        name: Path<String>,
    ) -> Result<JsonAnswer<ScanStarted>, LibraryRefusal> {
        let started = request_scan(&service, &name, WatcherRequest::Scan);
        Ok(JsonAnswer(started.await?))
    }

    /// Confirm that a folder is as intended
    ///
    /// If a folder is missing, was replaced or suddenly lacks most of its files, nothing is removed
    /// from the index, and the library reports that in `degraded`. A confirmation accepts the
    /// folder: rows of files that are not in it are removed.
    #[oai(
        path = "/v1/libraries/:name/confirm",
        method = "post",
        operation_id = "confirmLibrary",
        tag = "Tag::Maintenance"
    )]
    async fn confirm_library(
        &self,
        service: ServiceData<'_>,
        /// The name of the library.
        #[oai(example = "example_name")]
        name: Path<String>,
    ) -> Result<JsonAnswer<ScanStarted>, LibraryRefusal> {
        let started = request_scan(&service, &name, WatcherRequest::Confirm);
        Ok(JsonAnswer(started.await?))
    }
}

/// Lets the watcher of one library compare the folder with the index.
async fn request_scan(
    service: &SearchService,
    name: &str,
    request: WatcherRequest,
) -> Result<ScanStarted, Problem> {
    for library in select_libraries(service, Some(name))? {
        match request_watcher(service, &library, request.clone()).await? {
            WatcherReply::Scanning => {}
            reply => return Err(unexpected_reply(&library, &reply)),
        }
    }
    Ok(ScanStarted {
        library: name.to_owned(),
        scanning: true,
    })
}
