//! Identifies a file that was given on the command line: by id, by a path on this disk, or as
//! lists print it, `LIBRARY/path`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, anyhow};
use lookalike_proto::{ImageId, path_to_text, unescape_path};
use serde_json::Value;

use crate::service::ServiceClient;
use crate::usage_error::usage_error;

/// A file as the API identifies it.
#[derive(Debug, PartialEq, Eq)]
pub enum FileLocator {
    Id(String),
    Path {
        library: String,
        /// Relative to the library's root, with `/` between components. Bytes that are not UTF-8
        /// are escaped, as in lists.
        path: String,
    },
}

impl FileLocator {
    /// The query parameters of `GET /v1/why`.
    pub fn to_query(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Id(id) => vec![("id", id.clone())],
            Self::Path { library, path } => {
                vec![("library", library.clone()), ("path", path.clone())]
            }
        }
    }
}

/// A library as the service reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReportedLibrary {
    name: String,
    root: PathBuf,
}

/// Whether the text has the form of an image id.
pub fn is_image_id(text: &str) -> bool {
    text.parse::<ImageId>().is_ok()
}

/// Determines which file the argument means. An argument that looks like an id is one unless a
/// file of that name exists.
pub async fn resolve_file(service: &ServiceClient, argument: &Path) -> Result<FileLocator> {
    if let Some(text) = argument.to_str()
        && is_image_id(text)
        && argument.symlink_metadata().is_err()
    {
        return Ok(FileLocator::Id(text.to_owned()));
    }
    let stats = service.get_json("/v1/stats", &[]).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let libraries: Vec<ReportedLibrary> = stats["libraries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|library| ReportedLibrary {
            name: text(&library["name"]),
            root: PathBuf::from(text(&library["root"])),
        })
        .collect();
    let current_dir = std::env::current_dir().unwrap_or_default();
    find_in_libraries(&current_dir, argument, &libraries)
        .ok_or_else(|| not_in_a_library(argument, &libraries))
}

/// Locates the file in the library whose root is the innermost one that contains it.
fn find_in_libraries(
    current_dir: &Path,
    argument: &Path,
    libraries: &[ReportedLibrary],
) -> Option<FileLocator> {
    let absolute = current_dir.join(argument);
    // Only the parent folder is resolved: the watcher treats a symbolic link as a file of its own.
    let resolved = absolute
        .file_name()
        .and_then(|name| Some(absolute.parent()?.canonicalize().ok()?.join(name)));
    let as_written = normalize_path(&absolute);
    let mut innermost: Option<(usize, FileLocator)> = None;
    for library in libraries {
        let roots = [library.root.canonicalize().ok(), Some(library.root.clone())];
        for root in roots.iter().flatten() {
            for path in [&resolved, &Some(as_written.clone())].into_iter().flatten() {
                let Ok(relative) = path.strip_prefix(root) else {
                    continue;
                };
                let depth = root.components().count();
                let is_deeper = innermost.as_ref().is_none_or(|(other, _)| depth > *other);
                if relative.components().next().is_some() && is_deeper {
                    let locator = FileLocator::Path {
                        library: library.name.clone(),
                        path: path_to_text(relative.as_os_str().as_bytes()).into_owned(),
                    };
                    innermost = Some((depth, locator));
                }
            }
        }
    }
    let on_disk = innermost.map(|(_, locator)| locator);
    let listed = parse_listed_path(argument, libraries);
    match (on_disk, listed) {
        // Inside a library's folder the argument can mean either: the one that exists wins.
        (Some(on_disk), Some((listed, listed_exists))) => {
            let on_disk_exists = absolute.symlink_metadata().is_ok();
            Some(if listed_exists && !on_disk_exists {
                listed
            } else {
                on_disk
            })
        }
        (on_disk, listed) => on_disk.or(listed.map(|(listed, _)| listed)),
    }
}

/// Parses `LIBRARY/path`, and returns whether that file exists.
fn parse_listed_path(
    argument: &Path,
    libraries: &[ReportedLibrary],
) -> Option<(FileLocator, bool)> {
    let argument = argument.as_os_str().as_bytes();
    let slash = argument.iter().position(|byte| *byte == b'/')?;
    let (name, path) = (&argument[..slash], &argument[slash + 1..]);
    let library = libraries
        .iter()
        .find(|library| library.name.as_bytes() == name)?;
    let exists_as = |path: &[u8]| {
        let path_on_disk = library.root.join(OsStr::from_bytes(path));
        path_on_disk.symlink_metadata().is_ok()
    };
    let unescaped = std::str::from_utf8(path).ok().and_then(unescape_path);
    let exists = exists_as(path) || unescaped.is_some_and(|path| exists_as(&path));
    let locator = FileLocator::Path {
        library: library.name.clone(),
        path: path_to_text(path).into_owned(),
    };
    (!path.is_empty()).then_some((locator, exists))
}

/// Removes `.` and `..` without looking at the disk.
fn normalize_path(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normalized.pop();
            }
            component => normalized.push(component),
        }
    }
    normalized
}

fn not_in_a_library(argument: &Path, libraries: &[ReportedLibrary]) -> anyhow::Error {
    let list: Vec<String> = libraries
        .iter()
        .map(|library| format!("{} ({})", library.name, library.root.display()))
        .collect();
    let libraries = match list.is_empty() {
        true => "there are none".to_owned(),
        false => format!("the libraries are: {}", list.join(", ")),
    };
    usage_error(anyhow!(
        "{} is in no library; {libraries}",
        argument.display()
    ))
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
            name: library.into(),
            root: top.join(folder),
        };
        let roots = [
            root("photos", "photos"),
            root("all", ""),
            root("shop", "shop"),
        ];
        let find =
            |current_dir: &str, argument: &str, roots: &[ReportedLibrary]| match find_in_libraries(
                &top.join(current_dir),
                Path::new(argument),
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
        // `LIBRARY/path`, from any folder.
        assert_eq!(find("elsewhere", "shop/c.jpg", &roots[2..]), "shop: c.jpg");
        assert_eq!(find("elsewhere", "shop/", &roots[2..]), "nowhere");
        // Inside a library too, unless a file of the same path exists there.
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
            name: "x".into(),
            root: top.join("link"),
        }];
        for argument in ["real/a.jpg", "link/a.jpg"] {
            let locator = find_in_libraries(&top, Path::new(argument), &roots);
            let (library, path) = ("x".into(), "a.jpg".into());
            assert_eq!(
                locator,
                Some(FileLocator::Path { library, path }),
                "{argument}"
            );
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_escaped() {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().canonicalize().unwrap();
        let roots = [ReportedLibrary {
            name: "shop".into(),
            root: root.clone(),
        }];
        let on_disk = root.join(OsStr::from_bytes(b"caf\xe9.jpg"));
        let listed = Path::new(OsStr::from_bytes(b"shop/caf\xe9.jpg"));
        for argument in [on_disk.as_path(), listed, Path::new(r"shop/caf\xe9.jpg")] {
            let locator = find_in_libraries(Path::new("/"), argument, &roots);
            let (library, path) = ("shop".into(), r"caf\xe9.jpg".into());
            assert_eq!(locator, Some(FileLocator::Path { library, path }));
        }
    }

    #[test]
    fn ids_are_recognised_by_their_form() {
        assert!(is_image_id("3ac9aecf0ebba98faed9a9884f264d9d"));
        assert!(!is_image_id("3AC9AECF0EBBA98FAED9A9884F264D9D"));
        assert!(!is_image_id("a.jpg"));
    }
}
