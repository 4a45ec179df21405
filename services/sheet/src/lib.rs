//! Contact sheets: HTML pages with pictures that are one self-contained file.
//!
//! Every thumbnail is embedded once, as the background image of a CSS class, however often the page
//! shows it. A page references nothing outside the file. The base style frames the pictures; a caller
//! adds the style of its own page.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const BASE_STYLE: &str = include_str!("base.css");

/// The JPEG thumbnails of a page, by the caller's keys.
#[derive(Debug, Default)]
pub struct Thumbnails<K> {
    jpegs: BTreeMap<K, (usize, Option<Vec<u8>>)>,
}

impl<K: Ord> Thumbnails<K> {
    /// Pictures without a JPEG are shown as an empty frame.
    pub fn new(jpegs: impl IntoIterator<Item = (K, Option<Vec<u8>>)>) -> Self {
        let jpegs: BTreeMap<K, Option<Vec<u8>>> = jpegs.into_iter().collect();
        let numbered = jpegs.into_iter().enumerate();
        Self {
            jpegs: numbered.map(|(n, (key, jpeg))| (key, (n, jpeg))).collect(),
        }
    }

    /// The element that shows a picture, labelled for screen readers and as a tooltip.
    pub fn picture(&self, key: &K, label: &str) -> Markup {
        let number = self.jpegs.get(key).map_or(0, |(number, _)| *number);
        html! {
            span class={ "photo p" (number) } role="img" aria-label=(label) title=(label) {}
        }
    }

    fn to_css(&self) -> String {
        let mut css = String::new();
        for (number, jpeg) in self.jpegs.values() {
            if let Some(jpeg) = jpeg {
                let data = STANDARD.encode(jpeg);
                let _ = writeln!(
                    css,
                    ".p{number}{{background-image:url(data:image/jpeg;base64,{data})}}"
                );
            }
        }
        css
    }
}

/// Renders a page. `style` is inserted as it is, behind the base style.
pub fn render_page<K: Ord>(
    title: &str,
    style: &str,
    thumbnails: &Thumbnails<K>,
    body: &Markup,
) -> String {
    let css = thumbnails.to_css();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(BASE_STYLE)) (PreEscaped(style)) (PreEscaped(css)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_contains_each_thumbnail_once_and_escapes_text() {
        let thumbnails = Thumbnails::new([("a", Some(vec![1])), ("b", None)]);
        let body = html! {
            (thumbnails.picture(&"a", "<a>"))
            (thumbnails.picture(&"a", "again"))
            (thumbnails.picture(&"b", "\"b\""))
        };
        let page = render_page("<title>", "figure{}", &thumbnails, &body);
        assert_eq!(page.matches("data:image/jpeg").count(), 1);
        assert_eq!(page.matches("photo p0").count(), 2);
        assert!(page.contains("<title>&lt;title&gt;</title>"), "{page}");
        assert!(page.contains("&lt;a&gt;") && page.contains("&quot;b&quot;"));
    }
}
