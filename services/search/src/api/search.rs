//! The search operations.

#![allow(
    clippy::too_many_arguments,
    reason = "each parameter of an operation is an argument"
)]

use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::convert::{parse_image_id, to_search_answer};
use super::filter::FilterParams;
use super::image_upload::ImageUpload;
use super::json_body::JsonWithImages;
use super::params::{
    ServiceData, example_filter, example_id, example_library, example_limit, example_region,
    example_search_cursor,
};
use super::refusals::{SearchRefusal, SimilarRefusal, UploadRefusal};
use super::responses::JsonAnswer;
use super::schema::{GroupBody, SearchAnswer, SearchRequest};
use super::search_request::{SearchParams, parse_region_param, parse_search_request};
use super::tags::Tag;
use crate::core::engine::run_search;
use crate::core::query::ParsedQuery;

pub(crate) struct SearchApi;

#[OpenApi]
impl SearchApi {
    /// Search by image, id or text, or by several of them
    ///
    /// `positive` and `negative` are lists of ids, texts and images with weights, in addition to
    /// `image`, `id` and `text`. Each part has a vector of unit length. The hits are nearest to the
    /// weighted sum of the positive parts minus that of the negative parts. Parts that cancel each
    /// other out are refused with `cancels_out`.
    ///
    /// Text needs a model with a text encoder (`model.text` of `/v1/stats`); other models respond
    /// with 409 and `model_without_text`. Images are base64 here; `POST /v1/search/image` accepts
    /// the file itself, which is cheaper.
    #[oai(
        path = "/v1/search",
        method = "post",
        operation_id = "search",
        tag = "Tag::Search"
    )]
    async fn search(
        &self,
        service: ServiceData<'_>,
        body: JsonWithImages<SearchRequest>,
    ) -> Result<JsonAnswer<SearchAnswer>, SearchRefusal> {
        let (query, conditions) = parse_search_request(body.request, &service).await?;
        let result = run_search(&service, query, conditions).await?;
        // The query has used the memory of the request until now.
        drop(body.permit);
        Ok(JsonAnswer(to_search_answer(result)))
    }

    /// Search by an image file
    ///
    /// The body is an image file of any supported format and with any content type, or a form with
    /// the image as its only file.
    #[oai(
        path = "/v1/search/image",
        method = "post",
        operation_id = "searchByImage",
        tag = "Tag::Search"
    )]
    async fn search_by_image(
        &self,
        service: ServiceData<'_>,
        /// The maximum number of hits, 1 to 1,000; 12 by default.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Conditions for hits in JSON, as the field `filter` of `POST /v1/search`.
        #[oai(example = "example_filter", validator(max_length = 16384))]
        filter: Query<Option<String>>,
        /// Only hits with at least this score, −1 to 1.
        #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
        min_score: Query<Option<f64>>,
        /// Only hits whose score is at least this share of the best one, 0 to 1, as the field
        /// `relative_score` of `POST /v1/search`.
        #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
        relative_score: Query<Option<f64>>,
        /// Folds hits that show the same picture, as the field `group` of `POST /v1/search`.
        group: Query<Option<GroupBody>>,
        /// Compares only this region of the picture: `x,y,width,height` as fractions from 0 to 1, as
        /// the field `region` of `POST /v1/search`.
        #[oai(example = "example_region", validator(max_length = 200))]
        region: Query<Option<String>>,
        /// Whether turned and mirrored copies are found like the picture itself.
        orientations: Query<Option<bool>>,
        /// The `cursor` of the previous answer, with the same other parameters except `limit`.
        #[oai(example = "example_search_cursor", validator(max_length = 40000))]
        cursor: Query<Option<String>>,
        upload: ImageUpload,
    ) -> Result<JsonAnswer<SearchAnswer>, UploadRefusal> {
        let params = collect_params(
            limit,
            library,
            filter,
            min_score,
            relative_score,
            group,
            cursor,
        );
        let conditions = params.parse(&service).await?;
        let query = ParsedQuery::from_image(upload.0.bytes.clone())
            .with_region(parse_region_param(region.0.as_deref())?)
            .with_orientations(orientations.0.unwrap_or(false))?;
        let result = run_search(&service, query, conditions).await?;
        Ok(JsonAnswer(to_search_answer(result)))
    }

    /// Images that look like this one
    ///
    /// The image itself is excluded. With `region` or `orientations`, the service reads the original file.
    #[oai(
        path = "/v1/images/:id/similar",
        method = "get",
        operation_id = "similarImages",
        tag = "Tag::Search"
    )]
    async fn search_similar(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
        /// The maximum number of hits, 1 to 1,000; 12 by default.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Conditions for hits in JSON, as the field `filter` of `POST /v1/search`.
        #[oai(example = "example_filter", validator(max_length = 16384))]
        filter: Query<Option<String>>,
        /// Only hits with at least this score, −1 to 1.
        #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
        min_score: Query<Option<f64>>,
        /// Only hits whose score is at least this share of the best one, 0 to 1, as the field
        /// `relative_score` of `POST /v1/search`.
        #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
        relative_score: Query<Option<f64>>,
        /// Folds hits that show the same picture, as the field `group` of `POST /v1/search`.
        group: Query<Option<GroupBody>>,
        /// Compares only this region of the picture: `x,y,width,height` as fractions from 0 to 1, as
        /// the field `region` of `POST /v1/search`.
        #[oai(example = "example_region", validator(max_length = 200))]
        region: Query<Option<String>>,
        /// Whether turned and mirrored copies are found like the picture itself.
        orientations: Query<Option<bool>>,
        /// The `cursor` of the previous answer, with the same other parameters except `limit`.
        #[oai(example = "example_search_cursor", validator(max_length = 40000))]
        cursor: Query<Option<String>>,
    ) -> Result<JsonAnswer<SearchAnswer>, SimilarRefusal> {
        let query = ParsedQuery::similar_to(parse_image_id("id", &id)?)
            .with_region(parse_region_param(region.0.as_deref())?)
            .with_orientations(orientations.0.unwrap_or(false))?;
        let params = collect_params(
            limit,
            library,
            filter,
            min_score,
            relative_score,
            group,
            cursor,
        );
        let conditions = params.parse(&service).await?;
        let result = run_search(&service, query, conditions).await?;
        Ok(JsonAnswer(to_search_answer(result)))
    }
}

/// Collects the conditions for hits in the address of a request.
fn collect_params(
    limit: Query<Option<u32>>,
    library: Query<Option<String>>,
    filter: Query<Option<String>>,
    min_score: Query<Option<f64>>,
    relative_score: Query<Option<f64>>,
    group: Query<Option<GroupBody>>,
    cursor: Query<Option<String>>,
) -> SearchParams {
    SearchParams {
        limit: limit.0,
        filter: FilterParams {
            filter: filter.0,
            library: library.0,
        },
        min_score: min_score.0,
        relative_score: relative_score.0,
        group: group.0,
        cursor: cursor.0,
    }
}
