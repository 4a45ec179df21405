//! Pictures with little in them: pages of text, ruled sheets, night skies, flat icons, solid colours.
//!
//! Networks give such pictures nearly equal vectors. The pictures are painted from a seed, so that no
//! two are the same, and the score counts the pairs that lookalike takes for the same picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use lookalike_painter::paint::Random;

use super::altered::PhotoPixels;
use super::service::NeighbourHit;

const JPEG_QUALITY: u8 = 92;

/// A kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparsePicture {
    /// Lines of words that fill the page.
    TextPage,
    /// The first text page with one other line.
    EditedPage,
    /// A white sheet with one thin line.
    RuledSheet,
    /// A dark sky with small stars.
    NightSky,
    /// One shape on a round ground.
    FlatIcon,
    /// One colour.
    SolidColor,
}

impl SparsePicture {
    pub const ALL: [Self; 6] = [
        Self::TextPage,
        Self::EditedPage,
        Self::RuledSheet,
        Self::NightSky,
        Self::FlatIcon,
        Self::SolidColor,
    ];

    /// Returns the name of the kind, which is also the name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextPage => "text_page",
            Self::EditedPage => "edited_page",
            Self::RuledSheet => "ruled_sheet",
            Self::NightSky => "night_sky",
            Self::FlatIcon => "flat_icon",
            Self::SolidColor => "solid_color",
        }
    }

    /// Paints `count` pictures of each kind into folders of their own, and returns the painted kinds, one
    /// for each picture.
    pub fn paint_all(folder: &Path, count: u32, seed: u64) -> anyhow::Result<Vec<Self>> {
        let mut painted = Vec::new();
        for kind in Self::ALL {
            let folder = folder.join(kind.name());
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            for number in 0..count {
                let file = folder.join(format!("{number}.jpg"));
                let jpeg = kind.paint(number, count, seed).encode_jpeg(JPEG_QUALITY)?;
                std::fs::write(&file, jpeg).with_context(|| file.display().to_string())?;
                painted.push(kind);
            }
        }
        Ok(painted)
    }

    /// Paints picture `number` of `count`.
    fn paint(self, number: u32, count: u32, seed: u64) -> PhotoPixels {
        let mut random = Random::new(seed, u64::from(number));
        let place = number as usize;
        match self {
            Self::TextPage => paint_page(|line| u64::from(number) * 1000 + line as u64, seed),
            // The text of number 0 with another line in each; the lines do not repeat.
            Self::EditedPage => {
                let changed = place * PAGE_LINES / count as usize;
                paint_page(
                    |line| match line == changed {
                        true => 900_000 + u64::from(number),
                        false => 500_000 + line as u64,
                    },
                    seed,
                )
            }
            Self::RuledSheet => {
                let height = 120 + place * 1200 / count as usize;
                PhotoPixels::from_fn(992, 1403, |x, y| {
                    let is_line = (120..560).contains(&x) && (height..height + 2).contains(&y);
                    // The heading of a form, so that no sheet is another one upside down.
                    let is_heading = (600..860).contains(&x) && (60..62).contains(&y);
                    [if is_line || is_heading { 30 } else { 255 }; 3]
                })
            }
            Self::NightSky => paint_sky(&mut random),
            Self::FlatIcon => paint_icon(number, &mut random),
            Self::SolidColor => {
                let color = color_of(number);
                PhotoPixels::from_fn(320, 240, |_, _| color)
            }
        }
    }
}

const PAGE_LINES: usize = 32;

/// Paints lines of words; `line_seed` gives the text of each line.
fn paint_page(line_seed: impl Fn(usize) -> u64, seed: u64) -> PhotoPixels {
    const SIZE: (usize, usize) = (744, 1052);
    const LINE_PIXELS: usize = 28;
    // Each line is a row of strokes with spaces between words.
    let lines: Vec<Vec<bool>> = (0..PAGE_LINES)
        .map(|line| {
            let mut random = Random::new(seed, (1 << 32) | line_seed(line));
            let mut strokes = Vec::new();
            while strokes.len() < SIZE.0 - 160 {
                for _ in 0..random.int_between(2, 10) {
                    let width = random.int_between(5, 12) as usize;
                    let ink = random.int_between(1, 3) as usize;
                    strokes.extend((0..width).map(|x| x % 4 < ink));
                }
                strokes.extend([false; 9]);
            }
            strokes
        })
        .collect();
    PhotoPixels::from_fn(SIZE.0, SIZE.1, |x, y| {
        let ink = y
            .checked_sub(80)
            .zip(x.checked_sub(80))
            .is_some_and(|(y, x)| {
                let line = lines.get(y / LINE_PIXELS).filter(|_| x < SIZE.0 - 160);
                y % LINE_PIXELS < 15 && line.is_some_and(|strokes| strokes[x])
            });
        [if ink { 20 } else { 252 }; 3]
    })
}

fn paint_sky(random: &mut Random) -> PhotoPixels {
    const SIZE: (usize, usize) = (800, 600);
    let mut stars = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let star = [SIZE.0, SIZE.1].map(|side| random.int_between(0, side as u32 - 3) as usize);
        stars.extend([0, 1].map(|right| (star[0] + right, star[1])));
        stars.extend([0, 1].map(|right| (star[0] + right, star[1] + 1)));
    }
    PhotoPixels::from_fn(SIZE.0, SIZE.1, |x, y| match stars.contains(&(x, y)) {
        true => [235, 235, 225],
        false => [4, 4, 8],
    })
}

