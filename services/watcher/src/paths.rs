//! Paths below a library's root: the file system's bytes, parts separated by `/`, none at the ends.

/// Splits a path into its folder (empty for the root) and its last part.
pub fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Joins a folder (empty for the root) and a name.
pub fn join_path(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

/// Whether `path` is `folder` or is below it; everything is at or below the root.
pub fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path == folder
        || (path.starts_with(folder) && path.get(folder.len()) == Some(&b'/'))
}

/// The bounds of all paths below `folder` in byte order: `/` is followed by `0`.
pub fn bounds_below(folder: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([folder, b"/"].concat(), [folder, b"0"].concat())
}

/// Every folder from the first part of `folder` down to `folder` itself.
pub fn ancestors_and_self(folder: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_end = |end: &usize| *end == folder.len() || folder.get(*end) == Some(&b'/');
    let ends = (1..=folder.len()).filter(is_end);
    ends.map(|end| &folder[..end])
}
