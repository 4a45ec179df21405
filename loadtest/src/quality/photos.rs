//! The class folders on disk, and the class of every picture in the index.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;

/// Limit of measured pictures: all their names are kept in memory.
pub const MAX_PHOTOS: usize = 200_000;

/// Number of files below the root, in total and by class.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClassFolders {
    /// Regular files at any depth, without hidden folders, which lookalike does not watch either.
    pub files: u64,
    /// Files by the first folder below the root.
    pub by_class: BTreeMap<String, u64>,
}

impl ClassFolders {
    /// Counts the files. Fails if fewer than two class folders contain files.
    pub fn count_files(root: &Path) -> anyhow::Result<Self> {
        let mut counts = Self::default();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder);
            for entry in entries.with_context(|| folder.display().to_string())? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                        folders.push(entry.path());
                    }
                } else if kind.is_file() {
                    counts.files += 1;
                    let path = entry.path();
                    let relative = path.strip_prefix(root)?.to_string_lossy();
                    if let Some(class) = class_of_path(&relative) {
                        *counts.by_class.entry(class.to_owned()).or_default() += 1;
                    }
                }
            }
        }
        anyhow::ensure!(
            counts.by_class.len() >= 2,
            "{} contains {}; put the pictures of each kind into a subfolder of their own",
            root.display(),
            match counts.by_class.len() {
                0 => "no class folders",
                _ => "only one class folder",
            }
        );
        Ok(counts)
    }
}

/// Returns the first folder of a path below the root.
fn class_of_path(path: &str) -> Option<&str> {
    let (class, _) = path.split_once('/')?;
    (!class.starts_with('.')).then_some(class)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    pub id: String,
    /// Path below the root.
    pub path: String,
    pub content_hash: String,
    /// Index of the class; `None` for pictures outside class folders.
    pub class: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Photos {
    /// Sorted by path.
    pub all: Vec<Photo>,
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// Number of pictures in each class.
    pub class_sizes: Vec<usize>,
    by_id: HashMap<String, usize>,
}

impl Photos {
    /// `rows` are ids, paths and content hashes.
    pub fn new(mut rows: Vec<[String; 3]>) -> Self {
        rows.sort_by(|[_, a, _], [_, b, _]| a.cmp(b));
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for class in rows.iter().filter_map(|[_, path, _]| class_of_path(path)) {
            *sizes.entry(class.to_owned()).or_default() += 1;
        }
        let (classes, class_sizes): (Vec<String>, Vec<usize>) = sizes.into_iter().unzip();
        let number = |path: &str| {
            let class = class_of_path(path)?;
            classes.binary_search_by(|name| name[..].cmp(class)).ok()
        };
        let photo = |[id, path, content_hash]: [String; 3]| Photo {
            id,
            class: number(&path),
            path,
            content_hash,
        };
        let all: Vec<Photo> = rows.into_iter().map(photo).collect();
        let ids = all.iter().map(|photo| photo.id.clone());
        let by_id = ids.zip(0..).collect();
        Self {
            all,
            classes,
            class_sizes,
            by_id,
        }
    }

    /// Returns the index of the picture with this id.
    pub fn find_by_id(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub fn class_name(&self, photo: usize) -> &str {
        let class = self.all[photo].class;
        class.map_or("no class", |class| &self.classes[class][..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_class_is_the_first_folder() {
        let row = |path: &str| [format!("id of {path}"), path.to_owned(), String::new()];
        let photos = Photos::new(vec![row("b/x/1.jpg"), row("top.jpg"), row("a/2.jpg")]);
        assert_eq!(photos.classes, ["a", "b"]);
        assert_eq!(photos.class_sizes, [1, 1]);
        let class = |path: &str| {
            let photo = photos.find_by_id(&format!("id of {path}")).unwrap();
            photos.class_name(photo)
        };
        assert_eq!(class("b/x/1.jpg"), "b");
        assert_eq!(class("a/2.jpg"), "a");
        assert_eq!(class("top.jpg"), "no class");
        assert_eq!(photos.find_by_id("unknown"), None);
    }

    #[test]
    fn class_folders_are_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let read = || ClassFolders::count_files(root.path());
        fs::write(root.path().join("1.jpg"), "x").unwrap();
        fs::create_dir_all(root.path().join(".git")).unwrap();
        fs::write(root.path().join(".git/2.jpg"), "x").unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("no class folders"), "{error}");
        for class in ["a", "b"] {
            fs::create_dir_all(root.path().join(class).join("deep")).unwrap();
        }
        fs::write(root.path().join("a/deep/1.jpg"), "x").unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("only one class folder"), "{error}");
        fs::write(root.path().join("b/1.jpg"), "x").unwrap();
        let counts = read().unwrap();
        assert_eq!(counts.files, 3);
        assert_eq!(counts.by_class, [("a".into(), 1), ("b".into(), 1)].into());
    }
}
