//! One page of a search: asks the index for windows, ranks their hits, and completes those of the page.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use lookalike_index::{HitFields, IndexHit, IndexedImage, NearestHits, SearchQuery};
use lookalike_vision::{Band, Bands};

use super::hit_bands::{MAX_INLINE_HITS, MIN_COMPARED_HITS, find_bands};
use super::hit_groups::HitGrouping;
use super::query::SearchConditions;
use super::ranking::{CopyOrder, RankedPage, Ranking, WindowHits, list_windows};
use super::search_cursor::{SearchCursor, SearchDigest};
use super::service::SearchService;
use super::visible::model::VisibleModel;
use crate::problem::Problem;

/// Ids of folded images that a hit lists.
const MAX_FOLDED_IDS: usize = 100;

/// The images that are folded into a hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoldedImages {
    pub count: usize,
    /// At most [`MAX_FOLDED_IDS`].
    pub ids: Vec<String>,
}

/// A hit of a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FoundHit {
    pub hit: IndexHit,
    /// If the model has bands and they hold for the scores of this query.
    pub band: Option<Band>,
    pub folded: Option<FoldedImages>,
}

pub(crate) struct FoundPage {
    pub hits: Vec<FoundHit>,
    /// `None` after the last page.
    pub cursor: Option<String>,
}

/// A search whose vectors are known.
pub(crate) struct PageSearch<'a> {
    pub service: &'a SearchService,
    pub serving: &'a VisibleModel,
    /// The score of a hit is its best one.
    pub vectors: Vec<Vec<f32>>,
    /// Known if the hits have bands.
    pub order: Option<CopyOrder>,
    pub conditions: SearchConditions,
}

/// The windows of one request.
struct WindowSearch<'a> {
    search: &'a PageSearch<'a>,
    windows: Vec<usize>,
    /// Hits before it are of earlier pages.
    first_stage: usize,
    min_score: Option<f32>,
}

impl PageSearch<'_> {
    /// Finds the page that begins at the cursor.
    pub(crate) async fn find_page(
        &self,
        cursor: Option<SearchCursor>,
        digest: SearchDigest,
    ) -> Result<FoundPage, Problem> {
        let conditions = &self.conditions;
        let first_window = match (&cursor, &self.order) {
            (Some(cursor), _) => cursor.first_window,
            (None, Some(_)) => conditions.limit.max(MIN_COMPARED_HITS),
            (None, None) => conditions.limit,
        };
        let windows = list_windows(first_window, self.max_depth());
        let last_window = windows.len() - 1;
        let mut windows = WindowSearch {
            search: self,
            first_stage: cursor
                .as_ref()
                .map_or(0, |cursor| cursor.stage.min(last_window)),
            windows,
            min_score: conditions.min_score,
        };
        let best_score = cursor.as_ref().and_then(|cursor| cursor.best_score);
        if let (Some(best), Some(share)) = (best_score, conditions.relative_score) {
            windows.require_share(best, share);
        }
        let mut found = windows.find_first().await?;
        let mut stage = windows.first_stage;
        let mut next_cursor = cursor
            .clone()
            .unwrap_or_else(|| SearchCursor::new(digest, windows.windows[0], None));
        if let (None, Some(share)) = (&cursor, conditions.relative_score)
            && let Some(best) = found[0].hits.first().map(|hit| hit.score)
        {
            windows.require_share(best, share);
            windows.drop_low_scores(&mut found[0]);
            next_cursor.best_score = Some(best);
        }
        let mut ranking = Ranking::new(conditions.group, self.group_bands());
        let mut may_have_more = true;
        for (number, window) in found.into_iter().enumerate() {
            may_have_more = window.may_have_more;
            ranking = windows.append_window(ranking, number, window).await?;
        }
        let page = loop {
            let page = ranking.select_page(cursor.as_ref(), conditions.limit);
            let is_full = page.groups.len() == conditions.limit;
            if is_full || !may_have_more || stage == last_window {
                break page;
            }
            stage += 1;
            let window = windows.search(stage).await?;
            may_have_more = window.may_have_more;
            ranking = windows.append_window(ranking, stage, window).await?;
        };
        let grown_stage = (may_have_more && stage < last_window).then_some(stage + 1);
        let next_stage = page.next_stage.or(grown_stage);
        ranking.advance_cursor(&mut next_cursor, &page);
        let next_cursor = next_stage.map(|stage| SearchCursor {
            stage,
            ..next_cursor
        });
        Ok(FoundPage {
            hits: self.complete_hits(&ranking, page).await?,
            cursor: next_cursor.map(|cursor| cursor.to_text()),
        })
    }

    /// Returns how many rows all pages together may examine.
    fn max_depth(&self) -> usize {
        let settings = &self.service.settings;
        match self.conditions.group {
            Some(HitGrouping::Near) => settings.near_group_depth(),
            Some(HitGrouping::Content) | None => settings.search_depth(),
        }
    }

    /// Near-duplicates among the hits are compared with each other, whatever the query is.
    fn group_bands(&self) -> Option<Bands> {
        self.serving.description.bands
    }

    /// Adds what the ranking does not know of the hits of a page. Rows that were deleted meanwhile are dropped.
    async fn complete_hits(
        &self,
        ranking: &Ranking,
        page: RankedPage,
    ) -> Result<Vec<FoundHit>, Problem> {
        let ranked = |number: usize| &ranking.hits()[number];
        let firsts = || page.groups.iter().map(|group| ranked(group.first));
        let missing: Vec<String> = firsts()
            .filter(|first| !first.is_complete)
            .map(|first| first.hit.image.id.clone())
            .collect();
        let index = &self.serving.index;
        let images = match missing.is_empty() {
            true => Vec::new(),
            false => {
                let consistency = self.conditions.consistency;
                index.fetch_images(&missing, consistency).await?
            }
        };
        let mut images: HashMap<String, IndexedImage> = images
            .into_iter()
            .map(|image| (image.id.clone(), image))
            .collect();
        let mut hits = Vec::with_capacity(page.groups.len());
        for group in &page.groups {
            let first = ranked(group.first);
            let mut hit = first.hit.clone();
            if !first.is_complete {
                let Some(image) = images.remove(&hit.image.id) else {
                    continue;
                };
                hit.image = image;
            }
            let ids = group.folded.iter().take(MAX_FOLDED_IDS);
            let ids = ids.map(|number| ranked(*number).hit.image.id.clone());
            hits.push(FoundHit {
                hit,
                band: first.band,
                folded: (!group.folded.is_empty()).then(|| FoldedImages {
                    count: group.folded.len(),
                    ids: ids.collect(),
                }),
            });
        }
        if let Some(order) = &self.order {
            self.add_bands(order, &mut hits).await?;
        }
        Ok(hits)
    }

    /// Finds the bands of the hits behind the first window.
    async fn add_bands(&self, order: &CopyOrder, hits: &mut [FoundHit]) -> Result<(), Problem> {
        let (numbers, without): (Vec<usize>, Vec<IndexHit>) = hits
            .iter()
            .enumerate()
            .filter(|(_, hit)| hit.band.is_none())
            .map(|(number, hit)| (number, hit.hit.clone()))
            .unzip();
        let (bands, picture) = (order.bands, order.picture.clone());
        let find = move || find_bands(&bands, &picture, &without);
        let bands = match numbers.len() > MAX_INLINE_HITS {
            true => self.service.search_decodes.run_decode(find).await?,
            false => find(),
        };
        for (number, band) in numbers.into_iter().zip(bands) {
            hits[number].band = Some(band);
        }
        Ok(())
    }
}

