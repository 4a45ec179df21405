//! The operations of the API, but for those of upkeep (`upkeep.rs`). Each one checks what it was given, and leaves the work to the
//! module it belongs to.

pub(crate) mod body;
pub(crate) mod convert;
mod failures;
mod history;
mod maintenance;
mod preview;
pub(crate) mod schema;
pub(crate) mod status;

use std::sync::Arc;

use poem::http::header;
use poem::web::Data;
use poem::{Request, Response};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi, OpenApiService, Tags};

use crate::api::body::{ImageUpload, SearchBody};
use crate::api::maintenance::MaintenanceApi;
use crate::api::schema::{
    EXAMPLE_ID, FilterBody, ImageBody, ImageList, LibraryList, SearchAnswer, Stats,
};
use crate::core::engine as search;
use crate::core::query::ParsedQuery as SearchFor;
use crate::core::service::SearchService;
use crate::core::{files, libraries, thumbnails};
use crate::problem::{FileRefusal, PlainRefusal, ReadRefusal, SearchRefusal, ThumbnailRefusal};

/// The API; the service comes with each request.
pub(crate) struct ImageApi;

#[derive(Tags)]
pub(crate) enum Tag {
    /// Finding images by what they look like.
    Search,
    /// The images of the index, and their files.
    Images,
    /// What the folders hold and what became of it.
    Status,
    /// What can't be indexed and why, and what to do about it.
    Upkeep,
}

pub(crate) type ServiceData<'a> = Data<&'a Arc<SearchService>>;

/// The API with its document.
pub(crate) fn open_api_service() -> OpenApiService<(ImageApi, MaintenanceApi), ()> {
    OpenApiService::new((ImageApi, MaintenanceApi), "lookalike", env!("CARGO_PKG_VERSION"))
        .summary("Finds images by what they look like")
        .description(
            "A visual search index that equals a set of folders. Every error is \
             `application/problem+json` with a `code` to decide by; every response carries \
             `X-Request-Id`, which a request may choose itself (1 to 64 of letters, digits, `.`, \
             `_`, `-`). What changes something is refused to pages \
             of other sites. Beside these operations there are `/healthz` (alive), `/readyz` (would \
             answer a search now) and `/metrics` (Prometheus).",
        )
        .license("MIT OR Apache-2.0")
}

pub(crate) fn example_id() -> String {
    EXAMPLE_ID.into()
}

pub(crate) fn example_cursor() -> Option<String> {
    Some(EXAMPLE_ID.into())
}

pub(crate) fn example_library() -> Option<String> {
    Some("shop".into())
}

pub(crate) fn example_limit() -> Option<u32> {
    Some(12)
}

fn example_size() -> Option<u32> {
    Some(320)
}

