//! Fetching a model: each file into `FILE.part`, from where an earlier attempt ended, until every
//! byte is there; then its checksum; then its name.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lookalike_chassis::Backoff;
use lookalike_vision::registry::{HubRepository, RegisteredModel};
use reqwest::header::{CONTENT_RANGE, ETAG};
use reqwest::{Response, StatusCode, Url};

use super::bar::DownloadBar;
use super::cache::{self, CachedModel, LockedFile, ModelLock, PinnedBy, cache_error};
use super::error::Error;
use super::hub::{AnnouncedFile, HubClient, HubFailure, innermost_cause, unexpected_answer};
use super::settings::Settings;

/// An attempt that brings less does not count as one that got on.
const MIN_PROGRESS_BYTES: u64 = 64 << 10;

/// One model's fetch.
pub struct ModelFetch<'a> {
    /// How.
    pub settings: &'a Settings,
    /// What.
    pub entry: &'static RegisteredModel,
    /// From where.
    pub hub: HubRepository,
    /// To where.
    pub cached_model: CachedModel,
    /// Take what the hub has now, whatever the first fetch found.
    pub renew: bool,
}

impl ModelFetch<'_> {
    /// Fetches what is missing, and gives the folder.
    ///
    /// # Errors
    /// Whatever keeps the model from being here; what has arrived is kept.
    pub async fn run(&self) -> Result<PathBuf, Error> {
        let client = HubClient::new(self.settings)?;
        let name = self.entry.name;
        let waiting = || eprintln!("another lookalike fetches {name}, waiting for it");
        let _alone = self.cached_model.lock_for_fetch(waiting).await?;
        if !self.renew
            && let Some(folder) = self.cached_model.complete_folder()?
        {
            // Whoever was waited for has fetched it.
            return Ok(folder);
        }
        let lock = self.determine_lock(&client).await?;
        let folder = self.cached_model.write_lock(&lock)?;
        for file in &lock.files {
            let path = folder.join(&file.name);
            if path.exists() && self.renew && hash_in_background(&path).await? != file.sha256 {
                std::fs::remove_file(&path).map_err(cache_error(&path))?;
            }
            if !path.exists() {
                self.fetch_file(&client, &lock, file, &folder).await?;
            }
        }
        self.cached_model
            .complete_folder()?
            .ok_or_else(|| Error::Altered {
                path: folder,
                what: "lacks a file that was just fetched".to_owned(),
                name: name.to_owned(),
            })
    }

    /// What the files must be: as lookalike says, as the first fetch found, or as the hub says now.
    async fn determine_lock(&self, client: &HubClient) -> Result<ModelLock, Error> {
        if let Some(lock) = ModelLock::from_pins(self.entry, &self.hub) {
            return Ok(lock);
        }
        if !self.renew
            && let Some(lock) = self.cached_model.read_current_lock()?
        {
            return Ok(lock);
        }
        let mut revision = self.hub.revision.to_owned();
        let mut files = Vec::new();
        for file in self.hub.files() {
            let url = client.file_url(self.hub.repository, &revision, file.name)?;
            let announced = self.ask_hub(client, &url).await?;
            // All files are of the commit that the first one is of.
            revision = announced
                .commit
                .ok_or_else(|| unexpected_answer(&url, "it names no commit (X-Repo-Commit)"))?;
            let sha256 = announced
                .sha256
                .ok_or_else(|| unexpected_answer(&url, "it names no SHA-256 (X-Linked-Etag)"))?;
            let bytes = announced
                .bytes
                .ok_or_else(|| unexpected_answer(&url, "it names no length (X-Linked-Size)"))?;
            files.push(LockedFile {
                name: file.name.to_owned(),
                bytes,
                sha256,
            });
        }
        Ok(ModelLock {
            name: self.entry.name.to_owned(),
            repository: self.hub.repository.to_owned(),
            revision,
            pinned: PinnedBy::FirstFetch,
            created_at_ms: cache::now_millis(),
            files,
        })
    }

    async fn ask_hub(&self, client: &HubClient, url: &Url) -> Result<AnnouncedFile, Error> {
        let mut patience = FetchRetry::new(self.settings, url);
        loop {
            match client.head_file(url).await {
                Ok(announced) => return Ok(announced),
                Err(trouble) => {
                    patience
                        .wait_or_give_up(trouble, false, |line| eprintln!("{line}"))
                        .await?
                }
            }
        }
    }

    async fn fetch_file(
        &self,
        client: &HubClient,
        lock: &ModelLock,
        file: &LockedFile,
        folder: &Path,
    ) -> Result<(), Error> {
        let url = client.file_url(&lock.repository, &lock.revision, &file.name)?;
        let most = self.settings.max_file_bytes;
        if file.bytes > most {
            return Err(Error::TooLarge {
                url: url.to_string(),
                bytes: file.bytes,
                most,
            });
        }
        let part = PartialDownload::new(folder, &file.name);
        // Bytes that an earlier process left may be of anything, and deserve a second try.
        let mut is_left_over = part.len()? > 0;
        loop {
            self.fetch_bytes(client, lock, file, &url, &part).await?;
            let found = hash_in_background(&part.path).await?;
            if found == file.sha256 {
                return part.move_into_place(&folder.join(&file.name));
            }
            part.delete_files()?;
            if is_left_over {
                is_left_over = false;
                eprintln!(
                    "{}: what an earlier fetch left does not fit, fetching it from the beginning",
                    file.name
                );
                continue;
            }
            return Err(self.checksum_mismatch(lock, file, &url, found));
        }
    }

    /// Fetches until the part has the length that it must have.
    async fn fetch_bytes(
        &self,
        client: &HubClient,
        lock: &ModelLock,
        file: &LockedFile,
        url: &Url,
        part: &PartialDownload,
    ) -> Result<(), Error> {
        let mut patience = FetchRetry::new(self.settings, url);
        let mut have = part.len()?;
        if have > file.bytes {
            part.delete_files()?;
            have = 0;
        }
        if have == file.bytes {
            return Ok(());
        }
        let what = format!("{} {}", self.entry.name, file.name);
        let mut bar = DownloadBar::new(&what, have, file.bytes);
        // The most that there ever was: what is lost and fetched again is nothing new.
        let mut best = have;
        loop {
            let attempt = self
                .attempt_download(client, lock, file, url, part, &mut bar)
                .await;
            let now = part.len()?;
            let trouble = match attempt {
                Ok(()) if now == file.bytes => return Ok(()),
                Ok(()) => HubFailure::Transient {
                    why: "the connection was closed before the end".to_owned(),
                    retry_after: None,
                },
                Err(trouble) => trouble,
            };
            let got_on = now >= best + MIN_PROGRESS_BYTES;
            best = best.max(now);
            patience.has_part = now > 0;
            patience
                .wait_or_give_up(trouble, got_on, |line| bar.print_line(line))
                .await?;
        }
    }

    /// One request, and its bytes as long as they come.
    async fn attempt_download(
        &self,
        client: &HubClient,
        lock: &ModelLock,
        file: &LockedFile,
        url: &Url,
        part: &PartialDownload,
        bar: &mut DownloadBar,
    ) -> Result<(), HubFailure> {
        let have = part.len()?;
        let (mut response, announced) = client.get_file(url, have, part.etag().as_deref()).await?;
        if let Some(now) = announced.sha256.filter(|now| *now != file.sha256) {
            return Err(self.announcement_mismatch(lock, file, url, now).into());
        }
        let mut at_byte = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (from, total) = parse_content_range(&response)
                    .ok_or_else(|| unexpected_answer(url, "a part without Content-Range"))?;
                if from != have || total.is_some_and(|total| total != file.bytes) {
                    part.delete_files()?;
                    return Err(HubFailure::Transient {
                        why: "the hub sent another part than was asked for".to_owned(),
                        retry_after: None,
                    });
                }
                have
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.delete_files()?;
                return Err(HubFailure::Transient {
                    why: "the hub has no such part".to_owned(),
                    retry_after: None,
                });
            }
            _ => {
                if let Some(bytes) = response.content_length().filter(|n| *n != file.bytes) {
                    let why = format!("it sends {bytes} bytes instead of {}", file.bytes);
                    return Err(unexpected_answer(url, why).into());
                }
                // The whole, because nothing is here, the file has become another one, or the
                // other side does not do parts.
                0
            }
        };
        let etag = response.headers().get(ETAG);
        part.record_etag(etag.and_then(|etag| etag.to_str().ok()))?;
        let mut out = part.open_for_append(at_byte == 0)?;
        bar.set_position(at_byte);
        let stall = self.settings.stall_timeout;
        loop {
            let chunk = tokio::time::timeout(stall, response.chunk())
                .await
                .map_err(|_| HubFailure::Transient {
                    why: format!("nothing came for {stall:?}"),
                    retry_after: None,
                })?
                .map_err(|error| HubFailure::Transient {
                    why: innermost_cause(&error),
                    retry_after: None,
                })?;
            let Some(chunk) = chunk else {
                return Ok(());
            };
            at_byte += chunk.len() as u64;
            if at_byte > file.bytes {
                part.delete_files()?;
                let why = format!("it sends more than the {} bytes of the file", file.bytes);
                return Err(unexpected_answer(url, why).into());
            }
            out.write_all(&chunk).map_err(cache_error(&part.path))?;
            bar.set_position(at_byte);
        }
    }

    /// The hub announces other bytes than the lock says.
    fn announcement_mismatch(
        &self,
        lock: &ModelLock,
        file: &LockedFile,
        url: &Url,
        now: String,
    ) -> Error {
        match lock.pinned {
            PinnedBy::FirstFetch => Error::AnnouncedChecksumChanged {
                url: url.to_string(),
                name: self.entry.name.to_owned(),
                before: file.sha256.clone(),
                now,
            },
            PinnedBy::Lookalike => self.checksum_mismatch(lock, file, url, now),
        }
    }

    fn checksum_mismatch(
        &self,
        lock: &ModelLock,
        file: &LockedFile,
        url: &Url,
        found: String,
    ) -> Error {
        let (who, renew) = match lock.pinned {
            PinnedBy::Lookalike => ("lookalike", String::new()),
            PinnedBy::FirstFetch => (
                "the hub",
                format!(
                    "; if the model was exchanged on purpose, `lookalike models fetch {} --renew` \
                     takes it",
                    self.entry.name
                ),
            ),
        };
        Error::Checksum {
            url: url.to_string(),
            expected: file.sha256.clone(),
            found,
            who,
            renew,
        }
    }
}

