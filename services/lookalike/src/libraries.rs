//! Libraries: names and their root folders, checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lookalike_proto::LibraryName;

use crate::failure::Failure;
use crate::settings::Settings;

/// `NAME=FOLDER`, or `FOLDER` with its own name as the library's.
///
/// # Errors
/// When no legal name can be had.
pub fn parse_library_argument(argument: &str) -> Result<(LibraryName, String), Failure> {
    if let Some((name, folder)) = argument.split_once('=')
        && let Ok(name) = LibraryName::new(name)
        && !folder.is_empty()
    {
        return Ok((name, folder.to_owned()));
    }
    if let Some((name, _)) = argument.split_once('=')
        && !Path::new(argument).exists()
    {
        return Err(Failure::usage(LibraryName::new(name).err().map_or_else(
            || format!("{argument:?} names no folder: use NAME=FOLDER"),
            |error| error.to_string(),
        )));
    }
    let folder = expand_home(argument);
    // `.` and `..` have a name only when resolved.
    let resolved = folder.canonicalize().unwrap_or(folder);
    let own = resolved
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = own.as_deref().map(to_library_name).unwrap_or_default();
    LibraryName::new(&name)
        .map(|name| (name, argument.to_owned()))
        .map_err(|_| {
            Failure::usage(format!(
                "no library name can be made of {argument:?}: use NAME=FOLDER"
            ))
        })
}

/// Lower case, and `-` for everything that can't be in a library's name.
fn to_library_name(own: &str) -> String {
    let legal = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let name: String = own.to_lowercase().chars().map(legal).collect();
    name.trim_matches('-').chars().take(64).collect()
}

/// `~` and `~/…` as a shell would, which does not see those behind `NAME=`.
pub fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), dirs::home_dir()) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(path),
    }
}

/// The libraries of the settings, or `./images`; each an existing folder, none within another.
///
/// # Errors
/// What is wrong, and what to do.
pub fn resolve_libraries(settings: &Settings) -> Result<BTreeMap<LibraryName, PathBuf>, Failure> {
    let mut wanted = settings.libraries.clone();
    if wanted.is_empty() {
        if !Path::new("images").is_dir() {
            return Err(Failure::usage(
                "there is no folder ./images here: name the folders to index, as in \
                 `lookalike up ~/Pictures`",
            ));
        }
        wanted.insert("images".into(), "images".into());
    }
    let mut libraries: BTreeMap<LibraryName, PathBuf> = BTreeMap::new();
    for (name, folder) in wanted {
        let name = LibraryName::new(&name).map_err(Failure::usage)?;
        let folder = expand_home(&folder);
        let problem = |problem: &str| {
            Failure::usage(format!("library {name}: {} {problem}", folder.display()))
        };
        let root = folder.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => problem("does not exist"),
            _ => problem(&format!("can't be opened: {error}")),
        })?;
        if !root.is_dir() {
            return Err(problem("is not a folder"));
        }
        std::fs::read_dir(&root).map_err(|error| problem(&format!("can't be read: {error}")))?;
        for (other, other_root) in &libraries {
            if root.starts_with(other_root) || other_root.starts_with(&root) {
                return Err(Failure::usage(format!(
                    "libraries {other} and {name} lie within each other ({} and {}): name only \
                     the outer one",
                    other_root.display(),
                    root.display()
                )));
            }
        }
        libraries.insert(name, root);
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_names() {
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
    fn roots_must_be_folders_beside_each_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let resolve = |pairs: &[(&str, &str)]| {
            let libraries = pairs
                .iter()
                .map(|(n, p)| ((*n).to_owned(), dir.path().join(p).display().to_string()))
                .collect();
            super::resolve_libraries(&Settings {
                libraries,
                ..Settings::default()
            })
            .map_err(|failure| failure.to_string())
        };
        assert_eq!(resolve(&[("a", "a")]).unwrap().len(), 1);
        assert!(
            resolve(&[("a", "a"), ("b", "a/b")])
                .unwrap_err()
                .contains("within each other")
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
