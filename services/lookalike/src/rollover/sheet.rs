//! The contact sheet of a change: the pictures about which the two models differ most, each with
//! its neighbours by the one and by the other, in one file for a browser. Every picture is in the
//! file once, however often it is shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use lookalike_index::{IndexHit, IndexedImage};
use lookalike_proto::{LibraryName, RelativePath};
use lookalike_vision::Limits;

use super::compare::{ImageComparison, ModelComparison};
use crate::failure::Failure;

/// The longer side of the pictures in the file, in pixels.
const THUMBNAIL_SIDE_PX: u32 = 128;

/// Pictures with their neighbours: with all thumbnails, some 3 MB at the very most.
const MAX_IMAGES: usize = 24;

/// Pictures that are made small at once.
const MAX_CONCURRENT_THUMBNAILS: usize = 2;

const STYLE: &str = include_str!("sheet.css");

/// Whether a file of this name can be written, as far as that can be seen before there is anything
/// to write.
///
/// # Errors
/// When its folder is not there, or it is one itself.
pub(super) fn check_sheet_path(path: &Path) -> Result<(), Failure> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Err(Failure::usage(format!(
            "--sheet must name a file, and {path:?} is none"
        )));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Failure::usage(format!(
                "the sheet can't be written to {}: there is no folder {}; make it, or name another \
                 file with --sheet",
                path.display(),
                folder.display()
            )))
        }
        _ => Ok(()),
    }
}

/// The page.
pub(super) async fn build_sheet(
    models: [&str; 2],
    compared: &ModelComparison,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    limits: &Limits,
) -> String {
    let queries: Vec<&ImageComparison> = compared.images.iter().take(MAX_IMAGES).collect();
    let mut images: BTreeMap<&str, &IndexedImage> = BTreeMap::new();
    for query in &queries {
        let near = query.neighbours.iter().flatten().map(|hit| &hit.image);
        for image in near.chain([&query.image]) {
            images.insert(&image.id, image);
        }
    }
    let small = images
        .values()
        .map(|image| load_thumbnail(image, libraries, limits));
    let small: Vec<Option<Vec<u8>>> = futures_util::stream::iter(small)
        .buffered(MAX_CONCURRENT_THUMBNAILS)
        .collect()
        .await;
    let thumbnails = images.keys().copied().zip(small).collect();
    render_sheet(models, compared, &queries, &thumbnails)
}

/// A small picture, where its file can be read.
async fn load_thumbnail(
    image: &IndexedImage,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    limits: &Limits,
) -> Option<Vec<u8>> {
    let root = libraries.get(&LibraryName::new(&image.library).ok()?)?;
    let path = RelativePath::new(&*image.path).ok()?.join_to(root);
    let limits = limits.clone();
    let made = tokio::task::spawn_blocking(move || {
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || metadata.len() > limits.max_file_bytes {
            return None;
        }
        let bytes = std::fs::read(&path).ok()?;
        lookalike_vision::encode_thumbnail(&bytes, THUMBNAIL_SIDE_PX, &limits).ok()
    });
    made.await.ok()?
}

fn render_sheet(
    models: [&str; 2],
    compared: &ModelComparison,
    queries: &[&ImageComparison],
    thumbnails: &BTreeMap<&str, Option<Vec<u8>>>,
) -> String {
    let models = models.map(escape_html);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} or {}</title>\n<style>\n{STYLE}",
        models[0], models[1]
    );
    let names: BTreeMap<&str, usize> = thumbnails.keys().copied().zip(0..).collect();
    for (id, jpeg) in thumbnails {
        if let Some(jpeg) = jpeg {
            let data = STANDARD.encode(jpeg);
            let _ = writeln!(
                page,
                ".p{}{{background-image:url(data:image/jpeg;base64,{data})}}",
                names[id]
            );
        }
    }
    let _ = writeln!(
        page,
        "</style>\n<header><h1>{} or {}</h1>",
        models[0], models[1]
    );
    for line in compared.summary_lines() {
        let _ = writeln!(page, "<p>{}.</p>", escape_html(&line));
    }
    let _ = writeln!(
        page,
        "<p>Below are the {} pictures about which they differ most, each with its nearest \
         neighbours by the one and by the other. <span class=\"key common\">Both find it</span> \
         <span class=\"key own\">only this one does</span></p></header>\n<main>",
        queries.len()
    );
    for query in queries {
        render_row(&mut page, query, &models, &names);
    }
    page.push_str("</main>\n</html>\n");
    page
}

