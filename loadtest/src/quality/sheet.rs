//! The contact sheet: one HTML page that shows photos of every class with their neighbours.
//!
//! The choice is not flattering: for each class it shows the photos with the best and the worst precision
//! and some evenly between. The page contains every photo once, even if it is shown several times.

use std::collections::{BTreeMap, BTreeSet};

use lookalike_sheet::{Thumbnails, render_page};
use maud::{Markup, html};

use super::calibration::JudgedNeighbour;
use super::photos::Photos;
use super::report::QualityReport;

pub const THUMBNAIL_SIDE_PIXELS: u32 = 160;

/// Rows in total; with ten neighbours each, the page has at most about 15 MB.
const MAX_ROWS: usize = 240;

const MAX_CLASS_ROWS: usize = 4;

/// A picture whose neighbours were requested, with its scores.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredQuery {
    /// Index of the picture.
    pub photo: usize,
    /// Precision at k.
    pub precision: f64,
    pub average_precision: f64,
    /// Indexes of the k nearest pictures, nearest first, with their scores.
    pub near: Vec<(usize, f64)>,
    /// Whether each of the k nearest is right, for the calibration.
    pub judged: Vec<JudgedNeighbour>,
}

/// A class and the pictures of it that are shown.
#[derive(Debug, Clone, PartialEq)]
pub struct SheetSection<'a> {
    class: usize,
    rows: Vec<&'a ScoredQuery>,
}

/// Chooses the rows: classes with the best precision first, and an even choice of pictures in each.
pub fn choose_sections<'a>(
    report: &QualityReport,
    photos: &Photos,
    queries: &'a [ScoredQuery],
) -> Vec<SheetSection<'a>> {
    let mut by_class: BTreeMap<&str, Vec<&ScoredQuery>> = BTreeMap::new();
    for query in queries {
        let class = photos.class_name(query.photo);
        by_class.entry(class).or_default().push(query);
    }
    let scored: Vec<usize> = (0..report.classes.len())
        .filter(|class| report.classes[*class].precision.is_some())
        .collect();
    let rows = (MAX_ROWS / scored.len().max(1)).clamp(1, MAX_CLASS_ROWS);
    let section = |class: usize| {
        let mut of_class = by_class.remove(&report.classes[class].name[..])?;
        of_class.sort_by(|a, b| b.precision.total_cmp(&a.precision));
        let rows = spread_evenly(of_class.len(), rows).into_iter();
        Some(SheetSection {
            class,
            rows: rows.map(|row| of_class[row]).collect(),
        })
    };
    spread_evenly(scored.len(), MAX_ROWS)
        .into_iter()
        .map(|class| scored[class])
        .filter_map(section)
        .collect()
}

/// Returns up to `count` numbers below `total`: the first, the last and some evenly between.
fn spread_evenly(total: usize, count: usize) -> Vec<usize> {
    match count {
        _ if total <= count => (0..total).collect(),
        0 => Vec::new(),
        1 => vec![total / 2],
        _ => (0..count).map(|n| n * (total - 1) / (count - 1)).collect(),
    }
}

/// Returns the indexes of all photos that the sections show.
pub fn shown_photos(sections: &[SheetSection<'_>]) -> Vec<usize> {
    let rows = sections.iter().flat_map(|section| &section.rows);
    let photos: BTreeSet<usize> = rows
        .flat_map(|query| {
            query
                .near
                .iter()
                .map(|(near, _)| *near)
                .chain([query.photo])
        })
        .collect();
    photos.into_iter().collect()
}

/// The data of the page.
#[derive(Debug)]
pub struct ContactSheet<'a> {
    pub report: &'a QualityReport,
    pub photos: &'a Photos,
    pub sections: Vec<SheetSection<'a>>,
    /// Every shown photo, by index.
    pub thumbnails: Thumbnails<usize>,
}

const STYLE: &str = include_str!("sheet.css");