impl WindowSearch<'_> {
    /// Searches all windows up to the one in which the page begins.
    async fn find_first(&self) -> Result<Vec<NearestHits>, Problem> {
        try_join_all((0..=self.first_stage).map(|stage| self.search(stage))).await
    }

    /// Returns the hits of one window, with the fields that its ranking needs.
    async fn search(&self, stage: usize) -> Result<NearestHits, Problem> {
        let search = self.search;
        let query = SearchQuery {
            limit: self.windows[stage],
            filter: search.conditions.filter.clone(),
            min_score: self.min_score,
            consistency: search.conditions.consistency,
        };
        let index = &search.serving.index;
        let fields = self.fields_of(stage);
        let found = search
            .vectors
            .iter()
            .map(|vector| index.find_nearest(vector, &query, fields));
        let mut found = try_join_all(found).await?;
        match (found.len(), found.pop()) {
            (1, Some(found)) => Ok(found),
            (_, last) => Ok(merge_hits(found.into_iter().chain(last), query.limit)),
        }
    }

    fn fields_of(&self, stage: usize) -> HitFields {
        match self.search.conditions.group {
            Some(HitGrouping::Near) => HitFields::All,
            // Behind the first window, only the attributes of the page are needed. Once the page begins
            // behind it, its order has no effect.
            _ if stage == 0 && self.first_stage == 0 => HitFields::All,
            // The order decides which of several copies is the first one of a group.
            Some(HitGrouping::Content) if stage == 0 && self.search.order.is_some() => {
                HitFields::All
            }
            Some(HitGrouping::Content) => HitFields::ContentHash,
            None => HitFields::Id,
        }
    }

    /// Requires a share of the best score, see [`find_least_score`].
    fn require_share(&mut self, best: f32, share: f64) {
        let least = find_least_score(best, share);
        self.min_score = Some(self.min_score.map_or(least, |score| score.max(least)));
    }

    /// Drops the hits of the first window that were searched before its best score was known.
    fn drop_low_scores(&self, found: &mut NearestHits) {
        let least = self.min_score.unwrap_or(-1.0);
        let good = found.hits.partition_point(|hit| hit.score >= least);
        found.may_have_more &= good == found.hits.len();
        found.hits.truncate(good);
    }

    async fn append_window(
        &self,
        mut ranking: Ranking,
        stage: usize,
        found: NearestHits,
    ) -> Result<Ranking, Problem> {
        let search = self.search;
        let fields = self.fields_of(stage);
        let vectors = match search.conditions.group {
            Some(HitGrouping::Near) => {
                let ids: Vec<String> = found.hits.iter().map(|hit| hit.image.id.clone()).collect();
                let consistency = search.conditions.consistency;
                let index = &search.serving.index;
                index.fetch_vectors(&ids, consistency).await?
            }
            Some(HitGrouping::Content) | None => HashMap::new(),
        };
        let window = WindowHits {
            stage,
            hits: found.hits,
            are_complete: fields == HitFields::All,
            vectors,
        };
        let is_ordered = stage == 0 && fields == HitFields::All;
        let order = search.order.clone().filter(|_| is_ordered);
        let is_cheap = order.is_none() && search.conditions.group != Some(HitGrouping::Near);
        if is_cheap || window.hits.len() <= MAX_INLINE_HITS {
            ranking.append_window(window, order.as_ref());
            return Ok(ranking);
        }
        // Many comparisons would delay the other tasks of this thread.
        let append = move || {
            ranking.append_window(window, order.as_ref());
            ranking
        };
        search.service.search_decodes.run_decode(append).await
    }
}