#[OpenApi]
impl ImageApi {
    /// Search by a picture, an id, words, or several of them
    ///
    /// More of this, less of that: `positive` and `negative` are lists of ids, words and pictures
    /// with weights, and `to_image_body`, `id` and `header_text` may stand beside them. Each part has a vector of
    /// unit length; the hits are nearest to the sum of all positive ones, each times its weight,
    /// less the sum of the negative ones. Parts that leave nothing are refused with `cancels_out`.
    ///
    /// Words need a model with a text side (`model.header_text` of `/v1/stats`); another one answers with
    /// 409 and `model_without_text`. A picture comes as base64; `POST /v1/search/image` takes one
    /// as it is, which is cheaper.
    #[oai(
        path = "/v1/search",
        method = "post",
        operation_id = "search",
        tag = "Tag::Search"
    )]
    async fn search(
        &self,
        service: ServiceData<'_>,
        question: SearchBody,
    ) -> Result<JsonAnswer<SearchAnswer>, SearchRefusal> {
        let SearchBody(request, _share) = question;
        let (query, conditions) = search::parse_search_request(request, &service).await?;
        Ok(JsonAnswer(
            search::run_search(&service, query, conditions).await?,
        ))
    }

    /// Search by a picture as it is
    ///
    /// The body is the picture, of any format that can be read and whatever the content type
    /// says, or a form with the picture as its one file.
    #[oai(
        path = "/v1/search/image",
        method = "post",
        operation_id = "searchByImage",
        tag = "Tag::Search"
    )]
    async fn search_image(
        &self,
        service: ServiceData<'_>,
        /// How many hits at most, 1 to 1,000; 12 unless given.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Only hits of at least this score, −1 to 1.
        #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
        min_score: Query<Option<f64>>,
        upload: ImageUpload,
    ) -> Result<JsonAnswer<SearchAnswer>, SearchRefusal> {
        let conditions =
            search::parse_search_params(&service, limit.0, library.0, min_score.0).await?;
        let query = SearchFor::from_image(upload.0.bytes.clone());
        let answer = search::run_search(&service, query, conditions).await?;
        Ok(JsonAnswer(answer))
    }

    /// List images
    ///
    /// In the order of their ids, a page at a time.
    #[oai(
        path = "/v1/images",
        method = "get",
        operation_id = "listImages",
        tag = "Tag::Images"
    )]
    async fn list_images(
        &self,
        service: ServiceData<'_>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Only paths that begin with this, relative to the library's root; end it with `/` to
        /// mean a folder. At most 4,096 bytes.
        #[oai(validator(max_length = 4096))]
        path_prefix: Query<Option<String>>,
        /// How many images at most, 1 to 1,000; 12 unless given.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// The cursor of the last answer, to go on after it.
        #[oai(example = "example_cursor")]
        cursor: Query<Option<String>>,
    ) -> Result<JsonAnswer<ImageList>, ReadRefusal> {
        libraries::check_library_exists(&service, "library", library.0.as_deref()).await?;
        let after = match &cursor.0 {
            Some(cursor) => Some(convert::parse_image_id("cursor", cursor)?),
            None => None,
        };
        let wanted = FilterBody {
            library: library.0,
            path_prefix: path_prefix.0,
            ..FilterBody::default()
        };
        let filter = convert::to_index_filter(&wanted, &service.libraries)?;
        let limit = convert::check_limit(limit.0, &service.settings)?;
        let images = service
            .serving()
            .index
            .list_images(
                &filter,
                after.as_deref(),
                limit,
                lookalike_index::ReadConsistency::Bounded,
            )
            .await?;
        // A full page may be the last one; the next is empty then.
        let full = images.len() >= limit;
        let cursor = images.last().filter(|_| full).map(|image| image.id.clone());
        Ok(JsonAnswer(ImageList {
            images: images.into_iter().map(convert::to_image_body).collect(),
            cursor,
        }))
    }

    /// One image
    #[oai(
        path = "/v1/images/:id",
        method = "get",
        operation_id = "getImage",
        tag = "Tag::Images"
    )]
    async fn image(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
    ) -> Result<JsonAnswer<ImageBody>, ReadRefusal> {
        let id = convert::parse_image_id("id", &id)?;
        Ok(JsonAnswer(convert::to_image_body(
            files::find_row(&service, &id).await?,
        )))
    }

    /// Images that look like this one
    ///
    /// The image itself is left out.
    #[oai(
        path = "/v1/images/:id/similar",
        method = "get",
        operation_id = "similarImages",
        tag = "Tag::Search"
    )]
    async fn similar(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
        /// How many hits at most, 1 to 1,000; 12 unless given.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Only hits of at least this score, −1 to 1.
        #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
        min_score: Query<Option<f64>>,
    ) -> Result<JsonAnswer<SearchAnswer>, ReadRefusal> {
        let query = SearchFor::similar_to(convert::parse_image_id("id", &id)?);
        let conditions =
            search::parse_search_params(&service, limit.0, library.0, min_score.0).await?;
        Ok(JsonAnswer(
            search::run_search(&service, query, conditions).await?,
        ))
    }

    /// The original file
    ///
    /// With `ETag` (the content's hash) and ranges. Formats that browsers do not show come as a
    /// download.
    #[oai(
        path = "/v1/images/:id/content",
        method = "get",
        operation_id = "getContent",
        tag = "Tag::Images"
    )]
    async fn content(
        &self,
        service: ServiceData<'_>,
        request: &Request,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
    ) -> Result<FileResponse, FileRefusal> {
        let id = convert::parse_image_id("id", &id)?;
        let row = files::find_row(&service, &id).await?;
        let wanted = files::FileConditions {
            if_none_match: header_text(request, header::IF_NONE_MATCH),
            if_range: header_text(request, header::IF_RANGE),
            range: header_text(request, header::RANGE),
        };
        Ok(FileResponse(
            files::respond_with_file(&service, &row, &wanted).await?,
        ))
    }

    /// A small JPEG
    ///
    /// Upright, with transparent parts white. Never larger than the original.
    #[oai(
        path = "/v1/images/:id/thumbnail",
        method = "get",
        operation_id = "getThumbnail",
        tag = "Tag::Images"
    )]
    async fn thumbnail(
        &self,
        service: ServiceData<'_>,
        request: &Request,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
        /// The longer side in pixels, taken as the nearest of 32 to 1,024; 320 unless given.
        #[oai(example = "example_size")]
        size: Query<Option<u32>>,
        /// The beginning of the content's hash, 16 digits or more: an address with it always
        /// means the same picture, and may be kept for good. `thumbnail_url` has it.
        v: Query<Option<String>>,
    ) -> Result<ThumbnailResponse, ThumbnailRefusal> {
        let id = convert::parse_image_id("id", &id)?;
        let row = files::find_row(&service, &id).await?;
        let if_none_match = header_text(request, header::IF_NONE_MATCH);
        let response = thumbnails::respond_with_thumbnail(
            &service,
            &row,
            size.0.unwrap_or(320),
            v.0.as_deref(),
            if_none_match.as_deref(),
        );
        Ok(ThumbnailResponse(response.await?))
    }

    /// Counts, model and rates
    ///
    /// Always `on_disk = indexed + failed + ignored + in_flight`.
    #[oai(
        path = "/v1/stats",
        method = "get",
        operation_id = "getStats",
        tag = "Tag::Status"
    )]
    async fn stats(&self, service: ServiceData<'_>) -> Result<JsonAnswer<Stats>, PlainRefusal> {
        Ok(JsonAnswer(status::collect_stats(&service)))
    }

    /// The watched folders
    #[oai(
        path = "/v1/libraries",
        method = "get",
        operation_id = "listLibraries",
        tag = "Tag::Status"
    )]
    async fn libraries(
        &self,
        service: ServiceData<'_>,
    ) -> Result<JsonAnswer<LibraryList>, PlainRefusal> {
        let libraries = status::list_libraries(&service);
        Ok(JsonAnswer(LibraryList { libraries }))
    }
}