impl ContactSheet<'_> {
    pub fn to_html(&self) -> String {
        let report = self.report;
        let title = format!("{}: quality", report.model);
        let body = html! {
            (self.render_header())
            div class="tables" {
                (self.render_robustness())
                (report.calibration.to_html(report.k))
                (self.render_classes())
            }
            (self.render_rows())
        };
        render_page(&title, STYLE, &self.thumbnails, &body)
    }

    fn render_header(&self) -> Markup {
        let report = self.report;
        html! {
            header {
                h1 { (report.model) }
                p {
                    (report.photos) " pictures of " (report.classes.len()) " classes in "
                    code { (report.folder.display()) }
                    ", " (report.dimension) " numbers per vector, on " (report.device)
                }
                @for note in report.skipped_notes() {
                    p { (note) "." }
                }
                dl {
                    div { dt { "P@" (report.k) } dd { (format!("{:.3}", report.precision)) } }
                    div { dt { "mAP" } dd { (format!("{:.3}", report.average_precision)) } }
                }
            }
        }
    }

    fn render_robustness(&self) -> Markup {
        let k = self.report.k;
        html! {
            @if let Some(first) = self.report.robustness.first() {
                section {
                    h2 { "Altered copies" }
                    p {
                        "For copies of " (first.photos) " photos: the share whose photo is the first hit, and \
                         the share whose photo is among the first " (k) "."
                    }
                    table {
                        thead { tr { th { "change" } th { "first" } th { "first " (k) } th { "bands" } } }
                        tbody {
                            @for row in &self.report.robustness {
                                tr {
                                    td { (row.change.display_label()) }
                                    td { (format!("{:.3}", row.first)) }
                                    td { (format!("{:.3}", row.near)) }
                                    td { (row.describe_bands()) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn render_classes(&self) -> Markup {
        let shown: BTreeSet<usize> = self.sections.iter().map(|section| section.class).collect();
        html! {
            section {
                h2 { "Classes" }
                ol class="classes" {
                    @for (number, class) in self.report.classes.iter().enumerate() {
                        @let precision = class.precision.unwrap_or_default();
                        li {
                            @if shown.contains(&number) {
                                a href={ "#c" (number) } { (class.name) }
                            } @else {
                                span { (class.name) }
                            }
                            i { b style={ "width:" (format!("{:.0}", precision * 100.0)) "%" } {} }
                            @if class.precision.is_some() {
                                span { (format!("{precision:.3}")) }
                            } @else {
                                span { "alone" }
                            }
                        }
                    }
                }
            }
        }
    }

    fn render_rows(&self) -> Markup {
        let k = self.report.k;
        html! {
            main {
                h2 { "Neighbours" }
                p {
                    "Each row shows a picture at the left and its " (k) " nearest neighbours with their scores. \
                     For each class, the rows are the best, the worst, and some evenly between."
                }
                p class="keys" {
                    span class="right" { "✓ full frame: same class" }
                    " "
                    span class="wrong" { "✗ broken frame: another class, named below" }
                }
                @for section in &self.sections {
                    @let class = &self.report.classes[section.class];
                    section class="class" id={ "c" (section.class) } {
                        h3 {
                            (class.name) " "
                            small {
                                "P@" (k) " " (format!("{:.3}", class.precision.unwrap_or_default()))
                                ", mAP " (format!("{:.3}", class.average_precision.unwrap_or_default()))
                                ", " (class.photos) " pictures"
                            }
                        }
                        @for query in &section.rows {
                            (self.render_row(query))
                        }
                    }
                }
            }
        }
    }

    /// Renders one picture and its neighbours.
    fn render_row(&self, query: &ScoredQuery) -> Markup {
        let photo = &self.photos.all[query.photo];
        let is_right = |near: usize| self.photos.all[near].class == photo.class;
        let right = query.near.iter().filter(|(near, _)| is_right(*near));
        let name = photo.path.rsplit('/').next().unwrap_or_default();
        html! {
            div class="row" {
                figure class="query" {
                    (self.thumbnails.picture(&query.photo, &photo.path))
                    figcaption {
                        span { (name) }
                        (right.count()) " of " (query.near.len()) " right"
                    }
                }
                div class="near" {
                    @for (near, score) in &query.near {
                        (self.render_neighbour(*near, *score, is_right(*near)))
                    }
                }
            }
        }
    }

    fn render_neighbour(&self, near: usize, score: f64, is_right: bool) -> Markup {
        let path = &self.photos.all[near].path;
        let (kind, mark) = match is_right {
            true => ("right", "✓"),
            false => ("wrong", "✗"),
        };
        let label = format!("{path}: {score:.3}");
        html! {
            figure class=(kind) {
                (self.thumbnails.picture(&near, &label))
                figcaption {
                    b { (mark) } " " (format!("{score:.2}"))
                    @if !is_right {
                        span { (self.photos.class_name(near)) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::ClassScore;
    use super::*;

    #[test]
    fn choices_are_spread() {
        assert_eq!(spread_evenly(3, 4), [0, 1, 2]);
        assert_eq!(spread_evenly(18, 4), [0, 5, 11, 17]);
        assert_eq!(spread_evenly(9, 1), [4]);
        assert_eq!(spread_evenly(0, 4), [0; 0]);
    }

    #[test]
    fn the_page_marks_right_and_wrong_and_holds_each_photo_once() {
        let row = |path: &str| [path.to_owned(), path.to_owned(), String::new()];
        let photos = Photos::new(["a<b/1", "a<b/2", "c/1", "c/2"].map(row).to_vec());
        let query = |photo, near: &[usize], precision| ScoredQuery {
            photo,
            precision,
            average_precision: precision,
            near: near.iter().map(|near| (*near, 0.5)).collect(),
            judged: Vec::new(),
        };
        let queries = [query(0, &[2, 1], 0.5), query(2, &[3, 0], 1.0)];
        let class = |name: &str, precision| ClassScore {
            name: name.into(),
            photos: 2,
            precision: Some(precision),
            average_precision: Some(precision),
        };
        let report = QualityReport {
            k: 2,
            classes: vec![class("c", 1.0), class("a<b", 0.5)],
            ..QualityReport::default()
        };
        let sections = choose_sections(&report, &photos, &queries);
        let order: Vec<usize> = sections.iter().map(|s| s.rows[0].photo).collect();
        assert_eq!(order, [2, 0], "classes best first");
        let shown = shown_photos(&sections);
        assert_eq!(shown.len(), 4);
        let jpegs = shown.iter().map(|photo| (*photo, Some(vec![*photo as u8])));
        let sheet = ContactSheet {
            report: &report,
            photos: &photos,
            sections,
            thumbnails: Thumbnails::new(jpegs),
        };
        let page = sheet.to_html();
        assert_eq!(page.matches("url(data:image/jpeg;base64,").count(), 4);
        assert_eq!(page.matches("<figure class=\"right\"").count(), 2);
        assert_eq!(page.matches("<figure class=\"wrong\"").count(), 2);
        assert!(page.contains("<b>✗</b> 0.50<span>a&lt;b</span>"), "{page}");
        assert!(!page.contains("a<b"), "{page}");
        assert!(!page.contains("http"), "it needs nothing from elsewhere");
    }
}
