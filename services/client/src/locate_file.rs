//! How a file is named on the command line: by its id, by its path on this disk, or as lists show
//! it, `LIBRARY/path`.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::client::ServiceClient;
use crate::failure::Failure;

/// A file, in the service's terms.
#[derive(Debug, PartialEq, Eq)]
pub enum FileLocator {
    /// By its image's id.
    Id(String),
    /// By its library, and its path below the root.
    Path {
        /// The library.
        library: String,
        /// Relative, with `/` between parts.
        path: String,
    },
}

impl FileLocator {
    /// As parameters of `GET /v1/why`.
    pub fn to_query(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Id(id) => vec![("id", id.clone())],
            Self::Path { library, path } => {
                vec![("library", library.clone()), ("path", path.clone())]
            }
        }
    }
}

/// A library, as the service tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReportedLibrary {
    library: String,
    folder: PathBuf,
}

/// Whether this is an id, by its looks.
pub fn looks_like_image_id(text: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 32 && text.bytes().all(is_digit)
}

/// Finds out which file is meant.
///
/// # Errors
/// When it lies in no library, or the service does not say which there are.
pub async fn resolve_file(service: &ServiceClient, named: &Path) -> Result<FileLocator, Failure> {
    if let Some(text) = named.to_str()
        && looks_like_image_id(text)
        && named.symlink_metadata().is_err()
    {
        return Ok(FileLocator::Id(text.to_owned()));
    }
    let stats = service.get_json("/v1/stats", &[]).await?;
    let no_libraries = Vec::new();
    let told = stats["libraries"].as_array().unwrap_or(&no_libraries);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let roots: Vec<ReportedLibrary> = told
        .iter()
        .map(|library| ReportedLibrary {
            library: text(&library["name"]),
            folder: PathBuf::from(text(&library["root"])),
        })
        .collect();
    let here = std::env::current_dir().unwrap_or_default();
    find_in_libraries(&here, named, &roots).ok_or_else(|| not_in_a_library(named, &roots))
}

/// The file in the library whose root is the nearest above it.
fn find_in_libraries(here: &Path, named: &Path, roots: &[ReportedLibrary]) -> Option<FileLocator> {
    let absolute = here.join(named);
    // The last part is not resolved: a symbolic link is a file of its own to the watcher.
    let resolved = absolute
        .file_name()
        .and_then(|name| Some(absolute.parent()?.canonicalize().ok()?.join(name)));
    let as_written = normalize_path(&absolute);
    let mut best: Option<(usize, FileLocator)> = None;
    for root in roots {
        let folders = [root.folder.canonicalize().ok(), Some(root.folder.clone())];
        for folder in folders.iter().flatten() {
            for path in [&resolved, &Some(as_written.clone())].into_iter().flatten() {
                let Ok(rest) = path.strip_prefix(folder) else {
                    continue;
                };
                let depth = folder.components().count();
                let is_nearer = best.as_ref().is_none_or(|(known, _)| depth > *known);
                if rest.components().next().is_some() && is_nearer {
                    let library = root.library.clone();
                    let path = rest.to_string_lossy().into_owned();
                    best = Some((depth, FileLocator::Path { library, path }));
                }
            }
        }
    }
    let on_disk = best.map(|(_, named)| named);
    let listed = parse_listed_path(named, roots);
    match (on_disk, listed) {
        // Within a library's folder both may be meant: the one that is there is.
        (Some(on_disk), Some((listed, is_there))) => {
            let is_here = absolute.symlink_metadata().is_ok();
            Some(if is_there && !is_here {
                listed
            } else {
                on_disk
            })
        }
        (on_disk, listed) => on_disk.or(listed.map(|(listed, _)| listed)),
    }
}

/// As lists show a file, `LIBRARY/path`; and whether it is there.
fn parse_listed_path(named: &Path, roots: &[ReportedLibrary]) -> Option<(FileLocator, bool)> {
    let (library, path) = named.to_str()?.split_once('/')?;
    let root = roots.iter().find(|root| root.library == library)?;
    let is_there = root.folder.join(path).symlink_metadata().is_ok();
    let listed = FileLocator::Path {
        library: library.to_owned(),
        path: path.to_owned(),
    };
    (!path.is_empty()).then_some((listed, is_there))
}

/// Without `.` and `..`, whether or not the folders exist.
fn normalize_path(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                tidied.pop();
            }
            part => tidied.push(part),
        }
    }
    tidied
}

