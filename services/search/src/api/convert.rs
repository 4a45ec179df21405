//! Between the API's types and the index's: conditions in, images out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lookalike_index::{self as index, RowFilter, ValueRange};
use lookalike_proto::{ImageId, LibraryName};
use lookalike_vision::Bands;

use crate::api::schema::{ConsistencyBody, FilterBody, HitBody, ImageBody};
use crate::problem::Problem;
use crate::time;

/// Checks an image id, so that nothing else ever gets into a question to the index.
pub(crate) fn parse_image_id(param: &str, text: &str) -> Result<String, Problem> {
    let id: ImageId = text
        .parse()
        .map_err(|error| Problem::invalid_parameter(param, format!("{error}")))?;
    Ok(id.to_string())
}

/// Checks a library's name.
pub(crate) fn parse_library(param: &str, name: &str) -> Result<LibraryName, Problem> {
    LibraryName::new(name).map_err(|error| Problem::invalid_parameter(param, error.to_string()))
}

/// Checks how many answers are wanted.
pub(crate) fn check_limit(
    wanted: Option<u32>,
    settings: &crate::Settings,
) -> Result<usize, Problem> {
    let most = settings.max_results();
    let limit = wanted.unwrap_or(settings.default_limit.clamp(1, most));
    if (1..=most).contains(&limit) {
        Ok(limit as usize)
    } else {
        Err(Problem::invalid_parameter(
            "limit",
            format!("limit is {limit}, and must be 1 to {most}"),
        ))
    }
}

/// Checks the least score that is wanted.
pub(crate) fn check_min_score(wanted: Option<f64>) -> Result<Option<f32>, Problem> {
    match wanted {
        Some(score) if !(-1.0..=1.0).contains(&score) => Err(Problem::invalid_parameter(
            "min_score",
            format!("min_score is {score}, and must be -1 to 1"),
        )),
        score => Ok(score.map(|score| score as f32)),
    }
}

/// How fresh, in the index's terms.
pub(crate) fn to_index_consistency(wanted: Option<ConsistencyBody>) -> index::ReadConsistency {
    match wanted {
        Some(ConsistencyBody::Strong) => index::ReadConsistency::Strong,
        Some(ConsistencyBody::Bounded) | None => index::ReadConsistency::Bounded,
    }
}

/// The conditions in the index's terms.
pub(crate) fn to_index_filter(
    body: &FilterBody,
    watched: &BTreeMap<LibraryName, PathBuf>,
) -> Result<RowFilter, Problem> {
    let mut all = Vec::new();
    if let Some(name) = &body.library {
        all.push(RowFilter::Library(vec![
            parse_library("filter.library", name)?.to_string(),
        ]));
    } else if !watched.is_empty() {
        // The index may hold libraries that are not watched any more: nothing of theirs could
        // be shown.
        let names = watched.keys().map(ToString::to_string);
        all.push(RowFilter::Library(names.collect()));
    }
    if let Some(prefix) = &body.path_prefix {
        all.push(RowFilter::PathPrefix(prefix.clone()));
    }
    if let Some(formats) = &body.formats {
        all.push(RowFilter::Format(formats.clone()));
    }
    let at_least = |value: u32| ValueRange {
        at_least: Some(value.into()),
        at_most: None,
    };
    all.extend(
        body.min_width
            .map(|width| RowFilter::Width(at_least(width))),
    );
    all.extend(
        body.min_height
            .map(|height| RowFilter::Height(at_least(height))),
    );
    let taken = ValueRange {
        at_least: parse_filter_time("filter.taken_after", body.taken_after.as_deref())?,
        // "Before" leaves the moment itself out.
        at_most: parse_filter_time("filter.taken_before", body.taken_before.as_deref())?
            .map(|ms| ms - 1),
    };
    if taken != ValueRange::default() {
        all.push(RowFilter::TakenAt(taken));
    }
    if let Some(colors) = &body.colors {
        all.push(RowFilter::AnyColor(colors.clone()));
    }
    if let Some(tags) = &body.tags {
        all.push(RowFilter::AllTags(tags.clone()));
    }
    Ok(match all.len() {
        0 => RowFilter::All,
        _ => RowFilter::And(all),
    })
}

fn parse_filter_time(param: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    text.map(|text| {
        time::parse_time(text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Problem::invalid_parameter(
                param,
                format!("{shown:?} is no time like 2026-11-23 or 2026-11-23T07:48:50Z"),
            )
        })
    })
    .transpose()
}

/// Where a small picture is to be had. With the beginning of the content's hash in it the address
/// means the same bytes for good, so that browsers may keep them.
fn thumbnail_url(image: &index::IndexedImage) -> String {
    let version = image.content_hash.get(..16).unwrap_or_default();
    format!("/v1/images/{}/thumbnail?size=320&v={version}", image.id)
}