fn render_row(
    page: &mut String,
    query: &ImageComparison,
    models: &[String; 2],
    names: &BTreeMap<&str, usize>,
) {
    let common = query.shared_ids();
    let picture = |image: &IndexedImage| {
        let place = escape_html(&format!("{}/{}", image.library, image.path));
        let number = names.get(&*image.id).copied().unwrap_or_default();
        format!(
            "<span class=\"photo p{number}\" role=\"img\" aria-label=\"{place}\" title=\"{place}\">\
             </span>"
        )
    };
    let _ = write!(
        page,
        "<section><figure class=\"query\">{}<figcaption>{} in common</figcaption></figure><div>",
        picture(&query.image),
        common.len()
    );
    for (model, near) in models.iter().zip(&query.neighbours) {
        let _ = write!(page, "<h2>{model}</h2><div class=\"near\">");
        for IndexHit { image, score } in near {
            let kind = match common.contains(&*image.id) {
                true => "common",
                false => "own",
            };
            let _ = write!(
                page,
                "<figure class=\"{kind}\">{}<figcaption>{score:.2}</figcaption></figure>",
                picture(image)
            );
        }
        page.push_str("</div>");
    }
    page.push_str("</div></section>\n");
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
    use super::*;

    #[test]
    fn a_place_that_is_none_is_told_early() {
        let dir = tempfile::tempdir().unwrap();
        check_sheet_path(Path::new("sheet.html")).unwrap();
        check_sheet_path(&dir.path().join("sheet.html")).unwrap();
        for wrong in [dir.path(), &dir.path().join("no/sheet.html"), Path::new("")] {
            let failure = check_sheet_path(wrong).unwrap_err();
            assert!(failure.to_string().contains("--sheet"), "{failure}");
        }
        assert!(!dir.path().join("no").exists());
    }

    #[tokio::test]
    async fn the_page_shows_both_and_each_picture_once() {
        let dir = tempfile::tempdir().unwrap();
        let image = |id: &str| IndexedImage {
            id: id.into(),
            library: "shop".into(),
            path: format!("{id}<b>.png"),
            ..IndexedImage::default()
        };
        let hits = |ids: &[&str]| -> Vec<IndexHit> {
            let ids = ids.iter();
            ids.map(|id| IndexHit {
                image: image(id),
                score: 0.25,
            })
            .collect()
        };
        let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
        let mut folders = vec![samples];
        let sample = loop {
            let folder = folders.pop().unwrap();
            let entries = std::fs::read_dir(folder)
                .unwrap()
                .map(|e| e.unwrap().path());
            let (below, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
            folders.extend(below);
            let mut files = files.into_iter();
            if let Some(jpeg) = files.find(|f| f.extension().is_some_and(|e| e == "jpg")) {
                break jpeg;
            }
        };
        for id in ["a", "b"] {
            std::fs::copy(&sample, dir.path().join(format!("{id}<b>.png"))).unwrap();
        }
        let compared = ModelComparison {
            images: vec![ImageComparison {
                image: image("a"),
                neighbours: [hits(&["b", "c"]), hits(&["b", "d"])],
            }],
        };
        let library = LibraryName::new("shop").unwrap();
        let libraries = BTreeMap::from([(library, dir.path().to_owned())]);
        let limits = Limits::default();
        let page = build_sheet(["old", "<new>"], &compared, &libraries, &limits).await;
        assert_eq!(page.matches("url(data:image/jpeg;base64,").count(), 2);
        assert_eq!(page.matches("<figure class=\"common\">").count(), 2);
        assert_eq!(page.matches("<figure class=\"own\">").count(), 2);
        assert!(
            page.contains("&lt;new&gt;") && !page.contains("<b>"),
            "{page}"
        );
        assert!(!page.contains("http"), "it needs nothing from elsewhere");
    }
}
