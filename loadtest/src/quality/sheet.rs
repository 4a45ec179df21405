//! The contact sheet: photos of every class with their neighbours, in one file for a browser.
//!
//! The photos shown are not the good ones: of each class, by precision, the best, the worst and
//! some evenly between. Every photo is in the file once, however often it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::calibration::JudgedNeighbour;
use super::photos::Photos;
use super::report::QualityReport;

/// The longer side of the photos in the file, in pixels.
pub const THUMBNAIL_SIDE_PIXELS: u32 = 160;

/// Most rows in all; with ten neighbours each, some 15 MB at the very most.
const MAX_ROWS: usize = 240;

/// Most rows of one class.
const MAX_CLASS_ROWS: usize = 4;

/// A picture that was asked for its neighbours.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredQuery {
    /// Its number.
    pub photo: usize,
    /// Its precision at k.
    pub precision: f64,
    /// Its average precision.
    pub average_precision: f64,
    /// Numbers of its k nearest, nearest first, with their scores.
    pub near: Vec<(usize, f64)>,
    /// Its k nearest once more, by what they are worth.
    pub judged: Vec<JudgedNeighbour>,
}

/// A class and the rows that are shown of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SheetSection<'a> {
    class: usize,
    rows: Vec<&'a ScoredQuery>,
}

/// Picks what is shown: classes best first, and of each an even choice of its pictures.
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

/// Up to `count` numbers below `total`, the first, the last and some evenly between.
fn spread_evenly(total: usize, count: usize) -> Vec<usize> {
    match count {
        _ if total <= count => (0..total).collect(),
        0 => Vec::new(),
        1 => vec![total / 2],
        _ => (0..count).map(|n| n * (total - 1) / (count - 1)).collect(),
    }
}

/// Numbers of all photos that these sections show.
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

/// Everything that the page shows.
#[derive(Debug)]
pub struct ContactSheet<'a> {
    /// The numbers.
    pub report: &'a QualityReport,
    /// What the photos are.
    pub photos: &'a Photos,
    /// What is shown.
    pub sections: Vec<SheetSection<'a>>,
    /// A JPEG of every photo that is shown.
    pub thumbnails: BTreeMap<usize, Vec<u8>>,
}

const STYLE: &str = include_str!("sheet.css");

