//! Hashing files: the one way to find content that changed behind the same size and time.

use std::io;
use std::path::{Path, PathBuf};

use lookalike_proto::RelativePath;

/// A file, and the hash that it must have.
pub(super) struct FileToHash {
    pub root: PathBuf,
    pub path: String,
    pub hash: String,
}

/// Why a file is not what was indexed; `None` where it is. Reads the files with so many threads.
pub(super) async fn hash_differences(
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
                    Ok(found) => found,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    });
    match hashed.await {
        Ok(found) => found,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn hash_difference(file: &FileToHash) -> Option<String> {
    let Ok(path) = RelativePath::new(&*file.path) else {
        return Some("its path can't be opened".to_owned());
    };
    match hash_file(&path.join_to(&file.root)) {
        Ok(hash) if hash == file.hash => None,
        Ok(_) => Some("the file has other bytes than were indexed".to_owned()),
        Err(error) => Some(format!("the file can't be read: {error}")),
    }
}

/// In small pieces: a file of any size takes no more memory.
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