/// Paints a white shape on a round ground of one of three colours.
fn paint_icon(number: u32, random: &mut Random) -> PhotoPixels {
    let ground = [[32, 96, 208], [208, 64, 48], [40, 150, 90]][number as usize % 3];
    // Bars at positions that no other icon has.
    let bars: Vec<bool> = (0..6).map(|bar| ((number + 1) >> bar) & 1 == 1).collect();
    let upright = random.next_bool(0.5);
    PhotoPixels::from_fn(192, 192, |x, y| {
        let (right, below) = (x as i32 - 96, y as i32 - 96);
        if right * right + below * below > 88 * 88 {
            return [255; 3];
        }
        let (along, across) = if upright {
            (below, right)
        } else {
            (right, below)
        };
        let bar = usize::try_from((across + 60) / 20).ok();
        let is_bar = across >= -60
            && bar.and_then(|bar| bars.get(bar)).copied().unwrap_or(false)
            && (across + 60) % 20 < 12
            && (-40..64).contains(&along);
        // A mark in one corner, so that no icon is another one turned.
        let is_mark = (-60..-44).contains(&right) && (-60..-44).contains(&below);
        if is_bar || is_mark { [250; 3] } else { ground }
    })
}

/// Returns a colour that differs visibly from those of other numbers below 125.
fn color_of(number: u32) -> [u8; 3] {
    // 31 has no factor in common with 125, so every number has another place.
    let place = number * 31 % 125;
    [place / 25, place / 5 % 5, place % 5].map(|level| (level * 50 + 20) as u8)
}

/// How pairs of pictures of one kind were judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseScore {
    /// Name of the kind; pairs of two kinds are listed as `mixed`.
    pub kind: String,
    pub pairs: usize,
    /// Pairs with the band "same picture": false, because all pictures differ.
    pub same: usize,
    /// Pairs with the band "turned copy": false, too.
    pub turned: usize,
    pub near_duplicate: usize,
}

impl SparseScore {
    pub fn to_json(&self) -> Value {
        json!({
            "kind": self.kind,
            "pairs": self.pairs,
            "same_picture": self.same,
            "turned_copy": self.turned,
            "near_duplicate": self.near_duplicate,
        })
    }
}

/// Counts the judgements about all pairs. Each entry has the id and the path of a picture, and its
/// neighbours.
pub fn score_pairs(pictures: &[(String, String, Vec<NeighbourHit>)]) -> Vec<SparseScore> {
    let kind_of = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let kinds: BTreeMap<&str, String> = pictures
        .iter()
        .map(|(id, path, _)| (id.as_str(), kind_of(path)))
        .collect();
    let mut scores: BTreeMap<String, SparseScore> = BTreeMap::new();
    for (_, path, hits) in pictures {
        for hit in hits {
            let kind = kind_of(path);
            let is_same_kind = kinds.get(hit.id.as_str()) == Some(&kind);
            let kind = if is_same_kind {
                kind
            } else {
                "mixed".to_owned()
            };
            let score = scores.entry(kind).or_default();
            score.pairs += 1;
            match hit.band.as_deref() {
                Some("same_picture") => score.same += 1,
                Some("turned_copy") => score.turned += 1,
                Some("near_duplicate") => score.near_duplicate += 1,
                _ => {}
            }
        }
    }
    let named = scores.into_iter();
    named
        .map(|(kind, score)| SparseScore { kind, ..score })
        .collect()
}

/// Formats a table for a terminal; empty without scores.
pub fn format_scores(scores: &[SparseScore]) -> String {
    let mut text = String::new();
    if scores.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "\n{:<38} {:>7} {:>8} {:>8} {:>8}",
        "different pictures with little in them", "pairs", "same", "turned", "near"
    );
    for score in scores {
        let _ = writeln!(
            text,
            "{:<38} {:>7} {:>8} {:>8} {:>8}",
            score.kind.replace('_', " "),
            score.pairs,
            score.same,
            score.turned,
            score.near_duplicate
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_paintings_are_equal_and_each_can_be_painted_again() {
        for kind in SparsePicture::ALL {
            let paintings: Vec<PhotoPixels> =
                (0..12).map(|number| kind.paint(number, 12, 1)).collect();
            for (number, painting) in paintings.iter().enumerate() {
                assert_eq!(*painting, kind.paint(number as u32, 12, 1), "{kind:?}");
                let others = &paintings[number + 1..];
                assert!(!others.contains(painting), "{kind:?} {number}");
            }
        }
    }

    #[test]
    fn pairs_are_counted_by_kind() {
        let hit = |id: &str, band: &str| NeighbourHit {
            id: id.to_owned(),
            content_hash: String::new(),
            score: 0.9,
            band: Some(band.to_owned()),
        };
        let picture = |id: &str, path: &str, hits| (id.to_owned(), path.to_owned(), hits);
        let scores = score_pairs(&[
            picture("a", "text_page/0.jpg", vec![hit("b", "same_picture")]),
            picture("b", "text_page/1.jpg", vec![hit("a", "near_duplicate")]),
            picture("c", "flat_icon/0.jpg", vec![hit("a", "turned_copy")]),
        ]);
        let row = |kind: &str, pairs, same, turned, near_duplicate| SparseScore {
            kind: kind.to_owned(),
            pairs,
            same,
            turned,
            near_duplicate,
        };
        let expected = [row("mixed", 1, 0, 1, 0), row("text_page", 2, 1, 0, 1)];
        assert_eq!(scores, expected);
        assert!(format_scores(&scores).contains("text page"));
        assert_eq!(format_scores(&[]), "");
    }
}
