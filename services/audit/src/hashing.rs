//! Hashes files, which is the only way to find content that changed under the same size and time.

use std::io;
use std::path::{Path, PathBuf};

use lookalike_proto::RelativePath;

/// A file and its expected hash.
pub(crate) struct FileToHash {
    pub(crate) root: PathBuf,
    pub(crate) path: String,
    pub(crate) hash: String,
}

/// Compares each file with its expected hash, on several threads. Returns a description for each
/// file that differs, in the order of `files`.
pub(crate) async fn hash_differences(
    files: Vec<FileToHash>,
    threads: usize,
) -> Vec<Option<String>> {
    let hashed = tokio::task::spawn_blocking(move || {
        let share = files.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let parts: Vec<_> = files
                .chunks(share)
                .map(|part| scope.spawn(|| part.iter().map(hash_difference).collect::<Vec<_>>()))
                .collect();
            parts
                .into_iter()
                .flat_map(|part| match part.join() {
                    Ok(results) => results,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    });
    match hashed.await {
        Ok(results) => results,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn hash_difference(file: &FileToHash) -> Option<String> {
    let Ok(path) = RelativePath::new(&*file.path) else {
        return Some("the path is invalid".to_owned());
    };
    match hash_file(&path.join_to(&file.root)) {
        Ok(hash) if hash == file.hash => None,
        Ok(_) => Some("the file's content differs from the indexed content".to_owned()),
        Err(error) => Some(format!("cannot read the file: {error}")),
    }
}

/// Reads in small chunks, so that memory does not grow with the file.
fn hash_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_compared_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &str, indexed: &str| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            FileToHash {
                root: dir.path().to_owned(),
                path: name.to_owned(),
                hash: blake3::hash(indexed.as_bytes()).to_hex().to_string(),
            }
        };
        let mut files = vec![
            file("a", "1", "1"),
            file("b", "2", "1"),
            file("c", "3", "3"),
            file("d", "", ""),
            file("e", "5", "5"),
        ];
        std::fs::remove_file(dir.path().join("e")).unwrap();
        files.push(FileToHash {
            root: dir.path().to_owned(),
            path: "../a".to_owned(),
            hash: String::new(),
        });
        let found = hash_differences(files, 2).await;
        let differs: Vec<bool> = found.iter().map(Option::is_some).collect();
        assert_eq!(differs, [false, true, false, false, true, true]);
    }
}
