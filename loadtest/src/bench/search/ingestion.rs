//! Adds pictures to a watched folder while searches are measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::photos::{PhotoFile, write_variant};

/// Files that may be written but not yet be indexed, so that the disk is not filled.
const MAX_WAITING_FILES: u64 = 512;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A thread that writes new pictures until it is stopped. The pictures are removed at the end.
#[derive(Debug)]
pub struct FolderFeed {
    folder: PathBuf,
    is_stopped: Arc<AtomicBool>,
    /// Number of files that lookalike has processed since the start, as the caller reports it.
    processed: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl FolderFeed {
    /// Starts to write variants of photos into a new subfolder of `library`. At most 512 files more
    /// are written than [`Self::report_processed`] says.
    pub fn start(photos: Vec<PhotoFile>, library: &Path, mark: u64) -> anyhow::Result<Self> {
        let folder = library.join(format!("bench-{}-{mark}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (processed, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (folder, is_stopped) = (folder.clone(), Arc::clone(&is_stopped));
            let (processed, written) = (Arc::clone(&processed), Arc::clone(&written));
            std::thread::spawn(move || {
                for (number, photo) in (0..).zip(photos.iter().cycle()) {
                    while number >= processed.load(Ordering::Relaxed) + MAX_WAITING_FILES
                        && !is_stopped.load(Ordering::Relaxed)
                    {
                        std::thread::sleep(POLL_INTERVAL);
                    }
                    if is_stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let to = folder.join(photo.flat_name(number as usize));
                    write_variant(photo, &to, mark, number)?;
                    written.store(number + 1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        Ok(Self {
            folder,
            is_stopped,
            processed,
            written,
            thread: Some(thread),
        })
    }

    /// Reports how many of the written files lookalike has processed.
    pub fn report_processed(&self, files: u64) {
        self.processed.store(files, Ordering::Relaxed);
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Stops writing and removes the folder. Returns the number of files that were written.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let written = thread.join();
            written.map_err(|_| anyhow::anyhow!("the thread that writes pictures panicked"))??;
        }
        Ok(self.written())
    }
}

impl Drop for FolderFeed {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::photos::list_photos;
    use std::time::Instant;

    #[test]
    fn files_are_written_up_to_the_limit_and_removed_at_the_end() {
        let library = tempfile::tempdir().unwrap();
        let photos = tempfile::tempdir().unwrap();
        std::fs::write(photos.path().join("a.jpg"), "a").unwrap();
        let photos = list_photos(photos.path()).unwrap();
        let feed = FolderFeed::start(photos, library.path(), 1).unwrap();
        let wait_for = |count: u64| {
            let started = Instant::now();
            while feed.written() < count {
                assert!(
                    started.elapsed() < Duration::from_secs(60),
                    "{}",
                    feed.written()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for(MAX_WAITING_FILES);
        assert_eq!(feed.written(), MAX_WAITING_FILES);
        feed.report_processed(10);
        wait_for(MAX_WAITING_FILES + 10);
        assert_eq!(std::fs::read_dir(library.path()).unwrap().count(), 1);
        assert!(feed.finish().unwrap() >= MAX_WAITING_FILES + 10);
        assert_eq!(std::fs::read_dir(library.path()).unwrap().count(), 0);
    }
}
