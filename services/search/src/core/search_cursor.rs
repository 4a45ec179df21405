//! Cursors of searches: where the next page begins.
//!
//! A cursor contains all that a page needs from those before it, so any search service can answer the
//! next page. It is not secret, and a checksum detects only damage: a client that writes a cursor
//! itself skips only hits of its own search.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lookalike_proto::ContentHash;

use super::seen_ids::SeenIds;
use crate::problem::Problem;

/// Longer than any cursor.
pub(crate) const MAX_CURSOR_CHARACTERS: usize = 40_000;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
const IS_EXACT: u8 = 1;
const HAS_BEST_SCORE: u8 = 2;

/// Identifies the query and the model of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SearchDigest {
    pub query: u64,
    pub model: u64,
}

impl SearchDigest {
    /// Digests descriptions of the query and of the model.
    pub(crate) fn new(query: &str, model: &str) -> Self {
        let [query, model] = [query, model].map(digest_text);
        Self { query, model }
    }
}

fn digest_text(text: &str) -> u64 {
    super::seen_ids::hash_id(text)
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SearchCursor {
    pub digest: SearchDigest,
    /// The number of hits that the search of the first page asked the index for.
    pub first_window: usize,
    /// The number of the window in which the next page begins.
    pub stage: usize,
    /// Whether all pages so far were found in the same ranking.
    pub is_exact: bool,
    /// The number of hits of all pages so far, and the sum of the hashes of their ids.
    pub returned: usize,
    pub id_sum: u64,
    /// The best score of the search, if it has a relative limit.
    pub best_score: Option<f32>,
    /// All images of the pages so far, also folded ones.
    pub seen: SeenIds,
}

impl SearchCursor {
    /// Creates the cursor of the first page.
    pub(crate) fn new(digest: SearchDigest, first_window: usize, best_score: Option<f32>) -> Self {
        Self {
            digest,
            first_window,
            stage: 0,
            is_exact: true,
            returned: 0,
            id_sum: 0,
            best_score,
            seen: SeenIds::default(),
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut bytes = vec![0; CHECKSUM_BYTES];
        let flags = if self.is_exact { IS_EXACT } else { 0 }
            | if self.best_score.is_some() {
                HAS_BEST_SCORE
            } else {
                0
            };
        bytes.extend([VERSION, flags, self.stage as u8]);
        bytes.extend(self.digest.query.to_le_bytes());
        bytes.extend(self.digest.model.to_le_bytes());
        bytes.extend((self.first_window as u16).to_le_bytes());
        bytes.extend((self.returned as u16).to_le_bytes());
        bytes.extend(self.id_sum.to_le_bytes());
        bytes.extend(self.best_score.unwrap_or_default().to_le_bytes());
        self.seen.write_to(&mut bytes);
        let checksum = find_checksum(&bytes[CHECKSUM_BYTES..]);
        bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor of this search.
    pub(crate) fn parse(text: &str, digest: SearchDigest) -> Result<Self, Problem> {
        let refuse = |detail: &str| Err(Problem::invalid_parameter("cursor", detail));
        let Some(cursor) = Self::read(text) else {
            return refuse(
                "this is no cursor of a search: send the cursor of the previous answer unchanged, \
                 or none for the first page",
            );
        };
        if cursor.digest.model != digest.model {
            return refuse(
                "the cursor is of another model, so its scores are on another scale: start the \
                 search again without a cursor",
            );
        }
        if cursor.digest.query != digest.query {
            return refuse(
                "the cursor is of another search: send it with the same query and conditions as \
                 the request that returned it (only limit and consistency may differ), or start \
                 again without a cursor",
            );
        }
        Ok(cursor)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_CHARACTERS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (checksum, bytes) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
        if *checksum != find_checksum(bytes) {
            return None;
        }
        let ([version, flags, stage], bytes) = bytes.split_first_chunk()?;
        let (query, bytes) = bytes.split_first_chunk()?;
        let (model, bytes) = bytes.split_first_chunk()?;
        let (first_window, bytes) = bytes.split_first_chunk()?;
        let (returned, bytes) = bytes.split_first_chunk()?;
        let (id_sum, bytes) = bytes.split_first_chunk()?;
        let (best_score, bytes) = bytes.split_first_chunk()?;
        let best_score = Some(f32::from_le_bytes(*best_score));
        let cursor = Self {
            digest: SearchDigest {
                query: u64::from_le_bytes(*query),
                model: u64::from_le_bytes(*model),
            },
            first_window: u16::from_le_bytes(*first_window).into(),
            stage: usize::from(*stage),
            is_exact: flags & IS_EXACT != 0,
            returned: u16::from_le_bytes(*returned).into(),
            id_sum: u64::from_le_bytes(*id_sum),
            best_score: best_score.filter(|_| flags & HAS_BEST_SCORE != 0),
            seen: SeenIds::read_from(bytes)?,
        };
        let is_score = |score: f32| (-1.0..=1.0).contains(&score);
        let is_valid = *version == VERSION
            && cursor.first_window > 0
            && cursor.best_score.is_none_or(is_score);
        is_valid.then_some(cursor)
    }
}

fn find_checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = ContentHash::hash_content(bytes).to_string();
    let digits = hash.get(..2 * CHECKSUM_BYTES).unwrap_or_default();
    u32::from_str_radix(digits, 16)
        .expect("a hash is written in hexadecimal digits")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::seen_ids::hash_id;
    use crate::problem::Code;

    fn cursor(images: usize) -> SearchCursor {
        let mut seen = SeenIds::default();
        seen.add((0..images).map(|n| hash_id(&n.to_string())));
        SearchCursor {
            digest: SearchDigest::new("query", "model"),
            first_window: 64,
            stage: 2,
            is_exact: true,
            returned: images,
            id_sum: u64::MAX - 3,
            best_score: Some(-0.25),
            seen,
        }
    }

    #[test]
    fn cursors_survive_writing() {
        for images in [0, 12, 16_384] {
            let mut cursor = cursor(images);
            for (is_exact, best_score) in [(true, Some(1.0)), (false, None)] {
                cursor.is_exact = is_exact;
                cursor.best_score = best_score;
                let text = cursor.to_text();
                assert!(text.len() <= MAX_CURSOR_CHARACTERS, "{}", text.len());
                let parsed = SearchCursor::parse(&text, cursor.digest);
                assert_eq!(parsed.as_ref(), Ok(&cursor));
            }
        }
        assert!(cursor(12).to_text().len() < 120);
    }

    #[test]
    fn other_cursors_are_refused() {
        let text = cursor(12).to_text();
        let digest = cursor(12).digest;
        let refusal = |text: &str, digest| {
            let problem = SearchCursor::parse(text, digest).unwrap_err();
            assert_eq!(problem.code, Code::InvalidParameter);
            assert_eq!(problem.param.as_deref(), Some("cursor"));
            problem.detail
        };
        let other = refusal(&text, SearchDigest::new("another query", "model"));
        assert!(other.contains("another search"), "{other}");
        let other = refusal(&text, SearchDigest::new("query", "another model"));
        assert!(other.contains("another model"), "{other}");
        for length in 0..text.len() {
            assert!(refusal(&text[..length], digest).contains("no cursor"));
        }
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            refusal(&String::from_utf8(damaged).unwrap(), digest);
        }
        for hostile in [
            "é",
            "\0",
            "9f8a41c25d7e03b6f4a1c2d3e4f50617",
            &"A".repeat(1 << 20),
            "A A",
            "=",
        ] {
            refusal(hostile, digest);
        }
    }

    /// A cursor with a right checksum and anything else.
    #[test]
    fn forged_cursors_cause_no_panic() {
        let mut state = 7_u64;
        for length in 0..200 {
            let mut bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            if let Some(version) = bytes.first_mut() {
                *version = VERSION;
            }
            let checked = [&find_checksum(&bytes)[..], &bytes].concat();
            let _ = SearchCursor::read(&URL_SAFE_NO_PAD.encode(checked));
        }
    }
}
