//! Sidecars: `NAME.xmp` and `NAME.json` state attributes of the picture NAME. They are listed as
//! ignored files; when one appears, changes or goes, the events of its pictures are sent again. The
//! embedder knows the content of these pictures, so it only writes their rows again.

use super::tick::Tick;
use super::{Library, Result};
use crate::catalog::{CatalogRow, FileState};
use crate::disk::FileStat;
use crate::paths::split_path;

/// Files with the name of one sidecar and any extension, such as a raw file and its JPEG.
const MAX_FILES: usize = 256;

/// How much later than a change a picture must have been sent, so that the embedder saw the change:
/// clocks of file servers differ.
const CHANGE_MARGIN_NS: i64 = 5_000_000_000;

impl Library {
    /// Sends the pictures again whose sidecar at `path` changed; `None`: it is gone. Does nothing if
    /// the path is not that of a sidecar.
    pub(super) fn resend_described_pictures(
        &mut self,
        path: &[u8],
        stat: Option<&FileStat>,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let (dir, name) = split_path(path);
        let Some(base) = sidecar_base(name) else {
            return Ok(());
        };
        let rows = tick.catalog.files_called(self.key, dir, base, MAX_FILES)?;
        for mut row in rows {
            if is_described_by(&row.name, base) && was_sent_before(&row, stat) {
                tracing::debug!(image = %row.id, "a sidecar changed; sending its picture again");
                row.begin_resend(tick.now);
                tick.catalog.update_row(&row)?;
            }
        }
        Ok(())
    }
}

/// Returns NAME of `NAME.xmp` and `NAME.json`.
fn sidecar_base(name: &[u8]) -> Option<&[u8]> {
    let base = name
        .strip_suffix(b".xmp")
        .or_else(|| name.strip_suffix(b".json"))?;
    (!base.is_empty()).then_some(base)
}

/// Whether `base` is the name of a picture, with or without its extension.
fn is_described_by(picture: &[u8], base: &[u8]) -> bool {
    match picture.strip_prefix(base) {
        Some(rest) => rest.is_empty() || (rest[0] == b'.' && !rest[1..].contains(&b'.')),
        None => false,
    }
}

/// Whether the embedder may have written or be writing the row without this state of the sidecar. An
/// event that is sent later includes it.
fn was_sent_before(row: &CatalogRow, stat: Option<&FileStat>) -> bool {
    let is_listed = matches!(row.state, FileState::Indexed | FileState::InFlight);
    let has_seen = |stat: &FileStat| stat.ctime_ns < row.sent_ns.saturating_sub(CHANGE_MARGIN_NS);
    is_listed && row.was_sent && !row.is_unsent && !stat.is_some_and(has_seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_are_named_after_pictures() {
        for (sidecar, picture, expected) in [
            ("a.jpg.xmp", "a.jpg", true),
            ("a.xmp", "a.jpg", true),
            ("a.json", "a.nef", true),
            ("a.b.json", "a.b.jpg", true),
            ("a.json", "a.b.jpg", false),
            ("a.json", "ab.jpg", false),
            ("a.json", "b.jpg", false),
            ("a.xmp", "a", true),
        ] {
            let base = sidecar_base(sidecar.as_bytes()).unwrap();
            let is_described = is_described_by(picture.as_bytes(), base);
            assert_eq!(is_described, expected, "{sidecar} {picture}");
        }
        for other in [".xmp", ".json", "a.txt", "a.jpg", "xmp"] {
            assert_eq!(sidecar_base(other.as_bytes()), None, "{other}");
        }
    }
}
