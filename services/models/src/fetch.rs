//! Downloads one model from the hub: each file into `FILE.part`, resuming an earlier attempt, then verifies its
//! checksum, then gives it its final name.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lookalike_chassis::stdio;
use lookalike_vision::registry::{RegisteredModel, Repository};
use reqwest::header::{CONTENT_RANGE, ETAG};
use reqwest::{Response, StatusCode, Url};

use crate::download_bar::DownloadBar;
use crate::error::Error;
use crate::hub::{AnnouncedFile, HubClient, HubFailure, innermost_cause, unexpected_answer};
use crate::partial::PartialDownload;
use crate::retry::FetchRetry;
use crate::settings::Settings;
use crate::store::{
    CachedModel, LockedFile, ModelLock, PinnedBy, cache_error, hash_in_background, now_millis,
    remove_if_damaged,
};

/// An attempt that adds fewer bytes counts as one without progress.
const MIN_PROGRESS_BYTES: u64 = 64 << 10;

pub(crate) struct ModelFetch<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) entry: &'static RegisteredModel,
    pub(crate) repository: Repository,
    pub(crate) cached_model: &'a CachedModel,
    /// Download what the hub has now, even if the first fetch recorded other checksums.
    pub(crate) renew: bool,
}

/// One file of the fetch, and where its bytes come from and go to.
struct FileDownload<'a> {
    client: &'a HubClient,
    lock: &'a ModelLock,
    file: &'a LockedFile,
    url: &'a Url,
    part: &'a PartialDownload,
}

