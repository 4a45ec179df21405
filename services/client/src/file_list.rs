//! Lists of files, as `--files-from` and `-0` describe them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// Splits a list with a name per line, or with a NUL byte behind each name.
pub(crate) fn split_file_list(list: &[u8], is_null: bool) -> Vec<PathBuf> {
    let separator = if is_null { 0 } else { b'\n' };
    list.split(|byte| *byte == separator)
        .map(|name| match is_null {
            true => name,
            false => name.strip_suffix(b"\r").unwrap_or(name),
        })
        .filter(|name| !name.is_empty())
        .map(|name| OsString::from_vec(name.to_vec()).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_as_they_are_written() {
        let names = split_file_list(b"a.jpg\r\n\nb c.jpg\n", false);
        assert_eq!(names, [PathBuf::from("a.jpg"), "b c.jpg".into()]);
        let names = split_file_list(b"a\nb.jpg\0c.jpg\0", true);
        assert_eq!(names, [PathBuf::from("a\nb.jpg"), "c.jpg".into()]);
        assert!(split_file_list(b"\n", false).is_empty());
    }
}