fn content_url(image: &index::IndexedImage) -> String {
    format!("/v1/images/{}/content", image.id)
}

fn to_pixels(side: i32) -> u32 {
    u32::try_from(side).unwrap_or(0)
}

/// An image as clients see it.
pub(crate) fn to_image_body(image: index::IndexedImage) -> ImageBody {
    ImageBody {
        thumbnail_url: thumbnail_url(&image),
        content_url: content_url(&image),
        width: to_pixels(image.width),
        height: to_pixels(image.height),
        bytes: u64::try_from(image.bytes).unwrap_or(0),
        taken_at: image.taken_at.map(time::format_time),
        modified_at: time::format_time(image.modified_at),
        indexed_at: time::format_time(image.indexed_at),
        camera: (!image.camera.is_empty()).then_some(image.camera),
        id: image.id,
        library: image.library,
        path: image.path,
        format: image.format,
        content_hash: image.content_hash,
        tags: image.tags,
        colors: image.colors,
    }
}

/// A hit as clients see it; with a band, if the model's bands hold for it.
pub(crate) fn to_hit_body(hit: index::IndexHit, bands: Option<&Bands>) -> HitBody {
    let image = hit.image;
    HitBody {
        band: bands.map(|bands| bands.band_for(hit.score).into()),
        thumbnail_url: thumbnail_url(&image),
        content_url: content_url(&image),
        width: to_pixels(image.width),
        height: to_pixels(image.height),
        taken_at: image.taken_at.map(time::format_time),
        // Single precision written as double would claim digits that are not there.
        score: (f64::from(hit.score) * 1e6).round() / 1e6,
        id: image.id,
        library: image.library,
        path: image.path,
        format: image.format,
        content_hash: image.content_hash,
        tags: image.tags,
        colors: image.colors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::api::schema::BandBody;
    use poem_openapi::types::Example as _;

    #[test]
    fn a_filter_holds_everything_that_was_given() {
        assert_eq!(
            to_index_filter(&FilterBody::default(), &BTreeMap::new()).unwrap(),
            RowFilter::All
        );
        let watched = BTreeMap::from([(LibraryName::new("shop").unwrap(), PathBuf::new())]);
        let watched_only = to_index_filter(&FilterBody::default(), &watched).unwrap();
        assert_eq!(
            watched_only,
            RowFilter::And(vec![RowFilter::Library(vec!["shop".into()])])
        );
        let RowFilter::And(all) =
            to_index_filter(&FilterBody::example(), &BTreeMap::new()).unwrap()
        else {
            panic!("several conditions")
        };
        assert_eq!(all.len(), 6);
        assert!(all.contains(&RowFilter::TakenAt(ValueRange {
            at_least: Some(1_767_225_600_000),
            at_most: None
        })));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |body: FilterBody| {
            to_index_filter(&body, &BTreeMap::new())
                .unwrap_err()
                .param
                .unwrap()
        };
        assert_eq!(
            wrong(FilterBody {
                library: Some("../etc".into()),
                ..FilterBody::default()
            }),
            "filter.library"
        );
        assert_eq!(
            wrong(FilterBody {
                taken_before: Some("yesterday".into()),
                ..FilterBody::default()
            }),
            "filter.taken_before"
        );
        assert!(parse_image_id("id", "../../etc/passwd").is_err());
        assert!(parse_image_id("id", &"A".repeat(32)).is_err());
    }

    #[test]
    fn a_hit_has_a_band_where_bands_hold() {
        let bands = Bands {
            same: 0.99,
            near_duplicate: 0.9,
            very_similar: 0.8,
            similar: 0.7,
        };
        let band = |score, bands: Option<&Bands>| {
            let image = index::IndexedImage::default();
            to_hit_body(index::IndexHit { image, score }, bands).band
        };
        assert_eq!(band(0.95, Some(&bands)), Some(BandBody::NearDuplicate));
        assert_eq!(band(0.1, Some(&bands)), Some(BandBody::NoMatch));
        assert_eq!(band(1.0, None), None);
    }

    #[test]
    fn limits_hold() {
        let settings = Settings::default();
        assert_eq!(check_limit(None, &settings).unwrap(), 12);
        assert_eq!(check_limit(Some(1000), &settings).unwrap(), 1000);
        assert!(check_limit(Some(0), &settings).is_err());
        assert!(check_limit(Some(1001), &settings).is_err());
        let small = Settings {
            max_limit: 5,
            ..Settings::default()
        };
        assert_eq!(check_limit(None, &small).unwrap(), 5);
        assert!(check_limit(Some(6), &small).is_err());
        assert_eq!(check_min_score(Some(0.5)).unwrap(), Some(0.5));
        assert!(check_min_score(Some(1.5)).is_err());
        assert!(check_min_score(Some(f64::NAN)).is_err());
    }
}
