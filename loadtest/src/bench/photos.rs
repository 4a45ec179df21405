//! The photos of a measurement.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lookalike_chassis::stdio;

use crate::generate;

/// Extensions of files that are measured.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Largest file that is measured, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// One photo on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoFile {
    pub path: PathBuf,
    pub bytes: u64,
}

impl PhotoFile {
    pub fn read_bytes(&self) -> anyhow::Result<Vec<u8>> {
        std::fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))
    }

    /// Returns the name for a link or copy of photo `number` in a flat folder.
    pub fn flat_name(&self, number: usize) -> String {
        let extension = self.path.extension().map(|text| text.to_string_lossy());
        format!("{number:07}.{}", extension.as_deref().unwrap_or("jpg"))
    }
}

/// Returns the photos below a folder, sorted by path, without hidden files and folders.
pub fn list_photos(root: &Path) -> anyhow::Result<Vec<PhotoFile>> {
    let mut photos = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let extension = path.extension().map(|text| text.to_ascii_lowercase());
            let is_photo =
                extension.is_some_and(|text| EXTENSIONS.iter().any(|known| text == *known));
            let bytes = entry.metadata()?.len();
            if kind.is_file() && is_photo && (1..=MAX_FILE_BYTES).contains(&bytes) {
                photos.push(PhotoFile { path, bytes });
            }
        }
    }
    photos.sort_by(|a, b| a.path.cmp(&b.path));
    anyhow::ensure!(
        !photos.is_empty(),
        "{} contains no JPEG, PNG or WebP file",
        root.display()
    );
    Ok(photos)
}

/// Returns up to `count` photos: those of the chosen folder, or painted ones of 768 × 512 pixels in a
/// new folder.
pub fn provide_photos(
    chosen: Option<&Path>,
    painted: &Path,
    count: usize,
) -> anyhow::Result<Vec<PhotoFile>> {
    let mut photos = match chosen {
        Some(folder) => list_photos(folder)?,
        None => {
            stdio::eprint_line(&format!(
                "painting {count} pictures; choose a folder of photos with --photos"
            ));
            generate::paint_pictures(painted, count as u64, [768, 512], 1)?;
            list_photos(painted)?
        }
    };
    photos.truncate(count);
    Ok(photos)
}

/// Hard-links photos into a new flat folder; where that is not possible, copies them.
pub fn link_photos(photos: &[PhotoFile], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for (number, photo) in photos.iter().enumerate() {
        let to = folder.join(photo.flat_name(number));
        if std::fs::hard_link(&photo.path, &to).is_err() {
            std::fs::copy(&photo.path, &to)
                .with_context(|| format!("cannot copy to {}", to.display()))?;
        }
    }
    Ok(())
}

/// Writes photos with other bytes and the same pixels into a folder: decoders ignore what follows the
/// end of a JPEG. `mark` makes the contents of a call unique.
pub fn write_variants(
    photos: &[PhotoFile],
    folder: &Path,
    count: usize,
    mark: u64,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for (number, photo) in photos.iter().cycle().take(count).enumerate() {
        write_variant(
            photo,
            &folder.join(photo.flat_name(number)),
            mark,
            number as u64,
        )?;
    }
    Ok(())
}

/// Writes one variant under a temporary name and renames it, so that a watcher sees complete files.
pub fn write_variant(photo: &PhotoFile, to: &Path, mark: u64, number: u64) -> anyhow::Result<()> {
    let mut bytes = photo.read_bytes()?;
    bytes.extend(format!("variant {mark} {number}").bytes());
    let partial = to.with_extension("part");
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::fs;

    #[test]
    fn photos_are_listed_linked_and_varied() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("photos");
        for (path, content) in [
            ("b/2.JPG", "two"),
            ("a.png", "one"),
            ("notes.txt", "x"),
            (".git/3.jpg", "x"),
            ("empty.jpg", ""),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let photos = list_photos(&root).unwrap();
        let names: Vec<_> = photos
            .iter()
            .map(|photo| photo.path.strip_prefix(&root).unwrap())
            .collect();
        assert_eq!(names, [Path::new("a.png"), Path::new("b/2.JPG")]);

        let linked = dir.path().join("linked");
        link_photos(&photos, &linked).unwrap();
        assert_eq!(fs::read(linked.join("0000001.JPG")).unwrap(), b"two");

        let varied = dir.path().join("varied");
        write_variants(&photos, &varied, 5, 7).unwrap();
        let contents: HashSet<_> = list_photos(&varied)
            .unwrap()
            .iter()
            .map(|photo| photo.read_bytes().unwrap())
            .collect();
        assert_eq!(contents.len(), 5);
        assert!(contents.iter().any(|bytes| bytes.starts_with(b"two")));

        let none = list_photos(&root.join(".git")).unwrap();
        assert_eq!(none.len(), 1, "a hidden root is what the user chose");
        fs::create_dir(dir.path().join("empty")).unwrap();
        let error = list_photos(&dir.path().join("empty"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("contains no JPEG"), "{error}");
    }
}
