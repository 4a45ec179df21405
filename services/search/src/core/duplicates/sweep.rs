//! Reads the contents of the index in the order of their hashes, with the images of each.

use lookalike_index::{ContentKey, ContentRange, RowFilter};

use crate::core::visible::index::VisibleIndex;
use crate::problem::Problem;

/// Images that a range should contain.
const PART_IMAGES: u64 = 2000;
/// Images of a range that are read at most. A range with more is halved.
const MAX_PART_IMAGES: usize = 20_000;

/// A content with its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedContent {
    pub hash: String,
    /// Sorted.
    pub ids: Vec<String>,
}

/// All contents of a range, sorted by their hashes.
pub(super) struct ContentPart {
    pub contents: Vec<SharedContent>,
}

/// Reads range after range.
pub(super) struct ContentSweep<'a> {
    index: &'a VisibleIndex,
    filter: &'a RowFilter,
    /// Contents up to this hash, or start of a hash, were read; `None` at the end.
    after: Option<String>,
    /// Width of the next range, in the numbers of 16 hexadecimal digits.
    width: u64,
}

impl<'a> ContentSweep<'a> {
    /// Starts after a hash or the start of one; at the first content if it is empty.
    pub(super) async fn start(
        index: &'a VisibleIndex,
        filter: &'a RowFilter,
        after: String,
    ) -> Result<Self, Problem> {
        let images = index.approximate_count(filter).await?;
        Ok(Self {
            index,
            filter,
            after: Some(after),
            width: u64::MAX / (images / PART_IMAGES).max(1),
        })
    }

    /// Returns the contents of the next range that has any; `None` at the end.
    pub(super) async fn read_part(&mut self) -> Result<Option<ContentPart>, Problem> {
        while let Some(after) = self.after.clone() {
            let range = range_after(&after, self.width);
            let read = self
                .index
                .read_content_keys(self.filter, &range, MAX_PART_IMAGES)
                .await?;
            // The narrowest range has one content, or the start of its hash in common.
            if !read.is_complete && self.width > 1 {
                self.width /= 2;
                continue;
            }
            if (read.keys.len() as u64) < PART_IMAGES / 2 {
                self.width = self.width.saturating_mul(2);
            }
            self.after = range.before;
            if !read.keys.is_empty() {
                let contents = group_by_content(read.keys);
                return Ok(Some(ContentPart { contents }));
            }
        }
        Ok(None)
    }
}

/// Returns the range after a hash or the start of one, whose first 16 digits grow by at most `width`.
fn range_after(after: &str, width: u64) -> ContentRange {
    let digits = &after[..after.len().min(16)];
    let number = u64::from_str_radix(&format!("{digits:0<16}"), 16).unwrap_or(0);
    let end = number.checked_add(width.max(1));
    ContentRange {
        after: after.to_owned(),
        before: end.map(|end| format!("{end:016x}")),
    }
}

/// Groups sorted keys.
fn group_by_content(keys: Vec<ContentKey>) -> Vec<SharedContent> {
    let mut contents: Vec<SharedContent> = Vec::new();
    for key in keys {
        match contents.last_mut() {
            Some(last) if last.hash == key.content_hash => last.ids.push(key.id),
            _ => contents.push(SharedContent {
                hash: key.content_hash,
                ids: vec![key.id],
            }),
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_each_other() {
        let range = |after: &str, width: u64| {
            let range = range_after(after, width);
            (range.after, range.before)
        };
        assert_eq!(range("", u64::MAX), (String::new(), Some("f".repeat(16))));
        assert_eq!(range(&"f".repeat(16), u64::MAX), ("f".repeat(16), None));
        assert_eq!(range(&"f".repeat(64), 1), ("f".repeat(64), None));
        let hash = format!("00000000000000ff{}", "e".repeat(48));
        assert_eq!(range(&hash, 1), (hash, Some("0000000000000100".into())));
        assert_eq!(
            range("0000000000000100", 16),
            ("0000000000000100".into(), Some("0000000000000110".into()))
        );
    }

    #[test]
    fn images_of_one_content_are_together() {
        let key = |content_hash: &str, id: &str| ContentKey {
            content_hash: content_hash.into(),
            id: id.into(),
        };
        let contents = group_by_content(vec![key("a", "1"), key("a", "2"), key("b", "0")]);
        let found: Vec<(&str, usize)> = contents
            .iter()
            .map(|content| (content.hash.as_str(), content.ids.len()))
            .collect();
        assert_eq!(found, [("a", 2), ("b", 1)]);
        assert!(group_by_content(vec![]).is_empty());
    }
}
