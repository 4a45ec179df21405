//! Assertions about a world's folders and its index, read from outside.
//!
//! Whenever counts are read, they must add up; whenever rows are read, no id and no path may occur
//! twice.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lookalike_index::{Index, IndexedImage, ModelIdentity, ReadConsistency, RowFilter};
use lookalike_proto::path_to_text;
use lookalike_vision::{Limits, Model};
use serde_json::Value;

use super::world::SETTLE_TIMEOUT;
use super::{SystemWorld, eventually};

/// Most images that one request lists.
const MAX_LISTED: u64 = 1000;

/// A library's name and a path below its root.
type LibraryFile = (String, String);

/// Lists everything below a folder except folders, including links; skips hidden folders.
fn entries_below(folder: &Path) -> Vec<PathBuf> {
    let mut entries = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // The folder may be removed meanwhile.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !is_hidden => folders.push(entry.path()),
                Ok(kind) if !kind.is_dir() => entries.push(entry.path()),
                _ => {}
            }
        }
    }
    entries
}

impl SystemWorld {
    fn model_identity() -> ModelIdentity {
        let description = Model::load_description("lookalike-mini").unwrap();
        ModelIdentity {
            name: description.name.clone(),
            dimension: description.dimension,
            checksum: description.checksum.clone(),
            preprocessing: description.fingerprint(),
        }
    }

    /// Connects to the index directly, without the product's service and without a proxy.
    pub async fn open_index(&self) -> Index {
        eventually("Milvus is reachable", SETTLE_TIMEOUT, || {
            self.try_open_index()
        })
        .await
    }

    async fn try_open_index(&self) -> Result<Index, String> {
        let settings = lookalike_index::Settings {
            url: self.direct_milvus_url(),
            namespace: self.namespace.clone(),
            ..Default::default()
        };
        let opened = Index::open(&settings, &Self::model_identity()).await;
        opened.map_err(|e| e.to_string())
    }

    /// Returns the counts, which must add up, or an error message.
    pub async fn try_stats(&self) -> Result<Value, String> {
        let stats = self.try_get("/v1/stats").await?;
        let adds_up = |counts: &Value| {
            if counts["on_disk"].is_null() {
                let all = ["indexed", "failed", "ignored", "in_flight"];
                let are_unknown = all.into_iter().all(|key| counts[key].is_null());
                assert!(are_unknown, "only some counts are unknown: {stats}");
                return;
            }
            let count = |key: &str| counts[key].as_u64().unwrap();
            assert_eq!(
                count("on_disk"),
                count("indexed") + count("failed") + count("ignored") + count("in_flight"),
                "the counts don't add up: {stats}"
            );
        };
        adds_up(&stats);
        stats["libraries"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(adds_up);
        Ok(stats)
    }

    /// Waits until the counts meet a condition.
    pub async fn wait_for_stats(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SETTLE_TIMEOUT, || async {
            let stats = self.try_stats().await?;
            if condition(&stats) {
                Ok(stats)
            } else {
                Err(stats.to_string())
            }
        })
        .await
    }

    /// Waits until every file in the folders has an outcome, nothing is in progress, and the service
    /// lists what is indexed: Milvus shows a row a moment after it was written.
    pub async fn wait_until_settled(&self) -> Value {
        eventually("every file has an outcome", SETTLE_TIMEOUT, || {
            self.try_settled()
        })
        .await
    }

    async fn try_settled(&self) -> Result<Value, String> {
        let stats = self.try_stats().await?;
        let libraries = stats["libraries"].as_array().unwrap();
        for (name, root) in &self.libraries {
            let on_disk = entries_below(root).len() as u64;
            let library = libraries.iter().find(|library| library["name"] == **name);
            let library = library.ok_or_else(|| format!("{name} is not reported: {stats}"))?;
            let rests = library["on_disk"] == on_disk
                && library["in_flight"] == 0
                && library["scanning"] == false;
            if !rests {
                return Err(format!("{name} has {on_disk} files, and {library}"));
            }
        }
        let indexed = stats["indexed"].as_u64().unwrap_or_default();
        let images = self
            .try_get(&format!("/v1/images?limit={MAX_LISTED}"))
            .await?;
        let listed = images["images"].as_array().unwrap().len() as u64;
        if listed < indexed.min(MAX_LISTED) {
            return Err(format!("{listed} images are listed, and {stats}"));
        }
        Ok(stats)
    }

