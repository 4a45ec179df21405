use std::collections::HashSet;

use lookalike_index::IndexedImage;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::core::search_cursor::SearchDigest;

const DEPTH: usize = 1000;

/// What an index returns: scores of ids. A part of the best is missed by small windows, as in a graph.
#[derive(Clone)]
struct RandomIndex {
    /// Id, content, score, and the smallest window that finds the row.
    rows: Vec<(u32, u32, f32, usize)>,
    random: StdRng,
    next_id: u32,
}

impl RandomIndex {
    fn new(seed: u64, rows: usize) -> Self {
        let mut index = Self {
            rows: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            next_id: 0,
        };
        for _ in 0..rows {
            index.add_row();
        }
        index
    }

    fn add_row(&mut self) {
        let random = &mut self.random;
        // Few scores, so that many are equal.
        let score = random.gen_range(-20..20) as f32 / 20.0;
        let min_window = match random.gen_range(0..10) {
            0 => random.gen_range(1..300),
            _ => 1,
        };
        let content = random.gen_range(0..200);
        self.rows.push((self.next_id, content, score, min_window));
        self.next_id += 1;
    }

    fn change(&mut self) {
        for _ in 0..self.random.gen_range(0..6) {
            self.add_row();
        }
        for _ in 0..self.random.gen_range(0..6) {
            let count = self.rows.len();
            match (self.random.gen_range(0..3), count) {
                (_, 0) => {}
                (0, _) => {
                    self.rows.swap_remove(self.random.gen_range(0..count));
                }
                (1, _) => {
                    let row = self.random.gen_range(0..count);
                    self.rows[row].1 = self.random.gen_range(0..200);
                }
                _ => {
                    let row = self.random.gen_range(0..count);
                    self.rows[row].2 = self.random.gen_range(-20..20) as f32 / 20.0;
                }
            }
        }
    }

    fn search(&self, window: usize) -> Vec<IndexHit> {
        let found = self.rows.iter().filter(|row| row.3 <= window);
        let mut hits: Vec<IndexHit> = found
            .map(|(id, content, score, _)| IndexHit {
                image: IndexedImage {
                    id: format!("{id:032x}"),
                    content_hash: format!("{content:064x}"),
                    ..IndexedImage::default()
                },
                score: *score,
            })
            .collect();
        hits.sort_by(|a, b| {
            let by_score = b.score.total_cmp(&a.score);
            by_score.then_with(|| a.image.id.cmp(&b.image.id))
        });
        hits.truncate(window);
        hits
    }
}

struct TestPage {
    ids: Vec<String>,
    folded: Vec<String>,
    cursor: Option<String>,
}

fn digest() -> SearchDigest {
    SearchDigest::new("query", "model")
}

/// Does what a search does for one page.
fn find_page(
    index: &RandomIndex,
    grouping: Option<HitGrouping>,
    cursor: Option<&str>,
    limit: usize,
) -> TestPage {
    let cursor = cursor.map(|text| SearchCursor::parse(text, digest()).unwrap());
    let first = cursor.as_ref().map_or(limit, |cursor| cursor.first_window);
    let windows = list_windows(first, DEPTH);
    let mut ranking = Ranking::new(grouping, None);
    let mut stage = 0;
    let min_stage = cursor.as_ref().map_or(0, |cursor| cursor.stage);
    let page = loop {
        let window = WindowHits {
            stage,
            hits: index.search(windows[stage]),
            are_complete: true,
            vectors: HashMap::new(),
        };
        ranking.append_window(window, None);
        let page = ranking.select_page(cursor.as_ref(), limit);
        let is_full = page.groups.len() == limit;
        if stage + 1 == windows.len() || (is_full && stage >= min_stage) {
            break page;
        }
        stage += 1;
    };
    let next_stage = page
        .next_stage
        .or((stage + 1 < windows.len()).then_some(stage + 1));
    let mut next = cursor.unwrap_or_else(|| SearchCursor::new(digest(), first, None));
    ranking.advance_cursor(&mut next, &page);
    let id = |number: usize| ranking.hits()[number].hit.image.id.clone();
    TestPage {
        ids: page.groups.iter().map(|group| id(group.first)).collect(),
        folded: page
            .groups
            .iter()
            .flat_map(|group| group.folded.iter().map(|number| id(*number)))
            .collect(),
        cursor: next_stage.map(|stage| SearchCursor { stage, ..next }.to_text()),
    }
}

/// Walks through all pages. `change` is called between two pages.
fn walk(
    index: &mut RandomIndex,
    grouping: Option<HitGrouping>,
    limits: &[usize],
    mut change: impl FnMut(&mut RandomIndex),
) -> (Vec<String>, Vec<String>) {
    let (mut ids, mut folded) = (Vec::new(), Vec::new());
    let mut cursor: Option<String> = None;
    for number in 0.. {
        assert!(number < 5000, "the pages have no end");
        let limit = limits[number % limits.len()];
        let page = find_page(index, grouping, cursor.as_deref(), limit);
        assert!(page.ids.len() <= limit);
        ids.extend(page.ids);
        folded.extend(page.folded);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
        change(index);
    }
    (ids, folded)
}

fn distinct(ids: &[String]) -> HashSet<&String> {
    ids.iter().collect()
}

#[test]
fn windows_grow_up_to_the_depth() {
    assert_eq!(list_windows(64, 10_000), [64, 256, 1024, 4096, 10_000]);
    assert_eq!(list_windows(1, 100), [1, 64, 100]);
    assert_eq!(list_windows(1000, 1000), [1000]);
    assert_eq!(list_windows(5000, 1000), [1000]);
    assert_eq!(list_windows(0, 0), [1]);
}

