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
    // `.` and `..` get a name only by resolving them.
    let resolved = folder.canonicalize().unwrap_or(folder);
    let folder_name = resolved
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

/// Converts to lower case, and replaces characters that a library name cannot contain by `-`.
fn to_library_name(folder_name: &str) -> String {
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

/// Returns the root folders of these libraries, or of `./images` if there are none. Each must be a
/// readable folder, and none may contain another.
pub fn resolve_libraries(
    configured: &BTreeMap<String, String>,
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
    for (name, folder) in configured {
        let name = LibraryName::new(&name).map_err(usage_error)?;
        let root = open_root(&name, &expand_home(&folder))?;
        for (other_name, other_root) in &libraries {
            if root.starts_with(other_root) || other_root.starts_with(&root) {
                return Err(usage_error(anyhow!(
                    "libraries {other_name} and {name} overlap ({} and {}): name only the outer \
                     folder",
                    other_root.display(),
                    root.display()
                )));
            }
        }
        libraries.insert(name, root);
    }
    Ok(libraries)
}

/// Resolves a root folder and verifies that it can be read.
fn open_root(name: &LibraryName, folder: &Path) -> Result<PathBuf> {
    let error =
        |problem: &str| usage_error(anyhow!("library {name}: {} {problem}", folder.display()));
    let root = folder.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => error("does not exist"),
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
        assert_eq!(parse("A B=/a"), None);
        assert_eq!(parse("/"), None);
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
            super::resolve_libraries(&libraries).map_err(|error| error.to_string())
        };
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
}
