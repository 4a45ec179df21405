//! The operation that counts the values of attributes.

use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::filter::FilterParams;
use super::params::{ServiceData, example_filter, example_library};
use super::refusals::CountRefusal;
use super::responses::JsonAnswer;
use super::schema::{Facet, FacetAnswer, FacetFields, FacetValue, Facets};
use super::tags::Tag;
use crate::core::facets::{CountedField, FacetField, FacetResult, count_facets};

pub(crate) struct FacetApi;

const DEFAULT_VALUES: u32 = 50;

fn example_fields() -> Option<FacetFields> {
    Some(FacetFields(vec![FacetField::Format, FacetField::Year]))
}

fn example_values() -> Option<u32> {
    Some(DEFAULT_VALUES)
}

#[OpenApi]
impl FacetApi {
    /// Count the values of attributes
    ///
    /// Counts how many of the images that match a filter are in each library and folder, and have
    /// each format, camera, main colour, tag, year and month. Every value can be used in a filter.
    #[oai(
        path = "/v1/facets",
        method = "get",
        operation_id = "countFacets",
        tag = "Tag::Images"
    )]
    async fn count_facets(
        &self,
        service: ServiceData<'_>,
        /// The attributes, separated by commas; all by default.
        #[oai(example = "example_fields")]
        fields: Query<Option<FacetFields>>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Conditions for images in JSON, as the field `filter` of `POST /v1/search`.
        #[oai(example = "example_filter", validator(max_length = 16384))]
        filter: Query<Option<String>>,
        /// The maximum number of values of each attribute, 1 to 1,000; 50 by default.
        #[oai(
            example = "example_values",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
    ) -> Result<JsonAnswer<FacetAnswer>, CountRefusal> {
        let filter = FilterParams {
            filter: filter.0,
            library: library.0,
        };
        let filter = filter.to_row_filter(&service).await?;
        let fields = fields.0.map_or(FacetField::ALL.to_vec(), |fields| fields.0);
        let limit = limit.0.unwrap_or(DEFAULT_VALUES) as usize;
        let result = count_facets(&service, &filter, &fields, limit).await?;
        Ok(JsonAnswer(to_facet_answer(result)))
    }
}

fn to_facet_answer(result: FacetResult) -> FacetAnswer {
    let mut facets = Facets::default();
    for (field, counted) in result.fields {
        let place = match field {
            FacetField::Library => &mut facets.library,
            FacetField::Folder => &mut facets.folder,
            FacetField::Format => &mut facets.format,
            FacetField::Camera => &mut facets.camera,
            FacetField::Color => &mut facets.color,
            FacetField::Tag => &mut facets.tag,
            FacetField::Year => &mut facets.year,
            FacetField::Month => &mut facets.month,
        };
        *place = Some(to_facet(counted));
    }
    FacetAnswer {
        facets,
        images: result.images,
        total: result.total,
        is_complete: result.is_complete,
        took_ms: (result.took.as_secs_f64() * 1e4).round() / 10.0,
    }
}

fn to_facet(counted: CountedField) -> Facet {
    let values = counted.values.into_iter();
    Facet {
        values: values
            .map(|(value, count)| FacetValue { value, count })
            .collect(),
        distinct: counted.distinct,
        without: counted.without,
    }
}
