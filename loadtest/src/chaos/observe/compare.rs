//! Compares the index with the folders: hashes every file, reads every row and every listed file
//! through the API, and reports the differences.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::chaos::observe::probe::ProbeClient;
use crate::chaos::plan::content::TestContent;
use crate::chaos::plan::folder_model::{FolderModel, name_of};
use crate::chaos::plan::operations::LIBRARIES;
use crate::chaos::system::folders;
use crate::product::rest;

const PAGE_SIZE: u32 = 1000;

/// What the index must contain once nothing is in flight.
#[derive(Debug, Default)]
pub struct ExpectedIndex {
    /// Path, library first, and content hash of every picture.
    rows: BTreeSet<(String, String)>,
    /// State that every other file must be listed with, by path.
    listed: BTreeMap<String, &'static str>,
}

impl ExpectedIndex {
    /// Reads the disk. Fails if it differs from the model, because the run proves nothing then.
    pub fn read_from_disk(folder: &Path, tree: &FolderModel) -> anyhow::Result<Self> {
        let mut expected = Self::default();
        let mut hashes = folders::hash_files(folder)?;
        for (path, content) in tree.files() {
            let hash = hashes
                .remove(path)
                .with_context(|| format!("{path} is missing on disk"))?;
            match expected_state(path, content) {
                "indexed" => {
                    expected.rows.insert((path.to_owned(), hash));
                }
                state => {
                    expected.listed.insert(path.to_owned(), state);
                }
            }
        }
        anyhow::ensure!(hashes.is_empty(), "unexpected files on disk: {hashes:?}");
        Ok(expected)
    }

    pub fn file_count(&self) -> usize {
        self.rows.len() + self.listed.len()
    }

    /// Returns how many files must be rows.
    pub fn picture_count(&self) -> usize {
        self.rows.len()
    }
}

/// Returns the state that a file must end in.
fn expected_state(path: &str, content: TestContent) -> &'static str {
    let file_name = name_of(path);
    let is_picture_name = file_name.to_ascii_lowercase().ends_with(".jpg");
    match content {
        _ if file_name.starts_with('.') || !is_picture_name => "ignored",
        TestContent::Picture { .. } => "indexed",
        _ => "failed",
    }
}

/// Checks that the system reports nothing in flight and as many files as expected; the error says why not.
pub fn check_at_rest(stats: &Value, expected: &ExpectedIndex) -> Result<(), String> {
    rest::check_at_rest(stats, LIBRARIES.len(), expected.file_count() as u64)
}

/// Returns the differences between index and folders. Fails if the service is unreachable.
pub async fn find_differences(
    probe: &ProbeClient,
    expected: &ExpectedIndex,
) -> Result<Vec<String>, String> {
    let mut differences = Vec::new();
    let mut rows = BTreeSet::new();
    let mut paths = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for row in read_all_pages(probe, "/v1/images", "images").await? {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let path = format!("{}/{}", text("library"), text("path"));
        if !ids.insert(text("id")) {
            differences.push(format!("two rows have the id {}", text("id")));
        }
        if let Some(other) = paths.insert(path.clone(), text("id")) {
            differences.push(format!("{path} has two rows: {other} and {}", text("id")));
        }
        rows.insert((path, text("content_hash")));
    }
    let mut listed = BTreeMap::new();
    for file in read_all_pages(probe, "/v1/failures?ignored=true", "failures").await? {
        let text = |key: &str| file[key].as_str().unwrap_or_default().to_owned();
        let path = format!("{}/{}", text("library"), text("path"));
        if text("code").is_empty() || text("detail").is_empty() {
            differences.push(format!("{path} is listed without a reason"));
        }
        listed.insert(path, (text("state"), text("code")));
    }
    for (path, hash) in expected.rows.difference(&rows) {
        let other = rows
            .iter()
            .find(|(there, _)| there == path)
            .map(|(_, hash)| hash);
        let why = match (other, listed.get(path)) {
            (Some(other), _) => format!("its row has the content {other}"),
            (None, Some((state, code))) => format!("listed as {state}: {code}"),
            (None, None) => "it has no row and is not listed".to_owned(),
        };
        differences.push(format!("missing: {path} with {hash}; {why}"));
    }
    let expected_paths: BTreeSet<&String> = expected.rows.iter().map(|(path, _)| path).collect();
    for (path, hash) in rows.difference(&expected.rows) {
        if !expected_paths.contains(path) {
            differences.push(format!("unexpected row: {path} with {hash}"));
        }
    }
    for (path, state) in &expected.listed {
        match listed.get(path) {
            Some((is, _)) if is == state => {}
            other => differences.push(format!("{path} must be {state}, but is {other:?}")),
        }
    }
    for (path, listing) in &listed {
        if !expected.listed.contains_key(path) && !expected_paths.contains(path) {
            differences.push(format!("listed but not on disk: {path}, {listing:?}"));
        }
    }
    Ok(differences)
}

async fn read_all_pages(probe: &ProbeClient, path: &str, key: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut page = format!("{path}{mark}limit={PAGE_SIZE}");
        if let Some(cursor) = &cursor {
            page = format!("{page}&cursor={cursor}");
        }
        let response = probe
            .get_path(&page)
            .await
            .ok_or("the service is unreachable")?;
        if response.status != 200 {
            return Err(format!("{path}: {} {}", response.status, response.body));
        }
        let rows = response.body[key].as_array().ok_or("no list")?;
        all.extend(rows.iter().cloned());
        match response.body["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_decide_together() {
        let picture = TestContent::Picture { base: 0, number: 0 };
        assert_eq!(expected_state("first/a/x-1.JPG", picture), "indexed");
        assert_eq!(expected_state("first/a/.x-1.jpg", picture), "ignored");
        assert_eq!(expected_state("first/a/x-1.txt", picture), "ignored");
        assert_eq!(expected_state("first/x.jpg", TestContent::Empty), "failed");
    }
}
