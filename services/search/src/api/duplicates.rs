//! The operation that lists duplicates.

use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::convert::to_image_body;
use super::filter::FilterParams;
use super::params::{ServiceData, example_filter, example_library};
use super::refusals::DuplicatesRefusal;
use super::responses::JsonAnswer;
use super::schema::{DuplicateGroupBody, DuplicateImageBody, DuplicateKindBody, DuplicateList};
use super::tags::Tag;
use crate::core::duplicates::{
    DuplicateImages, DuplicateKind, DuplicatePage, DuplicateQuery, JudgedImage, find_duplicates,
};
use crate::problem::Problem;

pub(crate) struct DuplicateApi;

const DEFAULT_GROUPS: u32 = 20;
const MAX_GROUPS: u32 = 100;

fn example_groups() -> Option<u32> {
    Some(DEFAULT_GROUPS)
}

fn example_duplicates_cursor() -> Option<String> {
    Some("af1349b9f5f9a1a6".into())
}

#[OpenApi]
impl DuplicateApi {
    /// Find duplicates
    ///
    /// Lists groups of identical files, or of pictures that look the same: saved again, in another size,
    /// turned, mirrored, cropped or edited. Each group states which image to keep and why; nothing is
    /// deleted. While the index does not change, every group is on exactly one page, and no image is in two
    /// groups of one kind. The order of the groups has no meaning.
    ///
    /// `near` compares the pictures as a search does: its groups contain the images whose bands are
    /// `same_picture`, `turned_copy` or `near_duplicate`, directly or through others of the group. Of more than
    /// 256 different pictures that look the same, only parts are listed until some are removed. A model
    /// without calibrated bands responds with 409 and `model_without_bands`.
    #[oai(
        path = "/v1/duplicates",
        method = "get",
        operation_id = "findDuplicates",
        tag = "Tag::Images"
    )]
    async fn find_duplicates(
        &self,
        service: ServiceData<'_>,
        /// What the images of a group have in common; `identical` by default.
        kind: Query<Option<DuplicateKindBody>>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Conditions for images in JSON, as the field `filter` of `POST /v1/search`.
        #[oai(example = "example_filter", validator(max_length = 16384))]
        filter: Query<Option<String>>,
        /// The maximum number of groups, 1 to 100; 20 by default.
        #[oai(
            example = "example_groups",
            validator(minimum(value = "1"), maximum(value = "100"))
        )]
        limit: Query<Option<u32>>,
        /// The `cursor` of the previous page.
        #[oai(example = "example_duplicates_cursor")]
        cursor: Query<Option<String>>,
    ) -> Result<JsonAnswer<DuplicateList>, DuplicatesRefusal> {
        let after = match cursor.0 {
            Some(cursor) => parse_cursor(cursor)?,
            None => String::new(),
        };
        let filter = FilterParams {
            filter: filter.0,
            library: library.0,
        };
        let query = DuplicateQuery {
            kind: kind.0.map_or(DuplicateKind::Identical, Into::into),
            filter: filter.to_row_filter(&service).await?,
            limit: limit.0.unwrap_or(DEFAULT_GROUPS).clamp(1, MAX_GROUPS) as usize,
            after,
        };
        let page = find_duplicates(&service, query).await?;
        Ok(JsonAnswer(to_duplicate_list(page)))
    }
}

/// Accepts a content hash or its first 16 digits.
fn parse_cursor(cursor: String) -> Result<String, Problem> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match matches!(cursor.len(), 16 | 64) && cursor.bytes().all(is_digit) {
        true => Ok(cursor),
        false => Err(Problem::invalid_parameter(
            "cursor",
            "this is not a cursor of a page of duplicates: use the `cursor` of the previous page, or \
             none for the first page",
        )),
    }
}

fn to_duplicate_list(page: DuplicatePage) -> DuplicateList {
    DuplicateList {
        groups: page.groups.into_iter().map(to_group_body).collect(),
        cursor: page.cursor,
        examined: page.examined,
        took_ms: (page.took.as_secs_f64() * 1e4).round() / 10.0,
    }
}

fn to_group_body(group: DuplicateImages) -> DuplicateGroupBody {
    DuplicateGroupBody {
        kind: group.kind.into(),
        reclaimable_bytes: group.reclaimable_bytes(),
        images: group.images.into_iter().map(to_judged_body).collect(),
    }
}

fn to_judged_body(judged: JudgedImage) -> DuplicateImageBody {
    DuplicateImageBody {
        image: to_image_body(judged.image),
        keep: judged.keep,
        reasons: judged.reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_starts_of_hashes_are_cursors() {
        for good in ["0123456789abcdef".to_owned(), "e".repeat(64)] {
            assert_eq!(parse_cursor(good.clone()).unwrap(), good);
        }
        for bad in [
            "",
            "abc",
            "0123456789abcdeF",
            "0123456789abcde\"",
            &"e".repeat(63),
        ] {
            let problem = parse_cursor(bad.to_owned()).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("cursor"), "{bad}");
        }
    }
}