/// When to try again, and when to give up.
struct FetchRetry<'a> {
    settings: &'a Settings,
    url: &'a Url,
    backoff: Backoff,
    failed_attempts: u32,
    /// Whether there is anything from which another fetch would go on.
    has_part: bool,
}

impl<'a> FetchRetry<'a> {
    fn new(settings: &'a Settings, url: &'a Url) -> Self {
        let longest = settings.max_retry_interval.min(Duration::from_secs(20));
        let first = longest.min(Duration::from_millis(500));
        Self {
            settings,
            url,
            backoff: Backoff::new(first, longest),
            failed_attempts: 0,
            has_part: false,
        }
    }

    /// Waits, or gives up. An attempt that got on starts the count anew.
    async fn wait_or_give_up(
        &mut self,
        trouble: HubFailure,
        got_on: bool,
        say: impl FnOnce(&str),
    ) -> Result<(), Error> {
        let (why, asked) = match trouble {
            HubFailure::Permanent(error) => return Err(error),
            HubFailure::Transient {
                why,
                retry_after: wait,
            } => (why, wait),
        };
        if got_on {
            self.failed_attempts = 0;
            self.backoff.reset_attempts();
        }
        self.failed_attempts += 1;
        if self.failed_attempts >= self.settings.max_attempts.max(1) {
            return Err(Error::GaveUp {
                url: self.url.to_string(),
                attempts: self.failed_attempts,
                why,
                kept: if self.has_part {
                    " What has arrived is kept: the same command goes on there."
                } else {
                    ""
                },
            });
        }
        if let Some(wait) = asked.filter(|wait| *wait > self.settings.max_retry_interval) {
            return Err(Error::RateLimited {
                url: self.url.to_string(),
                wait,
            });
        }
        let wait = self.backoff.next_delay().max(asked.unwrap_or_default());
        say(&format!(
            "{why}; trying again in {:.1} s",
            wait.as_secs_f64()
        ));
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A file that has not arrived yet, with the tag of what it is a part of.
struct PartialDownload {
    path: PathBuf,
    etag_path: PathBuf,
}

impl PartialDownload {
    fn new(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(format!("{name}.part")),
            etag_path: folder.join(format!("{name}.part.etag")),
        }
    }

    fn len(&self) -> Result<u64, Error> {
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(cache_error(&self.path)(error)),
        }
    }

