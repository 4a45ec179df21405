//! The keys as requests see them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{KeyFile, KeyFileError, StoredKey};

/// How soon a new or revoked key takes effect.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The keys of the key file, which may change while the service runs.
#[derive(Debug)]
pub(crate) struct KeyRing {
    path: PathBuf,
    file: ArcSwap<KeyFile>,
    /// Changes after the file was read again.
    reloads: watch::Sender<()>,
}

/// Tells whether the file was replaced: its inode changes with every write.
type Stamp = Option<(u64, SystemTime)>;

impl KeyRing {
    /// # Errors
    /// If the file exists but cannot be read: the service would refuse everybody.
    pub(crate) fn open(path: PathBuf) -> Result<Self, KeyFileError> {
        let file = ArcSwap::from_pointee(KeyFile::read(&path)?);
        Ok(Self {
            path,
            file,
            reloads: watch::channel(()).0,
        })
    }

    pub(crate) fn find(&self, key: &str) -> Option<StoredKey> {
        self.file.load().find(key).cloned()
    }

    /// Waits until this key is revoked, or its scopes or libraries change.
    pub(crate) async fn wait_for_change(&self, key: &StoredKey) {
        // Before the first look, so that no reload slips through between both.
        let mut reloads = self.reloads.subscribe();
        while self.contains(key) && reloads.changed().await.is_ok() {}
    }

    fn contains(&self, key: &StoredKey) -> bool {
        self.file.load().keys().contains(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.file.load().keys().is_empty()
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn stamp(&self) -> Stamp {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.modified().ok()?))
    }

    /// Reads the file again. While it is unreadable, the keys known before stay valid.
    fn reload(&self) {
        match KeyFile::read(&self.path) {
            Ok(file) => {
                tracing::info!(keys = file.keys().len(), "read the key file again");
                self.file.store(Arc::new(file));
                self.reloads.send_modify(|_| {});
            }
            Err(error) => tracing::error!(%error, "the keys known before stay valid"),
        }
    }
}

/// Follows changes of the key file until `shutdown`.
pub(crate) async fn run_key_reload(ring: Arc<KeyRing>, shutdown: CancellationToken) {
    // The file may have changed since it was opened: no stamp is known yet.
    let mut known = None;
    let following = async {
        loop {
            let ring = Arc::clone(&ring);
            let reloaded = tokio::task::spawn_blocking(move || {
                let stamp = ring.stamp();
                if known != Some(stamp) {
                    ring.reload();
                }
                stamp
            });
            if let Ok(stamp) = reloaded.await {
                known = Some(stamp);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let _: Option<()> = shutdown.run_until_cancelled(following).await;
}

#[cfg(test)]
mod tests {
    use super::super::Scope;
    use super::*;

    #[tokio::test]
    async fn keys_take_effect_and_lapse_while_the_service_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KeyFile::FILE_NAME);
        let ring = Arc::new(KeyRing::open(path.clone()).unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run_key_reload(Arc::clone(&ring), shutdown.clone()));
        let key = KeyFile::read(&path)
            .unwrap()
            .add("a", &[Scope::Search], &[])
            .unwrap();
        let until = |wanted: bool| {
            let (ring, key) = (Arc::clone(&ring), key.key.clone());
            async move {
                while ring.find(&key).is_some() != wanted {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, until(true)).await.unwrap();
        std::fs::write(&path, "{").unwrap();
        ring.reload();
        assert!(
            ring.find(&key.key).is_some(),
            "a damaged file locks no client out"
        );
        std::fs::remove_file(&path).unwrap();
        tokio::time::timeout(limit, until(false)).await.unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_wait_ends_when_its_key_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KeyFile::FILE_NAME);
        let mut file = KeyFile::read(&path).unwrap();
        let [kept, revoked] =
            ["kept", "revoked"].map(|name| file.add(name, &[Scope::Search], &[]).unwrap().stored);
        let ring = Arc::new(KeyRing::open(path.clone()).unwrap());
        let wait = |key: StoredKey| {
            let ring = Arc::clone(&ring);
            tokio::spawn(async move { ring.wait_for_change(&key).await })
        };
        let (first, second) = (wait(kept.clone()), wait(revoked.clone()));
        file.add("other", &[Scope::Search], &[]).unwrap();
        ring.reload();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!first.is_finished() && !second.is_finished());
        file.revoke("revoked").unwrap();
        ring.reload();
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, second).await.unwrap().unwrap();
        assert!(!first.is_finished());
        let narrowed = std::fs::read_to_string(&path).unwrap();
        let narrowed = narrowed.replace("\"search\"", "\"ingest\"");
        std::fs::write(&path, narrowed).unwrap();
        ring.reload();
        tokio::time::timeout(limit, first).await.unwrap().unwrap();
        // A key that has changed already needs no wait.
        ring.wait_for_change(&kept).await;
        ring.wait_for_change(&revoked).await;
    }
}