impl ModelFetch<'_> {
    /// Downloads the missing files and returns the model's folder. Downloaded bytes are kept if
    /// this fails or is cancelled.
    pub(crate) async fn run(&self) -> Result<PathBuf, Error> {
        let client = HubClient::new(self.settings)?;
        let name = self.entry.name;
        let _fetch_lock = self
            .cached_model
            .lock_for_fetch(|| {
                stdio::eprint_line(&format!(
                    "waiting for another lookalike that is fetching {name}"
                ))
            })
            .await?;
        if !self.renew
            && let Some(folder) = self.cached_model.complete_folder()?
        {
            // The process that held the lock has fetched the model.
            return Ok(folder);
        }
        let lock = self.determine_lock(&client).await?;
        let folder = self.cached_model.write_lock(&lock)?;
        for file in &lock.files {
            let path = folder.join(&file.name);
            if self.renew {
                remove_if_damaged(&path, file).await?;
            }
            if !path.exists() {
                self.fetch_file(&client, &lock, file, &folder).await?;
            }
        }
        self.cached_model
            .complete_folder()?
            .ok_or_else(|| Error::Altered {
                path: folder,
                difference: "lacks a file that was just downloaded".to_owned(),
                name: name.to_owned(),
            })
    }

    /// Determines lengths and checksums: from the registry's pins, from the lock of the first
    /// fetch, or from what the hub announces now.
    async fn determine_lock(&self, client: &HubClient) -> Result<ModelLock, Error> {
        if let Some(lock) = ModelLock::from_pins(self.entry, &self.repository) {
            return Ok(lock);
        }
        if !self.renew
            && let Some(lock) = self.cached_model.read_current_lock()?
        {
            return Ok(lock);
        }
        let mut revision = self.repository.revision.to_owned();
        let mut files = Vec::new();
        for file in self.repository.files() {
            let url = client.file_url(self.repository.repository, &revision, file.name)?;
            let announced = self.head_file(client, &url).await?;
            // Later files are requested at the commit of the first one.
            revision = announced
                .commit
                .ok_or_else(|| unexpected_answer(&url, "no commit (X-Repo-Commit)"))?;
            let sha256 = announced
                .sha256
                .ok_or_else(|| unexpected_answer(&url, "no SHA-256 (X-Linked-Etag)"))?;
            let bytes = announced
                .bytes
                .ok_or_else(|| unexpected_answer(&url, "no length (X-Linked-Size)"))?;
            files.push(LockedFile {
                name: file.name.to_owned(),
                bytes,
                sha256,
            });
        }
        Ok(ModelLock {
            name: self.entry.name.to_owned(),
            repository: self.repository.repository.to_owned(),
            revision,
            pinned: PinnedBy::FirstFetch,
            created_at_ms: now_millis(),
            files,
        })
    }

    async fn head_file(&self, client: &HubClient, url: &Url) -> Result<AnnouncedFile, Error> {
        let mut retry = FetchRetry::new(self.settings, url);
        loop {
            match client.head_file(url).await {
                Ok(announced) => return Ok(announced),
                Err(failure) => {
                    retry
                        .wait_or_give_up(failure, false, stdio::eprint_line)
                        .await?;
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
        let max_bytes = self.settings.max_file_bytes;
        if file.bytes > max_bytes {
            return Err(Error::TooLarge {
                url: url.to_string(),
                bytes: file.bytes,
                max_bytes,
            });
        }
        let part = PartialDownload::new(folder, &file.name);
        let download = FileDownload {
            client,
            lock,
            file,
            url: &url,
            part: &part,
        };
        // Bytes that an earlier process left may belong to another file: they get a second try.
        let mut is_left_over = part.len()? > 0;
        loop {
            self.fetch_bytes(&download).await?;
            let hash = hash_in_background(part.path()).await?;
            if hash == file.sha256 {
                return part.move_into_place(&folder.join(&file.name));
            }
            part.delete_files()?;
            if !is_left_over {
                return Err(self.checksum_mismatch(&download, hash));
            }
            is_left_over = false;
            stdio::eprint_line(&format!(
                "{}: the part left by an earlier fetch does not match, downloading from the start",
                file.name
            ));
        }
    }

    /// Downloads until the part has the recorded length.
    async fn fetch_bytes(&self, download: &FileDownload<'_>) -> Result<(), Error> {
        let FileDownload {
            file, url, part, ..
        } = download;
        let mut retry = FetchRetry::new(self.settings, url);
        let mut present_bytes = part.len()?;
        if present_bytes > file.bytes {
            part.delete_files()?;
            present_bytes = 0;
        }
        if present_bytes == file.bytes {
            return Ok(());
        }
        let label = format!("{} {}", self.entry.name, file.name);
        let mut bar = DownloadBar::new(&label, present_bytes, file.bytes);
        // Bytes that are lost and downloaded again are no progress.
        let mut most_bytes = present_bytes;
        loop {
            let attempt = self.attempt_download(download, &mut bar).await;
            let present_bytes = part.len()?;
            let failure = match attempt {
                Ok(()) if present_bytes == file.bytes => return Ok(()),
                Ok(()) => HubFailure::transient("the connection was closed before the end"),
                Err(failure) => failure,
            };
            let made_progress = present_bytes >= most_bytes + MIN_PROGRESS_BYTES;
            most_bytes = most_bytes.max(present_bytes);
            retry.has_part = present_bytes > 0;
            retry
                .wait_or_give_up(failure, made_progress, |line| bar.print_line(line))
                .await?;
        }
    }

    /// Sends one request and appends its bytes to the part until the connection ends.
    async fn attempt_download(
        &self,
        download: &FileDownload<'_>,
        bar: &mut DownloadBar,
    ) -> Result<(), HubFailure> {
        let FileDownload {
            client,
            file,
            url,
            part,
            ..
        } = download;
        let present_bytes = part.len()?;
        let etag = part.etag();
        let (response, announced) = client.get_file(url, present_bytes, etag.as_deref()).await?;
        if let Some(current) = announced.sha256.filter(|sha256| *sha256 != file.sha256) {
            return Err(self.announcement_mismatch(download, current).into());
        }
        let position = starting_position(&response, download, present_bytes)?;
        let etag = response.headers().get(ETAG);
        part.record_etag(etag.and_then(|etag| etag.to_str().ok()))?;
        let out = part.open_for_append(position == 0)?;
        bar.set_position(position);
        self.append_chunks(response, out, position, download, bar)
            .await
    }

    async fn append_chunks(
        &self,
        mut response: Response,
        mut out: File,
        mut position: u64,
        download: &FileDownload<'_>,
        bar: &mut DownloadBar,
    ) -> Result<(), HubFailure> {
        let FileDownload {
            file, url, part, ..
        } = download;
        let stall_timeout = self.settings.stall_timeout;
        loop {
            let chunk = tokio::time::timeout(stall_timeout, response.chunk())
                .await
                .map_err(|_| HubFailure::transient(format!("no bytes for {stall_timeout:?}")))?
                .map_err(|error| HubFailure::transient(innermost_cause(&error)))?;
            let Some(chunk) = chunk else {
                return Ok(());
            };
            position += chunk.len() as u64;
            if position > file.bytes {
                part.delete_files()?;
                let reason = format!("it sends more than the {} bytes of the file", file.bytes);
                return Err(unexpected_answer(url, reason).into());
            }
            out.write_all(&chunk).map_err(cache_error(part.path()))?;
            bar.set_position(position);
        }
    }

    /// The error for a hub that announces another checksum than the lock has.
    fn announcement_mismatch(&self, download: &FileDownload<'_>, current: String) -> Error {
        match download.lock.pinned {
            PinnedBy::FirstFetch => Error::AnnouncedChecksumChanged {
                url: download.url.to_string(),
                name: self.entry.name.to_owned(),
                recorded: download.file.sha256.clone(),
                current,
            },
            PinnedBy::Lookalike => self.checksum_mismatch(download, current),
        }
    }

    fn checksum_mismatch(&self, download: &FileDownload<'_>, actual: String) -> Error {
        let (authority, renew_hint) = match download.lock.pinned {
            PinnedBy::Lookalike => ("lookalike", String::new()),
            PinnedBy::FirstFetch => (
                "the hub",
                format!(
                    "; if the model was replaced on purpose, `lookalike models fetch {} --renew` \
                     accepts it",
                    self.entry.name
                ),
            ),
        };
        Error::ChecksumMismatch {
            url: download.url.to_string(),
            expected: download.file.sha256.clone(),
            actual,
            authority,
            renew_hint,
        }
    }
}

/// The position in the file of the first byte in this response. Deletes the part if it cannot be
/// continued.
fn starting_position(
    response: &Response,
    download: &FileDownload<'_>,
    present_bytes: u64,
) -> Result<u64, HubFailure> {
    let FileDownload {
        file, url, part, ..
    } = download;
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let (first_byte, total_bytes) = parse_content_range(response)
                .ok_or_else(|| unexpected_answer(url, "a part without Content-Range"))?;
            let is_other_length = total_bytes.is_some_and(|bytes| bytes != file.bytes);
            if first_byte != present_bytes || is_other_length {
                part.delete_files()?;
                return Err(HubFailure::transient(
                    "the hub sent another part than was requested",
                ));
            }
            Ok(present_bytes)
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            part.delete_files()?;
            Err(HubFailure::transient("the hub has no such part"))
        }
        // The whole file: nothing is on disk yet, the file on the hub changed, or the server does
        // not support ranges.
        _ => match response.content_length() {
            Some(bytes) if bytes != file.bytes => {
                let reason = format!("it sends {bytes} bytes instead of {}", file.bytes);
                Err(unexpected_answer(url, reason).into())
            }
            _ => Ok(0),
        },
    }
}

/// Parses `bytes 5-9/10` into the first byte and the total length.
fn parse_content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let first_byte = range.split_once('-')?.0.trim().parse().ok()?;
    Some((first_byte, total.trim().parse().ok()))
}
