//! The order of all hits of a search, and the page of it that begins at a cursor.
//!
//! A search asks the index for a *window*: its nearest rows, at most a certain number. The graph of the index
//! is approximate, so a larger window may also contain nearer rows that a smaller one missed. The ranking
//! therefore consists of the first window, followed by what each larger window adds. Every page computes the
//! same windows again, so pages neither repeat nor skip a hit while the index does not change.
//!
//! If the index has changed, the ranking no longer begins with the hits of the earlier pages. Then the page
//! contains the next hits of the new ranking that no earlier page has returned, as far as fingerprints tell.

use std::collections::HashMap;

use lookalike_index::IndexHit;
use lookalike_vision::{Band, Bands};

use super::hit_bands::{BandedHits, QueryPicture};
use super::hit_groups::{HitGroup, HitGrouping, HitGroups};
use super::search_cursor::SearchCursor;
use super::seen_ids::{SeenIds, hash_id};

/// The factor between the sizes of windows.
const WINDOW_GROWTH: usize = 4;
/// All windows but the first one have at least this size.
const MIN_GROWN_WINDOW: usize = 64;

/// Returns the sizes of all windows of a search.
pub(crate) fn list_windows(first: usize, depth: usize) -> Vec<usize> {
    let mut windows = vec![first.clamp(1, depth.max(1))];
    while let Some(last) = windows.last().copied().filter(|last| *last < depth) {
        let grown = last.saturating_mul(WINDOW_GROWTH).max(MIN_GROWN_WINDOW);
        windows.push(grown.min(depth));
    }
    windows
}

/// A hit of any window.
pub(crate) struct RankedHit {
    pub hit: IndexHit,
    pub id_hash: u64,
    /// The first window that contains it.
    pub stage: usize,
    /// Its band, if it is known already.
    pub band: Option<Band>,
    /// Whether all its attributes are known.
    pub is_complete: bool,
}

/// How the first window is ordered.
#[derive(Clone)]
pub(crate) struct CopyOrder {
    pub bands: Bands,
    pub picture: QueryPicture,
}

/// The hits of the windows so far.
pub(crate) struct Ranking {
    hits: Vec<RankedHit>,
    numbers: HashMap<String, usize>,
    groups: HitGroups,
}

/// The hits of one window that are new.
pub(crate) struct WindowHits {
    pub stage: usize,
    /// Sorted by falling score.
    pub hits: Vec<IndexHit>,
    pub are_complete: bool,
    /// By id; needed only to fold near-duplicates.
    pub vectors: HashMap<String, Vec<f32>>,
}

/// One page of a ranking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RankedPage {
    /// The numbers of the hits, in order.
    pub groups: Vec<HitGroup>,
    /// Whether the ranking begins with the hits of all earlier pages.
    pub is_exact: bool,
    /// The window of the first hit behind the page, if there is one already.
    pub next_stage: Option<usize>,
}

impl Ranking {
    pub(crate) fn new(grouping: Option<HitGrouping>, bands: Option<Bands>) -> Self {
        Self {
            hits: Vec::new(),
            numbers: HashMap::new(),
            groups: HitGroups::new(grouping, bands),
        }
    }

    pub(crate) fn hits(&self) -> &[RankedHit] {
        &self.hits
    }

    /// Appends the hits of the next window that are new. `order` moves copies to the front.
    pub(crate) fn append_window(&mut self, mut window: WindowHits, order: Option<&CopyOrder>) {
        window
            .hits
            .retain(|hit| !self.numbers.contains_key(&hit.image.id));
        let (hits, bands) = match order {
            Some(order) => {
                let banded = BandedHits::compare(&order.bands, &order.picture, window.hits);
                (banded.hits, banded.bands)
            }
            None => (window.hits, Vec::new()),
        };
        for (at, hit) in hits.into_iter().enumerate() {
            self.numbers.insert(hit.image.id.clone(), self.hits.len());
            let vector = window.vectors.remove(&hit.image.id).unwrap_or_default();
            self.groups
                .add(|| QueryPicture::from_row(&hit.image), vector);
            self.hits.push(RankedHit {
                id_hash: hash_id(&hit.image.id),
                stage: window.stage,
                band: bands.get(at).copied(),
                is_complete: window.are_complete,
                hit,
            });
        }
    }

    /// Selects the page of at most `limit` groups that begins at the cursor.
    pub(crate) fn select_page(&self, cursor: Option<&SearchCursor>, limit: usize) -> RankedPage {
        let groups = self.groups.groups();
        let returned = cursor.map_or(0, |cursor| cursor.returned);
        let is_exact = cursor.is_none_or(|cursor| {
            let earlier = groups.get(..returned).filter(|_| cursor.is_exact);
            earlier.is_some_and(|earlier| {
                // A folded image may have left its group.
                let members = earlier.iter().flat_map(group_members);
                let hashes = members.map(|number| self.hits[number].id_hash);
                self.sum_ids(earlier) == cursor.id_sum && cursor.seen.is_covered_by(hashes)
            })
        });
        let rest: Vec<&HitGroup> = match cursor.filter(|_| !is_exact) {
            None => groups[returned..].iter().take(limit + 1).collect(),
            Some(cursor) => {
                let is_new = |group: &&HitGroup| !self.was_seen(group, &cursor.seen);
                groups.iter().filter(is_new).take(limit + 1).collect()
            }
        };
        RankedPage {
            next_stage: rest.get(limit).map(|next| self.hits[next.first].stage),
            groups: rest.into_iter().take(limit).cloned().collect(),
            is_exact,
        }
    }

    fn was_seen(&self, group: &HitGroup, seen: &SeenIds) -> bool {
        group_members(group).any(|number| seen.may_contain(self.hits[number].id_hash))
    }

    fn sum_ids(&self, groups: &[HitGroup]) -> u64 {
        let hashes = groups.iter().map(|group| self.hits[group.first].id_hash);
        hashes.fold(0, u64::wrapping_add)
    }

    /// Moves a cursor behind a page that was selected with it.
    pub(crate) fn advance_cursor(&self, cursor: &mut SearchCursor, page: &RankedPage) {
        cursor.is_exact = page.is_exact;
        cursor.returned += page.groups.len();
        cursor.id_sum = cursor.id_sum.wrapping_add(self.sum_ids(&page.groups));
        let members = page.groups.iter().flat_map(group_members);
        cursor
            .seen
            .add(members.map(|number| self.hits[number].id_hash));
    }
}

/// Returns the numbers of all hits of a group.
fn group_members(group: &HitGroup) -> impl Iterator<Item = usize> {
    [group.first]
        .into_iter()
        .chain(group.folded.iter().copied())
}

#[cfg(test)]
mod tests;