/// Returns the least score that is this share of the best one. Of a negative score, a share of 0.5 is twice as
/// far from 0, so that the best hit always remains: 1 keeps only hits with the best score, and 0 keeps all of
/// them unless the best score is above 0, where it drops those below 0.
fn find_least_score(best: f32, share: f64) -> f32 {
    let best = f64::from(best);
    let least = if best >= 0.0 {
        best * share
    } else {
        best / share
    };
    (least.max(-1.0)) as f32
}

/// Merges the hits of several vectors: each image has its best score.
fn merge_hits(found: impl Iterator<Item = NearestHits>, limit: usize) -> NearestHits {
    let mut may_have_more = false;
    let mut best: HashMap<String, IndexHit> = HashMap::new();
    let hits = found.flat_map(|found| {
        may_have_more |= found.may_have_more;
        found.hits
    });
    for hit in hits {
        match best.get_mut(&hit.image.id) {
            Some(known) if known.score >= hit.score => {}
            Some(known) => *known = hit,
            None => {
                best.insert(hit.image.id.clone(), hit);
            }
        }
    }
    let mut hits: Vec<IndexHit> = best.into_values().collect();
    hits.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score);
        by_score.then_with(|| a.image.id.cmp(&b.image.id))
    });
    may_have_more |= hits.len() > limit;
    hits.truncate(limit);
    NearestHits {
        hits,
        may_have_more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_best_score_always_keeps_the_best_hit() {
        for (best, share, least) in [
            (1.0, 0.9, 0.9),
            (0.5, 0.5, 0.25),
            (0.5, 0.0, 0.0),
            (0.0, 0.0, 0.0),
            (0.0, 1.0, 0.0),
            (-0.25, 0.5, -0.5),
            (-0.25, 1.0, -0.25),
            (-0.25, 0.0, -1.0),
            (-0.5, 0.1, -1.0),
        ] {
            assert_eq!(find_least_score(best, share), least, "{best} {share}");
        }
        for at in 0..=1000_u16 {
            let share = f64::from(at) / 1000.0;
            for best in [-1.0, -0.333_333_34, -1e-7, 0.0, 1e-7, 0.123_456_78, 1.0] {
                let least = find_least_score(best, share);
                assert!((-1.0..=best).contains(&least), "{best} {share}: {least}");
            }
        }
    }

    #[test]
    fn each_image_has_its_best_score() {
        let hit = |id: &str, score| IndexHit {
            image: IndexedImage {
                id: id.to_owned(),
                ..IndexedImage::default()
            },
            score,
        };
        let nearest = |hits, may_have_more| NearestHits {
            hits,
            may_have_more,
        };
        let found = vec![
            nearest(vec![hit("a", 0.5), hit("b", 0.4)], false),
            nearest(vec![hit("b", 0.9), hit("c", 0.5), hit("a", 0.1)], false),
        ];
        let merge = |limit| {
            let merged = merge_hits(found.clone().into_iter(), limit);
            let ids: Vec<_> = merged
                .hits
                .into_iter()
                .map(|hit| (hit.image.id, hit.score))
                .collect();
            (ids, merged.may_have_more)
        };
        let all = [("b", 0.9), ("a", 0.5), ("c", 0.5)].map(|(id, score)| (id.to_owned(), score));
        assert_eq!(merge(3), (all.to_vec(), false));
        assert_eq!(merge(2), (all[..2].to_vec(), true));
    }
}
