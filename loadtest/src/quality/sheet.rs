//! The contact sheet: photos of every class with their neighbours, in one file for a browser.
//!
//! The photos shown are not the good ones: of each class, by precision, the best, the worst and
//! some evenly between. Every photo is in the file once, however often it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::calibration::Judged;
use super::photos::Photos;
use super::report::Report;

/// The longer side of the photos in the file, in pixels.
pub const SIDE: u32 = 160;

/// Most rows in all; with ten neighbours each, some 15 MB at the very most.
const ROWS_MAX: usize = 240;

/// Most rows of one class.
const CLASS_ROWS_MAX: usize = 4;

/// A picture that was asked for its neighbours.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Its number.
    pub photo: usize,
    /// Its precision at k.
    pub precision: f64,
    /// Its average precision.
    pub average_precision: f64,
    /// Numbers of its k nearest, nearest first, with their scores.
    pub near: Vec<(usize, f64)>,
    /// Its k nearest once more, by what they are worth.
    pub judged: Vec<Judged>,
}

/// A class and the rows that are shown of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Section<'a> {
    class: usize,
    rows: Vec<&'a Query>,
}

/// Picks what is shown: classes best first, and of each an even choice of its pictures.
pub fn choose<'a>(report: &Report, photos: &Photos, queries: &'a [Query]) -> Vec<Section<'a>> {
    let mut by_class: BTreeMap<&str, Vec<&Query>> = BTreeMap::new();
    for query in queries {
        let class = photos.class_name(query.photo);
        by_class.entry(class).or_default().push(query);
    }
    let scored: Vec<usize> = (0..report.classes.len())
        .filter(|class| report.classes[*class].precision.is_some())
        .collect();
    let rows = (ROWS_MAX / scored.len().max(1)).clamp(1, CLASS_ROWS_MAX);
    let section = |class: usize| {
        let mut of_class = by_class.remove(&report.classes[class].name[..])?;
        of_class.sort_by(|a, b| b.precision.total_cmp(&a.precision));
        let rows = spread(of_class.len(), rows).into_iter();
        Some(Section {
            class,
            rows: rows.map(|row| of_class[row]).collect(),
        })
    };
    spread(scored.len(), ROWS_MAX)
        .into_iter()
        .map(|class| scored[class])
        .filter_map(section)
        .collect()
}

/// Up to `count` numbers below `total`, the first, the last and some evenly between.
fn spread(total: usize, count: usize) -> Vec<usize> {
    match count {
        _ if total <= count => (0..total).collect(),
        0 => Vec::new(),
        1 => vec![total / 2],
        _ => (0..count).map(|n| n * (total - 1) / (count - 1)).collect(),
    }
}

