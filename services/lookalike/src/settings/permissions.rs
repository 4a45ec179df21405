//! What the API may do with the files of each library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use lookalike_client::usage_error;
use lookalike_proto::LibraryName;
use lookalike_search::LibraryPermissions;

use super::schema::Settings;
use crate::libraries::{expand_home, refuse_watched_folder};

/// Stands for every library.
const ALL_LIBRARIES: &str = "all";

/// The folder of deleted pictures, in the data folder.
const TRASH_FOLDER: &str = "trash";

impl Settings {
    /// Combines the tables of the libraries with `uploads.allow` and `uploads.allow_deletions`.
    pub fn library_permissions(
        &self,
        libraries: &BTreeMap<LibraryName, PathBuf>,
    ) -> BTreeMap<LibraryName, LibraryPermissions> {
        let (allow, allow_deletions) = (&self.uploads.allow, &self.uploads.allow_deletions);
        let permissions = libraries.keys().map(|name| {
            let table = self.libraries.get(name.as_str());
            let permissions = LibraryPermissions {
                uploads: lists(allow, name) || table.is_some_and(|table| table.uploads),
                deletions: lists(allow_deletions, name)
                    || table.is_some_and(|table| table.deletions),
            };
            (name.clone(), permissions)
        });
        permissions.collect()
    }

    /// Checks the names of libraries in the section `uploads`, and resolves the path of the trash
    /// folder, which must not be watched if the API may delete.
    pub fn prepare_uploads(&mut self, libraries: &BTreeMap<LibraryName, PathBuf>) -> Result<()> {
        for (setting, flag, names) in [
            ("uploads.allow", "--allow-uploads", &self.uploads.allow),
            (
                "uploads.allow_deletions",
                "--allow-deletions",
                &self.uploads.allow_deletions,
            ),
        ] {
            check_names(setting, flag, names, libraries)?;
        }
        let permissions = self.library_permissions(libraries);
        if !permissions
            .values()
            .any(|permissions| permissions.deletions)
        {
            return Ok(());
        }
        let trash_dir = self.trash_dir()?;
        refuse_watched_trash(libraries, &trash_dir)?;
        self.uploads.trash_dir = path_to_setting(&trash_dir)?;
        Ok(())
    }

    /// Returns the absolute path of the trash folder.
    ///
    /// # Errors
    /// If neither it nor a data folder is known.
    pub fn trash_dir(&self) -> Result<PathBuf> {
        let folder = match self.uploads.trash_dir.as_str() {
            "" => self.data_dir()?.join(TRASH_FOLDER),
            folder => expand_home(folder),
        };
        Ok(std::path::absolute(&folder).unwrap_or(folder))
    }
}

/// Refuses a trash folder that is watched, or whose folder for a library is.
pub(crate) fn refuse_watched_trash(
    libraries: &BTreeMap<LibraryName, PathBuf>,
    trash_dir: &Path,
) -> Result<()> {
    let folders = libraries.keys().map(|name| trash_dir.join(name.as_str()));
    std::iter::once(trash_dir.to_owned())
        .chain(folders)
        .try_for_each(|folder| refuse_watched_folder(libraries, "uploads.trash_dir", &folder))
}

fn lists(names: &[String], library: &LibraryName) -> bool {
    let is_listed = |name: &String| name == ALL_LIBRARIES || name == library.as_str();
    names.iter().any(is_listed)
}

fn check_names(
    setting: &str,
    flag: &str,
    names: &[String],
    libraries: &BTreeMap<LibraryName, PathBuf>,
) -> Result<()> {
    let is_known = |name: &str| libraries.keys().any(|library| library.as_str() == name);
    let unknown = names
        .iter()
        .find(|name| *name != ALL_LIBRARIES && !is_known(name));
    let Some(unknown) = unknown else {
        return Ok(());
    };
    let known: Vec<&str> = libraries.keys().map(LibraryName::as_str).collect();
    Err(usage_error(anyhow!(
        "{setting} ({flag}) names the library {unknown:?}, which does not exist; the libraries are \
         {}, and {ALL_LIBRARIES} means all of them",
        known.join(", ")
    )))
}

fn path_to_setting(path: &Path) -> Result<String> {
    let text = path.to_str();
    text.map(str::to_owned).ok_or_else(|| {
        usage_error(anyhow!(
            "the path of the trash folder is not UTF-8: {}; choose another folder with \
             uploads.trash_dir",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::library::LibraryEntry;

    fn libraries() -> BTreeMap<LibraryName, PathBuf> {
        ["shop", "home"]
            .map(|name| {
                (
                    LibraryName::new(name).unwrap(),
                    PathBuf::from("/none").join(name),
                )
            })
            .into()
    }

    #[test]
    fn lists_and_tables_permit() {
        let mut settings = Settings::default();
        let permitted = |settings: &Settings| {
            let permissions = settings.library_permissions(&libraries());
            ["home", "shop"].map(|name| {
                let permissions = permissions[&LibraryName::new(name).unwrap()];
                (permissions.uploads, permissions.deletions)
            })
        };
        assert_eq!(permitted(&settings), [(false, false); 2]);
        settings.uploads.allow = vec!["shop".into()];
        let entry = LibraryEntry {
            deletions: true,
            ..LibraryEntry::default()
        };
        settings.libraries.insert("home".into(), entry);
        assert_eq!(permitted(&settings), [(false, true), (true, false)]);
        settings.uploads.allow = vec!["all".into()];
        assert_eq!(permitted(&settings), [(true, true), (true, false)]);
        settings.uploads.allow_deletions = vec!["shpo".into()];
        let error = settings
            .prepare_uploads(&libraries())
            .unwrap_err()
            .to_string();
        for word in ["--allow-deletions", "shpo", "home, shop"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_trash_is_outside_of_all_libraries() {
        let mut settings = Settings {
            data_dir: "/none/data".into(),
            ..Settings::default()
        };
        settings.prepare_uploads(&libraries()).unwrap();
        assert_eq!(settings.uploads.trash_dir, "", "it is not used");
        settings.uploads.allow_deletions = vec!["all".into()];
        settings.prepare_uploads(&libraries()).unwrap();
        assert_eq!(settings.uploads.trash_dir, "/none/data/trash");
        for inside in ["/none/shop/trash", "/none"] {
            settings.uploads.trash_dir = inside.into();
            let error = settings.prepare_uploads(&libraries()).unwrap_err();
            assert!(error.to_string().contains("uploads.trash_dir"), "{error}");
        }
    }
}
