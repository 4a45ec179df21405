//! The proof: walks the folders, hashes every file, reads every row and every listed file through
//! the API, and says where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::content::Content;
use super::disk;
use super::looks::Looks;
use super::operations::LIBRARIES;
use super::tree::{Tree, name};
use crate::product::rest;

/// How many rows or files one page holds.
const PAGE: u32 = 1000;

/// What the index must hold at rest.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Path (library first) and content hash of every picture.
    rows: BTreeSet<(String, String)>,
    /// Every other file, with the state that it must be listed with.
    listed: BTreeMap<String, &'static str>,
}

impl Wanted {
    /// Reads the disk, which must be as the model says.
    ///
    /// # Errors
    /// When it is not, or can't be read: the run proves nothing then.
    pub fn read(folder: &Path, tree: &Tree) -> anyhow::Result<Self> {
        let mut wanted = Self::default();
        let mut hashes = disk::hashes(folder)?;
        for (path, content) in tree.files() {
            let hash = hashes
                .remove(path)
                .with_context(|| format!("{path} should be on the disk"))?;
            match state(path, content) {
                "indexed" => {
                    wanted.rows.insert((path.to_owned(), hash));
                }
                state => {
                    wanted.listed.insert(path.to_owned(), state);
                }
            }
        }
        anyhow::ensure!(hashes.is_empty(), "nobody put these there: {hashes:?}");
        Ok(wanted)
    }

    /// Files in all.
    pub fn files(&self) -> usize {
        self.rows.len() + self.listed.len()
    }

    /// Files that must be rows.
    pub fn pictures(&self) -> usize {
        self.rows.len()
    }
}

/// What must become of a file.
fn state(path: &str, content: Content) -> &'static str {
    let own = name(path);
    let is_picture_name = own.to_ascii_lowercase().ends_with(".jpg");
    match content {
        _ if own.starts_with('.') || !is_picture_name => "ignored",
        Content::Picture { .. } => "indexed",
        _ => "failed",
    }
}

/// Whether the system says that nothing is under way, and that it has seen as many files as there
/// are; else why not.
pub fn at_rest(stats: &Value, wanted: &Wanted) -> Result<(), String> {
    rest::at_rest(stats, LIBRARIES.len(), wanted.files() as u64)
}

/// Where the index and the folders differ; nothing when they don't.
///
/// # Errors
/// When the service does not answer now.
pub async fn differences(looks: &Looks, wanted: &Wanted) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rows = BTreeSet::new();
    let mut paths = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for row in pages(looks, "/v1/images", "images").await? {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let path = format!("{}/{}", text("library"), text("path"));
        if !ids.insert(text("id")) {
            found.push(format!("two rows have the id {}", text("id")));
        }
        if let Some(other) = paths.insert(path.clone(), text("id")) {
            found.push(format!("{path} has two rows: {other} and {}", text("id")));
        }
        rows.insert((path, text("content_hash")));
    }
    let mut listed = BTreeMap::new();
    for file in pages(looks, "/v1/failures?ignored=true", "failures").await? {
        let text = |key: &str| file[key].as_str().unwrap_or_default().to_owned();
        let path = format!("{}/{}", text("library"), text("path"));
        if text("code").is_empty() || text("detail").is_empty() {
            found.push(format!("{path} is listed without a reason"));
        }
        listed.insert(path, (text("state"), text("code")));
    }
    for (path, hash) in wanted.rows.difference(&rows) {
        let other = rows
            .iter()
            .find(|(there, _)| there == path)
            .map(|(_, hash)| hash);
        let why = match (other, listed.get(path)) {
            (Some(other), _) => format!("its row is of the content {other}"),
            (None, Some((state, code))) => format!("listed as {state}: {code}"),
            (None, None) => "neither a row nor listed".to_owned(),
        };
        found.push(format!("missing: {path} with {hash}; {why}"));
    }
    let there: BTreeSet<&String> = wanted.rows.iter().map(|(path, _)| path).collect();
    for (path, hash) in rows.difference(&wanted.rows) {
        if !there.contains(path) {
            found.push(format!("too many: {path} with {hash}"));
        }
    }
    for (path, state) in &wanted.listed {
        match listed.get(path) {
            Some((is, _)) if is == state => {}
            other => found.push(format!("{path} must be {state}, and is {other:?}")),
        }
    }
    for (path, listing) in &listed {
        if !wanted.listed.contains_key(path) && !there.contains(path) {
            found.push(format!("listed and not on disk: {path}, {listing:?}"));
        }
    }
    Ok(found)
}

async fn pages(looks: &Looks, path: &str, key: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut page = format!("{path}{mark}limit={PAGE}");
        if let Some(cursor) = &cursor {
            page = format!("{page}&cursor={cursor}");
        }
        let answer = looks
            .get(&page)
            .await
            .ok_or("the service does not answer")?;
        if answer.status != 200 {
            return Err(format!("{path}: {} {}", answer.status, answer.body));
        }
        let rows = answer.body[key].as_array().ok_or("no list")?;
        all.extend(rows.iter().cloned());
        match answer.body["cursor"].as_str() {
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
        let picture = Content::Picture { base: 0, number: 0 };
        assert_eq!(state("first/a/x-1.JPG", picture), "indexed");
        assert_eq!(state("first/a/.x-1.jpg", picture), "ignored");
        assert_eq!(state("first/a/x-1.txt", picture), "ignored");
        assert_eq!(state("first/x.jpg", Content::Empty), "failed");
    }
}
