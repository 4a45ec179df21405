//! Lists of files, as `--files-from` and `-0` describe them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

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

/// Names the file at which a batch stopped, and the number of files after it.
pub(crate) fn name_unprocessed_files(file: &Path, files_after: usize) -> String {
    let file = file.display();
    match files_after {
        0 => file.to_string(),
        1 => format!("{file} and one more file"),
        files_after => format!("{file} and {files_after} more files"),
    }
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

    #[test]
    fn unprocessed_files_are_counted() {
        let name = |files_after| name_unprocessed_files(Path::new("a.jpg"), files_after);
        assert_eq!(name(0), "a.jpg");
        assert_eq!(name(1), "a.jpg and one more file");
        assert_eq!(name(2), "a.jpg and 2 more files");
    }
}