    fn etag(&self) -> Option<String> {
        std::fs::read_to_string(&self.etag_path).ok()
    }

    /// Only a strong tag can be asked by.
    fn record_etag(&self, etag: Option<&str>) -> Result<(), Error> {
        match etag.filter(|etag| etag.starts_with('"')) {
            Some(etag) => {
                std::fs::write(&self.etag_path, etag).map_err(cache_error(&self.etag_path))
            }
            None => remove_if_exists(&self.etag_path),
        }
    }

    fn open_for_append(&self, anew: bool) -> Result<File, Error> {
        std::fs::create_dir_all(self.path.parent().unwrap_or(&self.path))
            .map_err(cache_error(&self.path))?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .map_err(cache_error(&self.path))?;
        if anew && self.len()? > 0 {
            file.set_len(0).map_err(cache_error(&self.path))?;
        }
        Ok(file)
    }

    fn delete_files(&self) -> Result<(), Error> {
        remove_if_exists(&self.path)?;
        remove_if_exists(&self.etag_path)
    }

    /// Its bytes are right: gives it its name, for good.
    fn move_into_place(&self, name: &Path) -> Result<(), Error> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(cache_error(&self.path))?;
        std::fs::rename(&self.path, name).map_err(cache_error(name))?;
        cache::sync_folder(name)?;
        remove_if_exists(&self.etag_path)
    }
}

fn remove_if_exists(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cache_error(path)(error)),
        _ => Ok(()),
    }
}

/// SHA-256 of a file, off the runtime's threads.
async fn hash_in_background(path: &Path) -> Result<String, Error> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || cache::hash_file(&path));
    match hashing.await {
        Ok(hash) => hash,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// First byte and whole length, as `bytes 5-9/10` says.
fn parse_content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = range.split_once('-')?.0.trim().parse().ok()?;
    Some((from, total.trim().parse().ok()))
}
