//! Converts between the types of the API and those of the index.

use lookalike_index as index;
use lookalike_proto::ImageId;
use lookalike_vision::Band;

use super::schema::{
    BandBody, ConsistencyBody, FoldedBody, GroupBody, HitBody, ImageBody, SearchAnswer,
};
use crate::core::engine::SearchResult;
use crate::core::hit_groups::HitGrouping;
use crate::core::search_pages::FoundHit;
use crate::http::link_prefix;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::time;

/// Parses an image id, so nothing else gets into an expression for the index.
pub(crate) fn parse_image_id(param: &str, text: &str) -> Result<String, Problem> {
    let id: ImageId = text
        .parse()
        .map_err(|error| Problem::invalid_parameter(param, format!("{error}")))?;
    Ok(id.to_string())
}

pub(crate) fn check_limit(limit: Option<u32>, settings: &Settings) -> Result<usize, Problem> {
    let max = settings.max_results();
    let limit = limit.unwrap_or(settings.default_limit.clamp(1, max));
    if (1..=max).contains(&limit) {
        Ok(limit as usize)
    } else {
        Err(Problem::invalid_parameter(
            "limit",
            format!("limit is {limit}; it must be 1 to {max}"),
        ))
    }
}

pub(crate) fn check_min_score(min_score: Option<f64>) -> Result<Option<f32>, Problem> {
    match min_score {
        Some(score) if !(-1.0..=1.0).contains(&score) => Err(Problem::invalid_parameter(
            "min_score",
            format!("min_score is {score}; it must be -1 to 1"),
        )),
        score => Ok(score.map(|score| score as f32)),
    }
}

pub(crate) fn check_relative_score(share: Option<f64>) -> Result<Option<f64>, Problem> {
    match share {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(Problem::invalid_parameter(
            "relative_score",
            format!("relative_score is {share}; it must be 0 to 1"),
        )),
        share => Ok(share),
    }
}

pub(crate) fn to_hit_grouping(group: Option<GroupBody>) -> Option<HitGrouping> {
    group.map(|group| match group {
        GroupBody::Content => HitGrouping::Content,
        GroupBody::Near => HitGrouping::Near,
    })
}

pub(crate) fn to_index_consistency(consistency: Option<ConsistencyBody>) -> index::ReadConsistency {
    match consistency {
        Some(ConsistencyBody::Strong) => index::ReadConsistency::Strong,
        Some(ConsistencyBody::Bounded) | None => index::ReadConsistency::Bounded,
    }
}

/// Returns the address of a thumbnail. It contains the start of the content hash, so its response
/// never changes and browsers may cache it.
fn thumbnail_url(image: &index::IndexedImage) -> String {
    let version = image.content_hash.get(..16).unwrap_or_default();
    let prefix = link_prefix();
    format!(
        "{prefix}/v1/images/{}/thumbnail?size=320&v={version}",
        image.id
    )
}

fn content_url(image: &index::IndexedImage) -> String {
    format!("{}/v1/images/{}/content", link_prefix(), image.id)
}

fn to_pixels(side: i32) -> u32 {
    u32::try_from(side).unwrap_or(0)
}

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

fn to_hit_body(found: FoundHit) -> HitBody {
    let (hit, folded) = (found.hit, found.folded);
    let image = hit.image;
    HitBody {
        band: found.band.map(BandBody::from),
        folded: folded.map(|folded| FoldedBody {
            count: u32::try_from(folded.count).unwrap_or(u32::MAX),
            ids: folded.ids,
        }),
        thumbnail_url: thumbnail_url(&image),
        content_url: content_url(&image),
        width: to_pixels(image.width),
        height: to_pixels(image.height),
        taken_at: image.taken_at.map(time::format_time),
        // A single-precision number printed as a double would have meaningless digits.
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

pub(crate) fn to_search_answer(result: SearchResult) -> SearchAnswer {
    // Identical content or a turned copy may come after hits with a better score.
    let best = result.hits.iter().filter_map(|hit| hit.band).min();
    let band = result.has_bands.then(|| best.unwrap_or(Band::NoMatch));
    SearchAnswer {
        band: band.map(BandBody::from),
        hits: result.hits.into_iter().map(to_hit_body).collect(),
        cursor: result.cursor,
        model: result.model,
        took_ms: (result.took.as_secs_f64() * 1e4).round() / 10.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_image_ids_are_ids() {
        assert!(parse_image_id("id", "../../etc/passwd").is_err());
        assert!(parse_image_id("id", &"A".repeat(32)).is_err());
    }

    #[test]
    fn an_answer_has_the_best_band_of_its_hits() {
        let answer = |hits: usize, bands: Option<Vec<Band>>| {
            let hit = |number: usize| FoundHit {
                hit: index::IndexHit {
                    image: index::IndexedImage::default(),
                    score: 0.5,
                },
                band: bands.as_ref().map(|bands| bands[number]),
                folded: None,
            };
            let answer = to_search_answer(SearchResult {
                hits: (0..hits).map(hit).collect(),
                has_bands: bands.is_some(),
                cursor: None,
                model: String::new(),
                took: std::time::Duration::ZERO,
            });
            let of_hits: Vec<_> = answer.hits.iter().map(|hit| hit.band).collect();
            (answer.band, of_hits)
        };
        let (turned, similar) = (Some(BandBody::TurnedCopy), Some(BandBody::Similar));
        assert_eq!(
            answer(2, Some(vec![Band::TurnedCopy, Band::Similar])),
            (turned, vec![turned, similar])
        );
        assert_eq!(
            answer(2, Some(vec![Band::Similar, Band::TurnedCopy])),
            (turned, vec![similar, turned])
        );
        assert_eq!(answer(0, Some(vec![])), (Some(BandBody::NoMatch), vec![]));
        assert_eq!(answer(1, None), (None, vec![None]));
    }

    #[test]
    fn limits_are_checked() {
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
        assert_eq!(check_relative_score(Some(1.0)).unwrap(), Some(1.0));
        for refused in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let problem = check_relative_score(Some(refused)).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("relative_score"));
        }
    }
}
