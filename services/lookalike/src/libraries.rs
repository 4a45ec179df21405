//! The libraries given on the command line and in the settings, and their root folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use lookalike_client::usage_error;
use lookalike_proto::LibraryName;

/// Parses `NAME=FOLDER`, or `FOLDER`, whose own name then names the library.
pub fn parse_library_argument(argument: &str) -> Result<(LibraryName, String)> {
    if let Some((name, folder)) = argument.split_once('=')
        && let Ok(name) = LibraryName::new(name)
        && !folder.is_empty()
    {
        return Ok((name, folder.to_owned()));
    }
    if let Some((name, _)) = argument.split_once('=')
        && !Path::new(argument).exists()
    {
        return Err(usage_error(match LibraryName::new(name) {
            Ok(_) => anyhow!("{argument:?} has no folder: use NAME=FOLDER"),
            Err(error) => error.into(),
        }));
    }
    let folder = expand_home(argument);
    // `.` and `..` get a name only by resolving them. A link keeps its own name: it names the same
    // library after it was turned to another folder.
    let named = match folder.file_name() {
        Some(_) => folder,
        None => folder.canonicalize().unwrap_or(folder),
    };
    let folder_name = named
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = folder_name
        .as_deref()
        .map(to_library_name)
        .unwrap_or_default();
    LibraryName::new(&name)
        .map(|name| (name, argument.to_owned()))
        .map_err(|_| {
            usage_error(anyhow!(
                "cannot derive a library name from {argument:?}: use NAME=FOLDER"
            ))
        })
}

/// Writes a folder's name in Latin letters and in lower case, and replaces characters that a library
/// name cannot contain by `-`.
fn to_library_name(folder_name: &str) -> String {
    let folder_name = any_ascii::any_ascii(folder_name);
    let replace = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let name: String = folder_name.to_lowercase().chars().map(replace).collect();
    name.trim_matches('-').chars().take(64).collect()
}

/// Expands `~` and `~/…` like a shell, which does not expand them after `NAME=`.
pub fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), dirs::home_dir()) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(path),
    }
}

/// Returns the absolute paths of the root folders of these libraries, or of `./images` if there are
/// none. Symbolic links stay in the paths, because they may be turned to another folder later.
///
/// Each root must be a readable folder, and none may contain another. A root may be missing if
/// `may_be_missing`: a disk may be connected later.
pub fn resolve_libraries(
    configured: &BTreeMap<String, String>,
    may_be_missing: &dyn Fn(&LibraryName, &Path) -> bool,
) -> Result<BTreeMap<LibraryName, PathBuf>> {
    let mut configured = configured.clone();
    if configured.is_empty() {
        if !Path::new("images").is_dir() {
            return Err(usage_error(anyhow!(
                "there is no folder ./images here: name the folders to index, for example \
                 `lookalike up ~/Pictures`"
            )));
        }
        configured.insert("images".into(), "images".into());
    }
    let mut libraries: BTreeMap<LibraryName, PathBuf> = BTreeMap::new();
    let mut resolved: Vec<(LibraryName, PathBuf)> = Vec::new();
    for (name, folder) in configured {
        let name = LibraryName::new(&name).map_err(usage_error)?;
        if folder.is_empty() {
            return Err(usage_error(anyhow!(
                "library {name} has no folder: add folder = \"…\" to [libraries.{name}], or name \
                 it on the command line: {name}=FOLDER"
            )));
        }
        let folder = expand_home(&folder);
        let given = std::path::absolute(&folder).unwrap_or(folder);
        let root = match open_root(&name, &given) {
            Err(_) if !given.exists() && may_be_missing(&name, &given) => {
                resolve_existing_part(&given)
            }
            root => root?,
        };
        for (other_name, other_root) in &resolved {
            if root.starts_with(other_root) || other_root.starts_with(&root) {
                return Err(usage_error(anyhow!(
                    "libraries {other_name} and {name} overlap ({} and {}): name only the outer \
                     folder",
                    other_root.display(),
                    root.display()
                )));
            }
        }
        resolved.push((name.clone(), root));
        libraries.insert(name, given);
    }
    Ok(libraries)
}

