//! Operations for those who look after an index: what failed and why, trying again, one file's
//! life, scanning, confirming.

use lookalike_bus::{WatcherReply, WatcherRequest};
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::failures::FailureAction;
use super::schema::maintenance::{
    FailureList, FileHistoryBody, Scanning, Selection, SelectionResult,
};
use crate::api::body::SmallJson;
use crate::api::{
    FileResponse, JsonAnswer, ServiceData, Tag, example_cursor, example_id, example_library,
    example_limit,
};
use crate::api::{convert, failures, history as why, preview};
use crate::core::service::SearchService;
use crate::core::watcher_client as ask;
use crate::problem::{FileRefusal, OrderRefusal, ReadRefusal};

/// The operations; the service comes with each request.
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
    /// Files that are not in the index, and why
    #[oai(
        path = "/v1/failures",
        method = "get",
        operation_id = "listFailures",
        tag = "Tag::Upkeep"
    )]
    async fn failures(
        &self,
        service: ServiceData<'_>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Only files with this code; REASONS.md lists them.
        #[oai(example = "example_code", validator(max_length = 64))]
        code: Query<Option<String>>,
        /// Also files that are not meant to be indexed.
        #[oai(default)]
        ignored: Query<bool>,
        /// How many files at most, 1 to 1,000; 12 unless given. A page may have fewer, and go on.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// The cursor of the last answer, to go on after it.
        #[oai(example = "example_cursor")]
        cursor: Query<Option<String>>,
    ) -> Result<JsonAnswer<FailureList>, ReadRefusal> {
        let wanted = failures::FailureListRequest {
            library: library.0,
            code: code.0,
            ignored: ignored.0,
            cursor: cursor.0,
            limit: convert::check_limit(limit.0, &service.settings)?,
        };
        Ok(JsonAnswer(failures::list_failures(&service, wanted).await?))
    }

    /// Try failed files again
    ///
    /// One, many, by code, by library or all. Files that were discarded may be named as well, by
    /// id or by the code `discarded`. A file that changes is tried again by itself.
    #[oai(
        path = "/v1/failures/retry",
        method = "post",
        operation_id = "retryFailures",
        tag = "Tag::Upkeep"
    )]
    async fn retry(
        &self,
        service: ServiceData<'_>,
        selection: SmallJson<Selection>,
    ) -> Result<JsonAnswer<SelectionResult>, OrderRefusal> {
        let selected = failures::apply_action(&service, FailureAction::Retry, selection.0);
        Ok(JsonAnswer(selected.await?))
    }

    /// Leave failed files alone until they change
    ///
    /// They count as ignored from then on, with the code `discarded`. Nothing on disk is touched.
    #[oai(
        path = "/v1/failures/discard",
        method = "post",
        operation_id = "discardFailures",
        tag = "Tag::Upkeep"
    )]
    async fn discard(
        &self,
        service: ServiceData<'_>,
        selection: SmallJson<Selection>,
    ) -> Result<JsonAnswer<SelectionResult>, OrderRefusal> {
        let selected = failures::apply_action(&service, FailureAction::Discard, selection.0);
        Ok(JsonAnswer(selected.await?))
    }

    /// A look at a failed file
    ///
    /// The file as it is, if it begins like a picture that browsers show and its failure is none
    /// that a decoder must fear: a browser shows what is there of a picture that is cut short.
    #[oai(
        path = "/v1/failures/:id/preview",
        method = "get",
        operation_id = "previewFailure",
        tag = "Tag::Upkeep"
    )]
    async fn preview(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
        /// Its library, where that is known: the others are not asked then.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
    ) -> Result<FileResponse, FileRefusal> {
        let id = convert::parse_image_id("id", &id)?;
        let shown = preview::respond_with_preview(&service, &id, library.0.as_deref());
        Ok(FileResponse(shown.await?))
    }

    /// One file's life
    ///
    /// When it was seen, sent, delivered, read, decoded, embedded and written, as far as it came;
    /// why it failed or is ignored and what can be done; what it waits for; and whether a search
    /// may find it now. Name it by its id, or by its library and its path there.
    #[oai(
        path = "/v1/why",
        method = "get",
        operation_id = "explainFile",
        tag = "Tag::Upkeep"
    )]
    async fn why(
        &self,
        service: ServiceData<'_>,
        /// The image's id: 32 lower-case hexadecimal digits.
        id: Query<Option<String>>,
        /// The library that the path lies in.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// The file, relative to the library's root. At most 4,096 bytes.
        #[oai(example = "example_path", validator(max_length = 4096))]
        path: Query<Option<String>>,
    ) -> Result<JsonAnswer<FileHistoryBody>, ReadRefusal> {
        let library = library.0.as_deref();
        let which = why::parse_selector(id.0, library, path.0)?;
        Ok(JsonAnswer(
            why::explain_file(&service, which, library).await?,
        ))
    }

    /// Compare a folder with the index now
    ///
    /// That happens by itself at every hint of a change and every few minutes.
    #[oai(
        path = "/v1/libraries/:name/scan",
        method = "post",
        operation_id = "scanLibrary",
        tag = "Tag::Upkeep"
    )]
    async fn scan(
        &self,
        service: ServiceData<'_>,
        /// The library.
        #[oai(example = "example_name")]
        name: Path<String>,
    ) -> Result<JsonAnswer<Scanning>, OrderRefusal> {
        Ok(JsonAnswer(
            request_scan(&service, &name, WatcherRequest::Scan).await?,
        ))
    }

    /// Say that a library's folder is meant as it is now
    ///
    /// A folder that is missing, has become another one or lacks most of its files all at once
    /// removes nothing from the index; the library says so in `degraded`. This lets it: whatever
    /// is not in the folder now leaves the index.
    #[oai(
        path = "/v1/libraries/:name/confirm",
        method = "post",
        operation_id = "confirmLibrary",
        tag = "Tag::Upkeep"
    )]
    async fn confirm(
        &self,
        service: ServiceData<'_>,
        /// The library.
        #[oai(example = "example_name")]
        name: Path<String>,
    ) -> Result<JsonAnswer<Scanning>, OrderRefusal> {
        Ok(JsonAnswer(
            request_scan(&service, &name, WatcherRequest::Confirm).await?,
        ))
    }
}

/// Tells one library's watcher to compare the folder.
async fn request_scan(
    service: &SearchService,
    name: &str,
    question: WatcherRequest,
) -> Result<Scanning, crate::problem::Problem> {
    for library in ask::select_libraries(service, Some(name))? {
        match ask::ask_watcher(service, &library, question.clone()).await? {
            WatcherReply::Scanning => {}
            other => return Err(ask::unexpected_answer(&library, &other)),
        }
    }
    Ok(Scanning {
        library: name.to_owned(),
        scanning: true,
    })
}