fn header_text(request: &Request, name: header::HeaderName) -> Option<String> {
    request.header(name).map(str::to_owned)
}

fn binary_media(content_type: &'static str) -> Vec<MetaMediaType> {
    vec![MetaMediaType {
        content_type,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary"))),
    }]
}

fn meta_response(
    status: u16,
    description: &'static str,
    content: Vec<MetaMediaType>,
) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content,
        headers: vec![],
    }
}

/// An answer in JSON. poem's own leaves the description of the response empty.
pub(crate) struct JsonAnswer<T>(pub T);

impl<T: ToJSON + Send> poem::IntoResponse for JsonAnswer<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl<T: ToJSON> ApiResponse for JsonAnswer<T> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType {
            content_type: JSON,
            schema: T::schema_ref(),
        }];
        MetaResponses {
            responses: vec![meta_response(200, "The answer", content)],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// An original file, or a part of it.
pub(crate) struct FileResponse(pub Response);

/// A small JPEG.
struct ThumbnailResponse(Response);

impl poem::IntoResponse for FileResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl poem::IntoResponse for ThumbnailResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for FileResponse {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![
                meta_response(
                    200,
                    "The file, with the content type of its format",
                    binary_media("image/*"),
                ),
                meta_response(206, "The range that was asked for", binary_media("image/*")),
                meta_response(304, "The client has this version already", vec![]),
            ],
        }
    }

    fn register(_: &mut Registry) {}
}

impl ApiResponse for ThumbnailResponse {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![
                meta_response(200, "The small picture", binary_media("image/jpeg")),
                meta_response(304, "The client has this version already", vec![]),
            ],
        }
    }

    fn register(_: &mut Registry) {}
}

/// The content type of JSON answers, for the few that are written by hand.
pub(crate) const JSON: &str = <Json<Stats> as Payload>::CONTENT_TYPE;