/// Refuses a folder that lookalike writes into (`setting` names it) if a library watches it: each
/// write would cause events, and these would cause further writes.
///
/// A folder below a hidden one is not watched, such as `~/.cache` in a library of the home folder.
pub fn refuse_watched_folder(
    libraries: &BTreeMap<LibraryName, PathBuf>,
    setting: &str,
    folder: &Path,
) -> Result<()> {
    let folder = resolve_existing_part(folder);
    for (name, root) in libraries {
        let root = resolve_existing_part(root);
        let Ok(below) = folder.strip_prefix(&root) else {
            continue;
        };
        let mut parts = below.components();
        if parts.any(|part| part.as_os_str().as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        return Err(usage_error(anyhow!(
            "lookalike would write into a folder that it watches: {} ({setting}) is in library \
             {name} ({}); choose another folder with {setting}",
            folder.display(),
            root.display(),
        )));
    }
    Ok(())
}

/// Resolves the links of the part of a path that exists.
fn resolve_existing_part(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in absolute.ancestors() {
        if let (Ok(resolved), Ok(rest)) = (existing.canonicalize(), absolute.strip_prefix(existing))
        {
            return resolved.join(rest);
        }
    }
    absolute
}

/// Resolves a root folder and verifies that it can be read.
fn open_root(name: &LibraryName, folder: &Path) -> Result<PathBuf> {
    let error =
        |problem: &str| usage_error(anyhow!("library {name}: {} {problem}", folder.display()));
    let root = folder.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => error(
            "does not exist; check the spelling. If it is on a disk that is not connected: the \
             first start needs it, later ones do not",
        ),
        _ => error(&format!("cannot be opened: {e}")),
    })?;
    if !root.is_dir() {
        return Err(error("is not a folder"));
    }
    std::fs::read_dir(&root).map_err(|e| error(&format!("cannot be read: {e}")))?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_yield_names() {
        let parse = |argument: &str| {
            parse_library_argument(argument)
                .map(|(name, folder)| (name.to_string(), folder))
                .ok()
        };
        assert_eq!(parse("shop=/a"), Some(("shop".into(), "/a".into())));
        assert_eq!(
            parse("/x/My Pictures"),
            Some(("my-pictures".into(), "/x/My Pictures".into()))
        );
        assert_eq!(parse("/x/2024"), Some(("2024".into(), "/x/2024".into())));
        assert_eq!(
            parse("/x/写真 2024"),
            Some(("xiezhen-2024".into(), "/x/写真 2024".into()))
        );
        assert_eq!(parse("/x/Фото"), Some(("foto".into(), "/x/Фото".into())));
        assert_eq!(parse("/x/Été"), Some(("ete".into(), "/x/Été".into())));
        assert_eq!(parse("A B=/a"), None);
        assert_eq!(parse("/"), None);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("release1/sub")).unwrap();
        std::os::unix::fs::symlink("release1", dir.path().join("photos")).unwrap();
        let name_of = |folder: &str| {
            let folder = dir.path().join(folder).display().to_string();
            parse(&folder).map(|(name, _)| name)
        };
        assert_eq!(name_of("photos").as_deref(), Some("photos"));
        assert_eq!(name_of("photos/.").as_deref(), Some("photos"));
        assert_eq!(name_of("photos/sub/..").as_deref(), Some("release1"));
    }

    #[test]
    fn roots_must_be_separate_folders() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let resolve = |pairs: &[(&str, &str)]| {
            let libraries = pairs
                .iter()
                .map(|(n, p)| ((*n).to_owned(), dir.path().join(p).display().to_string()))
                .collect();
            let may_be_missing = |_: &LibraryName, root: &Path| root.ends_with("unmounted");
            super::resolve_libraries(&libraries, &may_be_missing).map_err(|error| error.to_string())
        };
        let missing = resolve(&[("m", "unmounted"), ("a", "a")]).unwrap();
        assert!(missing[&LibraryName::new("m").unwrap()].ends_with("unmounted"));
        std::os::unix::fs::symlink(dir.path().join("a"), dir.path().join("link")).unwrap();
        let linked = resolve(&[("l", "link")]).unwrap();
        assert!(linked[&LibraryName::new("l").unwrap()].ends_with("link"));
        assert!(resolve(&[("a", "a"), ("l", "link/b")]).is_err_and(|e| e.contains("overlap")));
        assert_eq!(resolve(&[("a", "a")]).unwrap().len(), 1);
        assert!(
            resolve(&[("a", "a"), ("b", "a/b")])
                .unwrap_err()
                .contains("overlap")
        );
        assert!(
            resolve(&[("f", "file")])
                .unwrap_err()
                .contains("is not a folder")
        );
        assert!(
            resolve(&[("n", "nothing")])
                .unwrap_err()
                .contains("does not exist")
        );
    }

    #[test]
    fn folders_that_are_written_into_are_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("pictures/.local")).unwrap();
        std::fs::create_dir_all(root.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(root.join("pictures"), root.join("link")).unwrap();
        let name = LibraryName::new("shop").unwrap();
        let libraries = BTreeMap::from([(name, root.join("pictures"))]);
        let refuse = |folder: &str| {
            refuse_watched_folder(&libraries, "--data-dir", &root.join(folder))
                .map_err(|error| error.to_string())
        };
        for watched in ["pictures", "pictures/data", "pictures/a/b/c", "link/data"] {
            let error = refuse(watched).unwrap_err();
            assert!(error.contains("library shop"), "{watched}: {error}");
            assert!(error.contains("--data-dir"), "{watched}: {error}");
        }
        for free in [
            "",
            "elsewhere",
            "pictures2",
            "pictures/.local/share",
            "new/pictures",
        ] {
            assert_eq!(refuse(free), Ok(()), "{free}");
        }
    }
}