#[test]
fn pages_of_an_index_at_rest_neither_repeat_nor_skip_hits() {
    for (seed, rows) in [
        (1, 0),
        (2, 1),
        (3, 63),
        (4, 64),
        (5, 65),
        (6, 400),
        (7, 700),
    ] {
        let index = RandomIndex::new(seed, rows);
        for limits in [&[1][..], &[7], &[50], &[64], &[1000], &[3, 100, 1, 12]] {
            let (ids, _) = walk(&mut index.clone(), None, limits, |_| {});
            assert_eq!(ids.len(), rows, "{seed} {limits:?}");
            assert_eq!(distinct(&ids).len(), rows, "{seed} {limits:?}");
        }
    }
    // More than the depth.
    let mut index = RandomIndex::new(8, DEPTH + 300);
    let (ids, _) = walk(&mut index, None, &[50], |_| {});
    let count = distinct(&ids).len();
    assert_eq!(count, ids.len());
    assert!((DEPTH..DEPTH + 300).contains(&count), "{count}");
}

#[test]
fn the_order_does_not_depend_on_the_size_of_later_pages() {
    let index = RandomIndex::new(9, 500);
    let pages = |limits: &[usize]| walk(&mut index.clone(), None, limits, |_| {}).0;
    let mut orders = [10, 3, 77].map(|size| {
        let first = find_page(&index, None, None, 20);
        let mut ids = first.ids;
        let mut cursor = first.cursor;
        while let Some(text) = cursor {
            let page = find_page(&index, None, Some(&text), size);
            ids.extend(page.ids);
            cursor = page.cursor;
        }
        ids
    });
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], orders[2]);
    let mut all = pages(&[1000]);
    all.sort();
    orders[0].sort();
    assert_eq!(orders[0], all);
}

#[test]
fn pages_never_repeat_an_image_of_an_index_that_changes() {
    for seed in 20..60 {
        for grouping in [None, Some(HitGrouping::Content)] {
            let mut index = RandomIndex::new(seed, 300);
            let mut limits = [1, 7, 12, 50];
            limits.shuffle(&mut index.random);
            let kept: HashSet<String> = index
                .search(DEPTH)
                .into_iter()
                .map(|hit| hit.image.id)
                .collect();
            let (ids, folded) = walk(&mut index, grouping, &limits, RandomIndex::change);
            let all = [ids.clone(), folded.clone()].concat();
            assert_eq!(distinct(&all).len(), all.len(), "{seed} {grouping:?}");
            // Most of the images that were there all the time are found.
            let still: HashSet<String> = index
                .search(DEPTH)
                .into_iter()
                .map(|hit| hit.image.id)
                .collect();
            let there = kept.intersection(&still).count();
            let found = kept
                .intersection(&still)
                .filter(|id| all.contains(id))
                .count();
            let least = if grouping.is_none() {
                there * 9 / 10
            } else {
                0
            };
            assert!(found >= least, "{seed}: {found} of {there}");
        }
    }
}

#[test]
fn groups_are_counted_after_folding_and_never_split() {
    for seed in 70..75 {
        let index = RandomIndex::new(seed, 600);
        let contents: HashSet<u32> = index.rows.iter().map(|row| row.1).collect();
        for limits in [&[1][..], &[7], &[50], &[1000]] {
            let content = Some(HitGrouping::Content);
            let first = find_page(&index, content, None, limits[0]);
            assert_eq!(first.ids.len(), limits[0].min(contents.len()));
            let (ids, folded) = walk(&mut index.clone(), content, limits, |_| {});
            assert_eq!(ids.len(), contents.len(), "{seed} {limits:?}");
            let row = |id: &String| {
                let number = u32::from_str_radix(id, 16).unwrap();
                index.rows.iter().find(|row| row.0 == number).unwrap()
            };
            let returned: HashSet<u32> = ids.iter().map(|id| row(id).1).collect();
            assert_eq!(returned, contents);
            let all = [ids, folded].concat();
            assert_eq!(distinct(&all).len(), all.len());
        }
    }
}

#[test]
fn copies_come_first_only_in_the_first_window() {
    let order = CopyOrder {
        bands: Bands {
            same: 0.9,
            near_duplicate: 0.8,
            very_similar: 0.7,
            similar: 0.6,
        },
        picture: QueryPicture {
            content_hash: "aa".to_owned(),
            sketch: None,
        },
    };
    let hit = |id: &str, content: &str, score| IndexHit {
        image: IndexedImage {
            id: id.to_owned(),
            content_hash: content.to_owned(),
            ..IndexedImage::default()
        },
        score,
    };
    let window = |stage, hits| WindowHits {
        stage,
        hits,
        are_complete: true,
        vectors: HashMap::new(),
    };
    let mut ranking = Ranking::new(None, None);
    let first = vec![hit("a", "", 0.75), hit("b", "aa", 0.3)];
    ranking.append_window(window(0, first.clone()), Some(&order));
    let second = [first, vec![hit("c", "", 0.2), hit("d", "aa", 0.1)]].concat();
    ranking.append_window(window(1, second), None);
    let ids: Vec<&str> = ranking
        .hits()
        .iter()
        .map(|hit| hit.hit.image.id.as_str())
        .collect();
    assert_eq!(ids, ["b", "a", "c", "d"]);
    let bands: Vec<_> = ranking.hits().iter().map(|hit| hit.band).collect();
    assert_eq!(
        bands,
        [Some(Band::Same), Some(Band::VerySimilar), None, None]
    );
}