/// Numbers of all photos that these sections show.
pub fn shown(sections: &[Section<'_>]) -> Vec<usize> {
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
pub struct Sheet<'a> {
    /// The numbers.
    pub report: &'a Report,
    /// What the photos are.
    pub photos: &'a Photos,
    /// What is shown.
    pub sections: Vec<Section<'a>>,
    /// A JPEG of every photo that is shown.
    pub thumbnails: BTreeMap<usize, Vec<u8>>,
}

const STYLE: &str = include_str!("sheet.css");

impl Sheet<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let report = self.report;
        let (model, folder) = (escape(&report.model), report.folder.display().to_string());
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
            escape(&folder),
            report.dimension,
            escape(&report.device)
        );
        for note in report.notes() {
            let _ = writeln!(page, "<p>{}.</p>", escape(&note));
        }
        let _ = writeln!(
            page,
            "<dl><div><dt>P@{}</dt><dd>{:.3}</dd></div><div><dt>mAP</dt><dd>{:.3}</dd></div></dl>\
             </header>\n<div class=\"tables\">",
            report.k, report.precision, report.average_precision
        );
        self.robustness(&mut page);
        page.push_str(&report.calibration.html(report.k));
        self.classes(&mut page);
        page.push_str("</div>\n");
        self.rows(&mut page);
        page.push_str("</html>\n");
        page
    }

    fn robustness(&self, page: &mut String) {
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
                row.change.words(),
                row.first,
                row.near
            );
        }
        page.push_str("</tbody></table></section>\n");
    }

    fn classes(&self, page: &mut String) {
        page.push_str("<section><h2>Classes</h2>\n<ol class=\"classes\">\n");
        let shown: BTreeSet<usize> = self.sections.iter().map(|section| section.class).collect();
        for (number, class) in self.report.classes.iter().enumerate() {
            let name = escape(&class.name);
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

    fn rows(&self, page: &mut String) {
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
                escape(&class.name),
                class.precision.unwrap_or_default(),
                class.average_precision.unwrap_or_default(),
                class.photos
            );
            for query in &section.rows {
                self.row(page, query);
            }
            page.push_str("</section>\n");
        }
        page.push_str("</main>\n");
    }

    fn row(&self, page: &mut String, query: &Query) {
        let photo = &self.photos.all[query.photo];
        let is_right = |near: usize| self.photos.all[near].class == photo.class;
        let right = query
            .near
            .iter()
            .filter(|(near, _)| is_right(*near))
            .count();
        let path = escape(&photo.path);
        let name = photo.path.rsplit('/').next().unwrap_or_default();
        let _ = writeln!(
            page,
            "<div class=\"row\"><figure class=\"query\" title=\"{path}\"><span class=\"photo p{}\" \
             role=\"img\" aria-label=\"{path}\"></span><figcaption><span>{}</span>{right} of {} right\
             </figcaption></figure><div class=\"near\">",
            query.photo,
            escape(name),
            query.near.len()
        );
        for (near, score) in &query.near {
            let path = escape(&self.photos.all[*near].path);
            let (kind, says) = match is_right(*near) {
                true => ("right", format!("<b>✓</b> {score:.2}")),
                false => {
                    let class = escape(self.photos.class_name(*near));
                    ("wrong", format!("<b>✗</b> {score:.2}<span>{class}</span>"))
                }
            };
            let _ = writeln!(
                page,
                "<figure class=\"{kind}\" title=\"{path}: {score:.3}\"><span class=\"photo p{near}\" \
                 role=\"img\" aria-label=\"{path}\"></span><figcaption>{says}</figcaption></figure>"
            );
        }
        page.push_str("</div></div>\n");
    }
}

/// Text for between tags and quotes.
fn escape(text: &str) -> String {
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
    use super::super::report::Class;
    use super::*;

    #[test]
    fn choices_are_spread() {
        assert_eq!(spread(3, 4), [0, 1, 2]);
        assert_eq!(spread(18, 4), [0, 5, 11, 17]);
        assert_eq!(spread(9, 1), [4]);
        assert_eq!(spread(0, 4), [0; 0]);
    }

    #[test]
    fn the_page_marks_right_and_wrong_and_holds_each_photo_once() {
        let row = |path: &str| [path.to_owned(), path.to_owned(), String::new()];
        let photos = Photos::new(["a<b/1", "a<b/2", "c/1", "c/2"].map(row).to_vec());
        let query = |photo, near: &[usize], precision| Query {
            photo,
            precision,
            average_precision: precision,
            near: near.iter().map(|near| (*near, 0.5)).collect(),
            judged: Vec::new(),
        };
        let queries = [query(0, &[2, 1], 0.5), query(2, &[3, 0], 1.0)];
        let class = |name: &str, precision| Class {
            name: name.into(),
            photos: 2,
            precision: Some(precision),
            average_precision: Some(precision),
        };
        let report = Report {
            k: 2,
            classes: vec![class("c", 1.0), class("a<b", 0.5)],
            ..Report::default()
        };
        let sections = choose(&report, &photos, &queries);
        let order: Vec<usize> = sections.iter().map(|s| s.rows[0].photo).collect();
        assert_eq!(order, [2, 0], "classes best first");
        let thumbnails: BTreeMap<usize, Vec<u8>> = shown(&sections)
            .into_iter()
            .map(|photo| (photo, vec![photo as u8]))
            .collect();
        assert_eq!(thumbnails.len(), 4);
        let sheet = Sheet {
            report: &report,
            photos: &photos,
            sections,
            thumbnails,
        };
        let page = sheet.html();
        assert_eq!(page.matches("url(data:image/jpeg;base64,").count(), 4);
        assert_eq!(page.matches("<figure class=\"right\"").count(), 2);
        assert_eq!(page.matches("<figure class=\"wrong\"").count(), 2);
        assert!(page.contains("<b>✗</b> 0.50<span>a&lt;b</span>"), "{page}");
        assert!(!page.contains("a<b"), "{page}");
        assert!(!page.contains("http"), "it needs nothing from elsewhere");
    }
}
