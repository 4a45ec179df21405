//! The contact sheet of a rollover: the pictures on which the two models differ most, each with its
//! neighbours by both models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt as _;
use lookalike_client::usage_error;
use lookalike_index::{IndexHit, IndexedImage};
use lookalike_proto::{LibraryName, RelativePath};
use lookalike_sheet::{Thumbnails, render_page};
use lookalike_vision::Limits;
use maud::{Markup, html};

use super::compare::{ImageComparison, ModelComparison};
use super::plan::ShadowCopy;
use super::session::RolloverSession;

/// Length of a thumbnail's longer side.
const THUMBNAIL_SIDE_PX: u32 = 128;
/// Pictures on a sheet. With all neighbours, their thumbnails have at most about 3 MB.
const MAX_IMAGES: usize = 24;
const MAX_CONCURRENT_THUMBNAILS: usize = 2;
const DEFAULT_FILE_NAME: &str = "models-use.html";
const STYLE: &str = include_str!("sheet.css");

/// Verifies early, before the long copy, that a file can be created at this path.
pub(super) fn check_sheet_path(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Err(usage_error(anyhow!(
            "--sheet must name a file, and {path:?} is not one"
        )));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(usage_error(anyhow!(
                "cannot write the sheet to {}: there is no folder {}; create it, or choose another \
                 file with --sheet",
                path.display(),
                folder.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Writes the sheet and returns its path; `None` if there is nothing to show.
pub(super) async fn write_sheet(
    session: &RolloverSession<'_>,
    shadow: &ShadowCopy,
    comparison: &ModelComparison,
) -> Result<Option<PathBuf>> {
    if comparison.images.is_empty() {
        return Ok(None);
    }
    let path = match &session.args.sheet {
        Some(path) => path.clone(),
        None => {
            let folder = session.settings.data_dir()?;
            // On another machine than that of `up`, the data folder may not exist.
            let _ = std::fs::create_dir_all(&folder);
            folder.join(DEFAULT_FILE_NAME)
        }
    };
    let limits = Limits::from(&session.settings.vision);
    let models = [&shadow.old_index, &shadow.new_index].map(|index| &*index.model().name);
    let page = build_sheet(models, comparison, &shadow.libraries, &limits).await;
    std::fs::write(&path, page).with_context(|| {
        format!(
            "cannot write the sheet to {}; choose another file with --sheet",
            path.display()
        )
    })?;
    session.progress.print_line(&format!(
        "the pictures on which they differ most: {}",
        path.display()
    ));
    Ok(Some(path))
}

async fn build_sheet(
    models: [&str; 2],
    comparison: &ModelComparison,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    limits: &Limits,
) -> String {
    let shown: Vec<&ImageComparison> = comparison.images.iter().take(MAX_IMAGES).collect();
    let mut images: BTreeMap<&str, &IndexedImage> = BTreeMap::new();
    for compared in &shown {
        let neighbours = compared.neighbours.iter().flatten().map(|hit| &hit.image);
        for image in neighbours.chain([&compared.image]) {
            images.insert(&image.id, image);
        }
    }
    let jpegs = images
        .values()
        .map(|image| load_thumbnail(image, libraries, limits));
    let jpegs: Vec<Option<Vec<u8>>> = futures_util::stream::iter(jpegs)
        .buffered(MAX_CONCURRENT_THUMBNAILS)
        .collect()
        .await;
    let thumbnails = Thumbnails::new(images.keys().copied().zip(jpegs));
    let body = render_body(models, comparison, &shown, &thumbnails);
    let title = format!("{} or {}", models[0], models[1]);
    render_page(&title, STYLE, &thumbnails, &body)
}

/// Returns a JPEG, or `None` if the file cannot be read or decoded.
async fn load_thumbnail(
    image: &IndexedImage,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    limits: &Limits,
) -> Option<Vec<u8>> {
    let root = libraries.get(&LibraryName::new(&image.library).ok()?)?;
    let path = RelativePath::new(&*image.path).ok()?.join_to(root);
    let limits = limits.clone();
    let encoding = tokio::task::spawn_blocking(move || {
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || metadata.len() > limits.max_file_bytes {
            return None;
        }
        let bytes = std::fs::read(&path).ok()?;
        lookalike_vision::encode_thumbnail(&bytes, THUMBNAIL_SIDE_PX, &limits).ok()
    });
    encoding.await.ok()?
}

fn render_body(
    models: [&str; 2],
    comparison: &ModelComparison,
    shown: &[&ImageComparison],
    thumbnails: &Thumbnails<&str>,
) -> Markup {
    html! {
        header {
            h1 { (models[0]) " or " (models[1]) }
            @for line in comparison.summary_lines() {
                p { (line) "." }
            }
            p {
                "Below are the " (shown.len()) " pictures on which the models differ most, each \
                 with its nearest neighbours by both models. "
                span class="key common" { "Found by both" }
                " "
                span class="key own" { "found by this one only" }
            }
        }
        main {
            @for compared in shown {
                (render_image(compared, models, thumbnails))
            }
        }
    }
}

fn render_image(
    compared: &ImageComparison,
    models: [&str; 2],
    thumbnails: &Thumbnails<&str>,
) -> Markup {
    let shared_ids = compared.shared_ids();
    let picture = |image: &IndexedImage| {
        let label = format!("{}/{}", image.library, image.path);
        thumbnails.picture(&&*image.id, &label)
    };
    let class = |image: &IndexedImage| match shared_ids.contains(&*image.id) {
        true => "common",
        false => "own",
    };
    html! {
        section {
            figure class="query" {
                (picture(&compared.image))
                figcaption { (shared_ids.len()) " in common" }
            }
            div {
                @for (model, hits) in models.iter().zip(&compared.neighbours) {
                    h2 { (model) }
                    div class="near" {
                        @for IndexHit { image, score } in hits {
                            figure class=(class(image)) {
                                (picture(image))
                                figcaption { (format!("{score:.2}")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_sheet_path_is_reported_early() {
        let dir = tempfile::tempdir().unwrap();
        check_sheet_path(Path::new("sheet.html")).unwrap();
        check_sheet_path(&dir.path().join("sheet.html")).unwrap();
        for wrong in [dir.path(), &dir.path().join("no/sheet.html"), Path::new("")] {
            let error = check_sheet_path(wrong).unwrap_err();
            assert!(error.to_string().contains("--sheet"), "{error}");
        }
        assert!(!dir.path().join("no").exists());
    }

    #[tokio::test]
    async fn the_sheet_shows_both_models_and_each_picture_once() {
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
        let comparison = ModelComparison {
            images: vec![ImageComparison {
                image: image("a"),
                neighbours: [hits(&["b", "c"]), hits(&["b", "d"])],
            }],
        };
        let library = LibraryName::new("shop").unwrap();
        let libraries = BTreeMap::from([(library, dir.path().to_owned())]);
        let limits = Limits::default();
        let page = build_sheet(["old", "<new>"], &comparison, &libraries, &limits).await;
        assert_eq!(page.matches("url(data:image/jpeg;base64,").count(), 2);
        assert_eq!(page.matches("<figure class=\"common\">").count(), 2);
        assert_eq!(page.matches("<figure class=\"own\">").count(), 2);
        assert!(
            page.contains("&lt;new&gt;") && !page.contains("<b>"),
            "{page}"
        );
        for address in ["http:", "https:"] {
            assert!(
                !page.contains(address),
                "the page must reference nothing outside"
            );
        }
    }
}