    /// Returns every row by id.
    pub async fn read_rows(&self) -> BTreeMap<String, IndexedImage> {
        let index = self.open_index().await;
        eventually("the rows can be read", SETTLE_TIMEOUT, || {
            self.try_read_rows(&index)
        })
        .await
    }

    /// Returns every row by id, or an error message if they cannot be read now or a row is duplicate.
    pub async fn try_read_rows(
        &self,
        index: &Index,
    ) -> Result<BTreeMap<String, IndexedImage>, String> {
        let listed = index
            .list_images(&RowFilter::All, None, usize::MAX, ReadConsistency::Strong)
            .await
            .map_err(|e| e.to_string())?;
        // The list omits duplicate rows, Milvus' count includes them.
        let counted = index.approximate_count(&RowFilter::All).await;
        let counted = counted.map_err(|e| e.to_string())?;
        if counted != listed.len() as u64 {
            return Err(format!(
                "{} images, and Milvus counts {counted} rows",
                listed.len()
            ));
        }
        let mut rows = BTreeMap::new();
        for image in listed {
            let id = image.id.clone();
            assert!(rows.insert(id, image).is_none(), "an id twice");
        }
        Ok(rows)
    }

    /// Returns the files that are listed with a reason, and the reasons' codes.
    pub async fn try_failures(&self) -> Result<BTreeMap<LibraryFile, String>, String> {
        let mut reasons = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let page = format!("/v1/failures?limit=1000&ignored=true{cursor}");
            let page = self.try_get(&page).await?;
            for failure in page["failures"].as_array().unwrap() {
                let text = |key: &str| failure[key].as_str().unwrap().to_owned();
                assert!(!text("code").is_empty(), "without a reason: {failure}");
                let place = (text("library"), text("path"));
                reasons.insert(place, text("code"));
            }
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(reasons),
            }
        }
    }

    /// Asserts guarantee 1: the rows match the folders' pictures in path and content, and every other file
    /// is listed with a reason, but no readable picture is. Waits until the last change is processed.
    pub async fn assert_index_equals_folder(&self) {
        let index = self.open_index().await;
        eventually("the index equals the folder", SETTLE_TIMEOUT, || async {
            let stats = self.try_settled().await?;
            let reasons = self.try_failures().await?;
            let listed = stats["failed"].as_u64().unwrap() + stats["ignored"].as_u64().unwrap();
            if listed != reasons.len() as u64 {
                return Err(format!("{} reasons, and {stats}", reasons.len()));
            }
            let mut expected = BTreeSet::new();
            for (name, root) in &self.libraries {
                for file in entries_below(root) {
                    let path = file.strip_prefix(root).unwrap().as_os_str().as_bytes();
                    let place = (name.clone(), path_to_text(path).into_owned());
                    let bytes = std::fs::read(&file);
                    if let Some(code) = reasons.get(&place) {
                        check_reason(&place, code, bytes);
                        continue;
                    }
                    let hash = blake3::hash(&bytes.map_err(|e| e.to_string())?).to_string();
                    expected.insert((place, hash));
                }
            }
            let rows = self.try_read_rows(&index).await?;
            let actual: BTreeSet<_> = rows
                .values()
                .map(|row| {
                    let place = (row.library.clone(), row.path.clone());
                    (place, row.content_hash.clone())
                })
                .collect();
            if actual == expected && rows.len() == expected.len() {
                return Ok(());
            }
            let missing: Vec<_> = expected.difference(&actual).take(5).collect();
            let extra: Vec<_> = actual.difference(&expected).take(5).collect();
            Err(format!(
                "missing {missing:?}, too many {extra:?}, {} rows",
                rows.len()
            ))
        })
        .await;
    }

    /// Returns the row at a path of the library `photos`.
    pub async fn read_row_at(&self, path: &str) -> IndexedImage {
        let rows = self.read_rows().await;
        rows.into_values()
            .find(|row| row.path == path && row.library == "photos")
            .unwrap_or_else(|| panic!("no row at {path}"))
    }
}

/// Asserts that a decoder's reason is true: the file cannot be decoded.
fn check_reason(place: &LibraryFile, code: &str, bytes: std::io::Result<Vec<u8>>) {
    if let Ok(bytes) = bytes
        && code != "too_large"
        && lookalike_vision::CODES.contains(&code)
    {
        let decoded = lookalike_vision::decode_image(&bytes, 64, &Limits::default());
        assert!(
            decoded.is_err(),
            "{place:?} is a picture, and listed as {code}"
        );
    }
}