impl ContactSheet<'_> {
    /// The page.
    pub fn to_html(&self) -> String {
        let report = self.report;
        let (model, folder) = (
            escape_html(&report.model),
            report.folder.display().to_string(),
        );
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{model}: quality</title>\n<style>\n{STYLE}"
        );
        for (photo, jpeg) in &self.thumbnails {
            let data = STANDARD.encode(jpeg);
            let _ = writeln!(
                page,
                ".p{photo}{{background-image:url(data:image/jpeg;base64,{data})}}"
            );
        }
        let _ = writeln!(
            page,
            "</style>\n<header><h1>{model}</h1>\n<p>{} pictures of {} classes in \
             <code>{}</code>, {} numbers in a vector, on {}</p>",
            report.photos,
            report.classes.len(),
            escape_html(&folder),
            report.dimension,
            escape_html(&report.device)
        );
        for note in report.skipped_notes() {
            let _ = writeln!(page, "<p>{}.</p>", escape_html(&note));
        }
        let _ = writeln!(
            page,
            "<dl><div><dt>P@{}</dt><dd>{:.3}</dd></div><div><dt>mAP</dt><dd>{:.3}</dd></div></dl>\
             </header>\n<div class=\"tables\">",
            report.k, report.precision, report.average_precision
        );
        self.write_robustness(&mut page);
        page.push_str(&report.calibration.to_html(report.k));
        self.write_classes(&mut page);
        page.push_str("</div>\n");
        self.write_rows(&mut page);
        page.push_str("</html>\n");
        page
    }

    fn write_robustness(&self, page: &mut String) {
        let Some(first) = self.report.robustness.first() else {
            return;
        };
        let _ = writeln!(
            page,
            "<section><h2>Altered copies</h2>\n<p>Of {} photos each: the share that finds its photo \
             first, and among the first {}.</p>\n<table><thead><tr><th>change</th><th>first</th>\
             <th>first {}</th></tr></thead><tbody>",
            first.photos, self.report.k, self.report.k
        );
        for row in &self.report.robustness {
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{:.3}</td><td>{:.3}</td></tr>",
                row.change.display_label(),
                row.first,
                row.near
            );
        }
        page.push_str("</tbody></table></section>\n");
    }

    fn write_classes(&self, page: &mut String) {
        page.push_str("<section><h2>Classes</h2>\n<ol class=\"classes\">\n");
        let shown: BTreeSet<usize> = self.sections.iter().map(|section| section.class).collect();
        for (number, class) in self.report.classes.iter().enumerate() {
            let name = escape_html(&class.name);
            let name = match shown.contains(&number) {
                true => format!("<a href=\"#c{number}\">{name}</a>"),
                false => format!("<span>{name}</span>"),
            };
            let (value, width) = match class.precision {
                Some(value) => (format!("{value:.3}"), value * 100.0),
                None => ("alone".to_owned(), 0.0),
            };
            let _ = writeln!(
                page,
                "<li>{name}<i><b style=\"width:{width:.0}%\"></b></i><span>{value}</span></li>"
            );
        }
        page.push_str("</ol></section>\n");
    }

    fn write_rows(&self, page: &mut String) {
        let k = self.report.k;
        let _ = writeln!(
            page,
            "<main><h2>Neighbours</h2>\n<p>At the left a picture, beside it its {k} nearest with their \
             scores. Of each class are shown the best, the worst, and some evenly between.</p>\n\
             <p class=\"keys\"><span class=\"right\">✓ full frame: of its class</span> <span \
             class=\"wrong\">✗ broken frame: of another, named below</span></p>"
        );
        for section in &self.sections {
            let class = &self.report.classes[section.class];
            let _ = writeln!(
                page,
                "<section class=\"class\" id=\"c{}\"><h3>{} <small>P@{k} {:.3}, mAP {:.3}, {} \
                 pictures</small></h3>",
                section.class,
                escape_html(&class.name),
                class.precision.unwrap_or_default(),
                class.average_precision.unwrap_or_default(),
                class.photos
            );
            for query in &section.rows {
                self.write_row(page, query);
            }
            page.push_str("</section>\n");
        }
        page.push_str("</main>\n");
    }

    fn write_row(&self, page: &mut String, query: &ScoredQuery) {
        let photo = &self.photos.all[query.photo];
        let is_right = |near: usize| self.photos.all[near].class == photo.class;
        let right = query
            .near
            .iter()
            .filter(|(near, _)| is_right(*near))
            .count();
        let path = escape_html(&photo.path);
        let name = photo.path.rsplit('/').next().unwrap_or_default();
        let _ = writeln!(
            page,
            "<div class=\"row\"><figure class=\"query\" title=\"{path}\"><span class=\"photo p{}\" \
             role=\"img\" aria-label=\"{path}\"></span><figcaption><span>{}</span>{right} of {} right\
             </figcaption></figure><div class=\"near\">",
            query.photo,
            escape_html(name),
            query.near.len()
        );
        for (near, score) in &query.near {
            let path = escape_html(&self.photos.all[*near].path);
            let (kind, caption) = match is_right(*near) {
                true => ("right", format!("<b>✓</b> {score:.2}")),
                false => {
                    let class = escape_html(self.photos.class_name(*near));
                    ("wrong", format!("<b>✗</b> {score:.2}<span>{class}</span>"))
                }
            };
            let _ = writeln!(
                page,
                "<figure class=\"{kind}\" title=\"{path}: {score:.3}\"><span class=\"photo p{near}\" \
                 role=\"img\" aria-label=\"{path}\"></span><figcaption>{caption}</figcaption></figure>"
            );
        }
        page.push_str("</div></div>\n");
    }
}

/// Text for between tags and quotes.
fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
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
        let thumbnails: BTreeMap<usize, Vec<u8>> = shown_photos(&sections)
            .into_iter()
            .map(|photo| (photo, vec![photo as u8]))
            .collect();
        assert_eq!(thumbnails.len(), 4);
        let sheet = ContactSheet {
            report: &report,
            photos: &photos,
            sections,
            thumbnails,
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