fn not_in_a_library(named: &Path, roots: &[ReportedLibrary]) -> Failure {
    let known: Vec<String> = roots
        .iter()
        .map(|root| format!("{} ({})", root.library, root.folder.display()))
        .collect();
    let known = match known.is_empty() {
        true => "there is none".to_owned(),
        false => format!("there are: {}", known.join(", ")),
    };
    Failure::usage(format!("{} lies in no library; {known}", named.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_nearest_library() {
        let disk = tempfile::tempdir().unwrap();
        let top = disk.path().canonicalize().unwrap();
        for folder in ["photos/2026", "shop", "elsewhere"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        std::fs::write(top.join("photos/2026/a.jpg"), "a").unwrap();
        std::os::unix::fs::symlink("2026/a.jpg", top.join("photos/link.jpg")).unwrap();
        std::os::unix::fs::symlink("photos", top.join("pictures")).unwrap();
        let root = |library: &str, folder: &str| ReportedLibrary {
            library: library.into(),
            folder: top.join(folder),
        };
        let roots = [
            root("photos", "photos"),
            root("all", ""),
            root("shop", "shop"),
        ];
        let find = |here: &str, named: &str, roots: &[ReportedLibrary]| match find_in_libraries(
            &top.join(here),
            Path::new(named),
            roots,
        ) {
            Some(FileLocator::Path { library, path }) => format!("{library}: {path}"),
            Some(FileLocator::Id(id)) => id,
            None => "nowhere".into(),
        };
        let absolute = top.join("photos/2026/a.jpg");
        assert_eq!(
            find("", absolute.to_str().unwrap(), &roots),
            "photos: 2026/a.jpg"
        );
        assert_eq!(find("photos", "2026/a.jpg", &roots), "photos: 2026/a.jpg");
        assert_eq!(
            find("shop", "../photos/2026/a.jpg", &roots),
            "photos: 2026/a.jpg"
        );
        assert_eq!(
            find("photos/2026", "./gone.jpg", &roots),
            "photos: 2026/gone.jpg"
        );
        assert_eq!(
            find("photos", "gone/too/b.jpg", &roots),
            "photos: gone/too/b.jpg"
        );
        assert_eq!(find("", "photos/link.jpg", &roots), "photos: link.jpg");
        assert_eq!(
            find("", "pictures/2026/a.jpg", &roots),
            "photos: 2026/a.jpg"
        );
        assert_eq!(find("", "elsewhere/b.jpg", &roots), "all: elsewhere/b.jpg");
        assert_eq!(find("", "elsewhere/b.jpg", &roots[..1]), "nowhere");
        // As lists show it, from anywhere.
        assert_eq!(find("elsewhere", "shop/c.jpg", &roots[2..]), "shop: c.jpg");
        assert_eq!(find("elsewhere", "shop/", &roots[2..]), "nowhere");
        // Within a library too, unless the same name is there.
        let listed = "photos/2026/a.jpg";
        assert_eq!(find("photos", listed, &roots[..1]), "photos: 2026/a.jpg");
        std::fs::create_dir_all(top.join("photos/photos/2026")).unwrap();
        std::fs::write(top.join("photos/photos/2026/a.jpg"), "b").unwrap();
        assert_eq!(
            find("photos", listed, &roots[..1]),
            "photos: photos/2026/a.jpg"
        );
    }

    #[test]
    fn a_root_that_is_a_link_is_found_both_ways() {
        let disk = tempfile::tempdir().unwrap();
        let top = disk.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("real")).unwrap();
        std::os::unix::fs::symlink("real", top.join("link")).unwrap();
        let roots = [ReportedLibrary {
            library: "x".into(),
            folder: top.join("link"),
        }];
        for named in ["real/a.jpg", "link/a.jpg"] {
            let found = find_in_libraries(&top, Path::new(named), &roots);
            let (library, path) = ("x".into(), "a.jpg".into());
            assert_eq!(found, Some(FileLocator::Path { library, path }), "{named}");
        }
    }

    #[test]
    fn ids_are_known_by_their_looks() {
        assert!(looks_like_image_id("3ac9aecf0ebba98faed9a9884f264d9d"));
        assert!(!looks_like_image_id("3AC9AECF0EBBA98FAED9A9884F264D9D"));
        assert!(!looks_like_image_id("a.jpg"));
    }
}
