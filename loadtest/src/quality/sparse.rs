//! Pictures with little in them: pages of text, ruled sheets, night skies, flat icons, solid colours.
//!
//! Networks give such pictures nearly equal vectors. The pictures are painted from a seed, so that no
//! two are the same. The score counts the pairs that lookalike takes for the same picture, and the copies that it
//! does not take for the picture that they were made from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use lookalike_painter::paint::Random;

use super::altered::{Alteration, PhotoPixels};
use super::service::NeighbourHit;

const JPEG_QUALITY: u8 = 92;

/// A kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparsePicture {
    /// Lines of words that fill the page.
    TextPage,
    /// Pages of sixty lines. The pages in one folder differ in a single line.
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
            for number in 0..count {
                let folder = match kind {
                    Self::EditedPage => folder.join(format!("page {}", number % EDITED_PAGES)),
                    _ => folder.clone(),
                };
                std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
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
            Self::TextPage => {
                let text = |line| u64::from(number) * 1000 + line as u64;
                paint_page(&SPARSE_PAGE, text, seed)
            }
            Self::EditedPage => {
                let page = number % EDITED_PAGES;
                let changed =
                    (page as usize * 2 + 1) * DENSE_PAGE.lines / (2 * EDITED_PAGES as usize);
                let text = |line| match line == changed {
                    true => 900_000 + u64::from(number),
                    false => 500_000 + u64::from(page) * 1000 + line as u64,
                };
                paint_page(&DENSE_PAGE, text, seed)
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

/// Texts of [`SparsePicture::EditedPage`]; each has its own changed line.
const EDITED_PAGES: u32 = 4;

/// Sizes of a page, in pixels.
struct TextLayout {
    size: (usize, usize),
    margin: usize,
    lines: usize,
    /// Distance of two lines.
    pitch: usize,
    /// Smallest and largest width of a letter.
    letters: (u32, u32),
}

const SPARSE_PAGE: TextLayout = TextLayout {
    size: (744, 1052),
    margin: 80,
    lines: 32,
    pitch: 28,
    letters: (5, 12),
};

/// A4 at 150 dots per inch.
const DENSE_PAGE: TextLayout = TextLayout {
    size: (1240, 1754),
    margin: 146,
    lines: 60,
    pitch: 24,
    letters: (5, 13),
};

/// Paints lines of words; `line_seed` gives the text of each line.
fn paint_page(layout: &TextLayout, line_seed: impl Fn(usize) -> u64, seed: u64) -> PhotoPixels {
    let (width, height) = layout.size;
    let text_width = width - 2 * layout.margin;
    // Each line is a row of strokes with spaces between words.
    let lines: Vec<Vec<bool>> = (0..layout.lines)
        .map(|line| {
            let mut random = Random::new(seed, (1 << 32) | line_seed(line));
            let mut strokes = Vec::new();
            while strokes.len() < text_width {
                for _ in 0..random.int_between(2, 10) {
                    let width = random.int_between(layout.letters.0, layout.letters.1) as usize;
                    let ink = random.int_between(1, 3) as usize;
                    strokes.extend((0..width).map(|x| x % 4 < ink));
                }
                strokes.extend([false; 9]);
            }
            strokes
        })
        .collect();
    let letter_height = layout.pitch * 15 / 28;
    PhotoPixels::from_fn(width, height, |x, y| {
        let ink = y
            .checked_sub(layout.margin)
            .zip(x.checked_sub(layout.margin))
            .is_some_and(|(y, x)| {
                let line = lines.get(y / layout.pitch).filter(|_| x < text_width);
                y % layout.pitch < letter_height && line.is_some_and(|strokes| strokes[x])
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

/// A copy that is the same picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainCopy {
    Quality75,
    Quality30,
    HalfSize,
}

impl PlainCopy {
    pub const ALL: [Self; 3] = [Self::Quality75, Self::Quality30, Self::HalfSize];

    /// Returns the copy as a JPEG file.
    pub fn make(self, picture: &PhotoPixels) -> anyhow::Result<Vec<u8>> {
        // Nothing here is random.
        let mut random = Random::new(0, 0);
        match self {
            Self::Quality75 => picture.encode_jpeg(75),
            Self::Quality30 => Alteration::Quality30.apply_to(picture, &mut random),
            Self::HalfSize => Alteration::HalfSize.apply_to(picture, &mut random),
        }
    }
}

/// A picture of the index, and what lookalike says about the others and about its copies.
#[derive(Debug, Clone)]
pub struct JudgedPicture {
    pub id: String,
    /// Path in the library.
    pub path: String,
    pub neighbours: Vec<NeighbourHit>,
    /// Whether the picture is a hit with the band "same picture", for each of [`PlainCopy::ALL`].
    pub found_by_copies: [bool; PlainCopy::ALL.len()],
}

/// How pairs of pictures of one kind were judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseScore {
    /// Name of the kind; pairs from two folders are listed as `mixed`.
    pub kind: String,
    pub pairs: usize,
    /// Pairs with the band "same picture": false, because all pictures differ.
    pub same: usize,
    /// Pairs with the band "turned copy": false, too.
    pub turned: usize,
    pub near_duplicate: usize,
    /// Pictures of which copies were made.
    pub pictures: usize,
    /// Copies with the band "same picture": right. One number for each of [`PlainCopy::ALL`].
    pub same_copies: [usize; PlainCopy::ALL.len()],
}

impl SparseScore {
    pub fn to_json(&self) -> Value {
        let [quality_75, quality_30, half_size] = self.same_copies;
        json!({
            "kind": self.kind,
            "pairs": self.pairs,
            "same_picture": self.same,
            "turned_copy": self.turned,
            "near_duplicate": self.near_duplicate,
            "pictures": self.pictures,
            "copies_same_picture": {
                "jpeg_quality_75": quality_75,
                "jpeg_quality_30": quality_30,
                "half_size": half_size,
            },
        })
    }
}

/// Counts the judgements about all pairs and copies.
pub fn score_pairs(pictures: &[JudgedPicture]) -> Vec<SparseScore> {
    let folder_of = |path: &str| {
        path.rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned()
    };
    let folders: BTreeMap<&str, String> = pictures
        .iter()
        .map(|picture| (picture.id.as_str(), folder_of(&picture.path)))
        .collect();
    let mut scores: BTreeMap<String, SparseScore> = BTreeMap::new();
    for picture in pictures {
        let folder = folder_of(&picture.path);
        let kind = folder.split('/').next().unwrap_or_default();
        let of_kind = scores.entry(kind.to_owned()).or_default();
        of_kind.pictures += 1;
        for (count, is_found) in of_kind.same_copies.iter_mut().zip(picture.found_by_copies) {
            *count += usize::from(is_found);
        }
        for hit in &picture.neighbours {
            let is_same_folder = folders.get(hit.id.as_str()) == Some(&folder);
            let kind = if is_same_folder { kind } else { "mixed" };
            let score = scores.entry(kind.to_owned()).or_default();
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

/// Formats two tables for a terminal; empty without scores.
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
    let _ = writeln!(
        text,
        "\n{:<38} {:>7} {:>8} {:>8} {:>8}",
        "their copies with \"same picture\"", "of", "JPEG 75", "JPEG 30", "half"
    );
    for score in scores.iter().filter(|score| score.pictures > 0) {
        let [quality_75, quality_30, half_size] = score.same_copies;
        let _ = writeln!(
            text,
            "{:<38} {:>7} {quality_75:>8} {quality_30:>8} {half_size:>8}",
            score.kind.replace('_', " "),
            score.pictures,
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
        let picture = |id: &str, path: &str, neighbours| JudgedPicture {
            id: id.to_owned(),
            path: path.to_owned(),
            neighbours,
            found_by_copies: [true, false, id == "a"],
        };
        let scores = score_pairs(&[
            picture("a", "text_page/0.jpg", vec![hit("b", "same_picture")]),
            picture("b", "text_page/1.jpg", vec![hit("a", "near_duplicate")]),
            picture("c", "flat_icon/0.jpg", vec![hit("a", "turned_copy")]),
            picture(
                "d",
                "edited_page/page 0/0.jpg",
                vec![hit("e", "same_picture")],
            ),
            picture("e", "edited_page/page 1/1.jpg", vec![]),
        ]);
        let row = |kind: &str, pairs: [usize; 4], pictures, same_copies| SparseScore {
            kind: kind.to_owned(),
            pairs: pairs[0],
            same: pairs[1],
            turned: pairs[2],
            near_duplicate: pairs[3],
            pictures,
            same_copies,
        };
        let expected = [
            row("edited_page", [0; 4], 2, [2, 0, 0]),
            row("flat_icon", [0; 4], 1, [1, 0, 0]),
            row("mixed", [2, 1, 1, 0], 0, [0; 3]),
            row("text_page", [2, 1, 0, 1], 2, [2, 0, 1]),
        ];
        assert_eq!(scores, expected);
        assert!(format_scores(&scores).contains("text page"));
        assert_eq!(format_scores(&[]), "");
    }
}
