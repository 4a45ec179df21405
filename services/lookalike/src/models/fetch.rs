//! Fetching a model: each file into `FILE.part`, from where an earlier attempt ended, until every
//! byte is there; then its checksum; then its name.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lookalike_chassis::Backoff;
use lookalike_vision::registry::{Hub, Known};
use reqwest::header::{CONTENT_RANGE, ETAG};
use reqwest::{Response, StatusCode, Url};

use super::bar::Bar;
use super::cache::{self, Lock, LockedFile, PinnedBy, Place, at};
use super::error::Error;
use super::hub::{Announced, Client, Trouble, causes, strange};
use super::settings::Settings;

/// An attempt that brings less does not count as one that got on.
const PROGRESS: u64 = 64 << 10;

/// One model's fetch.
pub struct Fetch<'a> {
    /// How.
    pub settings: &'a Settings,
    /// What.
    pub known: &'static Known,
    /// From where.
    pub hub: Hub,
    /// To where.
    pub place: Place,
    /// Take what the hub has now, whatever the first fetch found.
    pub renew: bool,
}

impl Fetch<'_> {
    /// Fetches what is missing, and gives the folder.
    ///
    /// # Errors
    /// Whatever keeps the model from being here; what has arrived is kept.
    pub async fn run(&self) -> Result<PathBuf, Error> {
        let client = Client::new(self.settings)?;
        let name = self.known.name;
        let waiting = || eprintln!("another lookalike fetches {name}, waiting for it");
        let _alone = self.place.busy(waiting).await?;
        if !self.renew
            && let Some(folder) = self.place.complete()?
        {
            // Whoever was waited for has fetched it.
            return Ok(folder);
        }
        let lock = self.lock(&client).await?;
        let folder = self.place.write_lock(&lock)?;
        for file in &lock.files {
            let path = folder.join(&file.name);
            if path.exists() && self.renew && hash(&path).await? != file.sha256 {
                std::fs::remove_file(&path).map_err(at(&path))?;
            }
            if !path.exists() {
                self.file(&client, &lock, file, &folder).await?;
            }
        }
        self.place.complete()?.ok_or_else(|| Error::Altered {
            path: folder,
            what: "lacks a file that was just fetched".to_owned(),
            name: name.to_owned(),
        })
    }

    /// What the files must be: as lookalike says, as the first fetch found, or as the hub says now.
    async fn lock(&self, client: &Client) -> Result<Lock, Error> {
        if let Some(lock) = Lock::pinned(self.known, &self.hub) {
            return Ok(lock);
        }
        if !self.renew
            && let Some(lock) = self.place.lock()?
        {
            return Ok(lock);
        }
        let mut revision = self.hub.revision.to_owned();
        let mut files = Vec::new();
        for file in self.hub.files() {
            let url = client.url(self.hub.repository, &revision, file.name)?;
            let announced = self.ask(client, &url).await?;
            // All files are of the commit that the first one is of.
            revision = announced
                .commit
                .ok_or_else(|| strange(&url, "it names no commit (X-Repo-Commit)"))?;
            let sha256 = announced
                .sha256
                .ok_or_else(|| strange(&url, "it names no SHA-256 (X-Linked-Etag)"))?;
            let bytes = announced
                .bytes
                .ok_or_else(|| strange(&url, "it names no length (X-Linked-Size)"))?;
            files.push(LockedFile {
                name: file.name.to_owned(),
                bytes,
                sha256,
            });
        }
        Ok(Lock {
            name: self.known.name.to_owned(),
            repository: self.hub.repository.to_owned(),
            revision,
            pinned: PinnedBy::FirstFetch,
            at: cache::now_millis(),
            files,
        })
    }

    async fn ask(&self, client: &Client, url: &Url) -> Result<Announced, Error> {
        let mut patience = Patience::new(self.settings, url);
        loop {
            match client.ask(url).await {
                Ok(announced) => return Ok(announced),
                Err(trouble) => {
                    patience
                        .after(trouble, false, |line| eprintln!("{line}"))
                        .await?
                }
            }
        }
    }

    async fn file(
        &self,
        client: &Client,
        lock: &Lock,
        file: &LockedFile,
        folder: &Path,
    ) -> Result<(), Error> {
        let url = client.url(&lock.repository, &lock.revision, &file.name)?;
        let most = self.settings.max_file_bytes;
        if file.bytes > most {
            return Err(Error::TooLarge {
                url: url.to_string(),
                bytes: file.bytes,
                most,
            });
        }
        let part = Part::new(folder, &file.name);
        // Bytes that an earlier process left may be of anything, and deserve a second try.
        let mut is_left_over = part.len()? > 0;
        loop {
            self.bytes(client, lock, file, &url, &part).await?;
            let found = hash(&part.path).await?;
            if found == file.sha256 {
                return part.finish(&folder.join(&file.name));
            }
            part.discard()?;
            if is_left_over {
                is_left_over = false;
                eprintln!(
                    "{}: what an earlier fetch left does not fit, fetching it from the beginning",
                    file.name
                );
                continue;
            }
            return Err(self.other_bytes(lock, file, &url, found));
        }
    }

    /// Fetches until the part has the length that it must have.
    async fn bytes(
        &self,
        client: &Client,
        lock: &Lock,
        file: &LockedFile,
        url: &Url,
        part: &Part,
    ) -> Result<(), Error> {
        let mut patience = Patience::new(self.settings, url);
        let mut have = part.len()?;
        if have > file.bytes {
            part.discard()?;
            have = 0;
        }
        if have == file.bytes {
            return Ok(());
        }
        let what = format!("{} {}", self.known.name, file.name);
        let mut bar = Bar::new(&what, have, file.bytes);
        // The most that there ever was: what is lost and fetched again is nothing new.
        let mut best = have;
        loop {
            let attempt = self.attempt(client, lock, file, url, part, &mut bar).await;
            let now = part.len()?;
            let trouble = match attempt {
                Ok(()) if now == file.bytes => return Ok(()),
                Ok(()) => Trouble::Again {
                    why: "the connection was closed before the end".to_owned(),
                    wait: None,
                },
                Err(trouble) => trouble,
            };
            let got_on = now >= best + PROGRESS;
            best = best.max(now);
            patience.has_part = now > 0;
            patience
                .after(trouble, got_on, |line| bar.say(line))
                .await?;
        }
    }

    /// One request, and its bytes as long as they come.
    async fn attempt(
        &self,
        client: &Client,
        lock: &Lock,
        file: &LockedFile,
        url: &Url,
        part: &Part,
        bar: &mut Bar,
    ) -> Result<(), Trouble> {
        let have = part.len()?;
        let (mut response, announced) = client.get(url, have, part.etag().as_deref()).await?;
        if let Some(now) = announced.sha256.filter(|now| *now != file.sha256) {
            return Err(self.other_announcement(lock, file, url, now).into());
        }
        let mut at_byte = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (from, total) = content_range(&response)
                    .ok_or_else(|| strange(url, "a part without Content-Range"))?;
                if from != have || total.is_some_and(|total| total != file.bytes) {
                    part.discard()?;
                    return Err(Trouble::Again {
                        why: "the hub sent another part than was asked for".to_owned(),
                        wait: None,
                    });
                }
                have
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.discard()?;
                return Err(Trouble::Again {
                    why: "the hub has no such part".to_owned(),
                    wait: None,
                });
            }
            _ => {
                if let Some(bytes) = response.content_length().filter(|n| *n != file.bytes) {
                    let why = format!("it sends {bytes} bytes instead of {}", file.bytes);
                    return Err(strange(url, why).into());
                }
                // The whole, because nothing is here, the file has become another one, or the
                // other side does not do parts.
                0
            }
        };
        let etag = response.headers().get(ETAG);
        part.remember(etag.and_then(|etag| etag.to_str().ok()))?;
        let mut out = part.open(at_byte == 0)?;
        bar.at(at_byte);
        let stall = self.settings.stall_timeout;
        loop {
            let chunk = tokio::time::timeout(stall, response.chunk())
                .await
                .map_err(|_| Trouble::Again {
                    why: format!("nothing came for {stall:?}"),
                    wait: None,
                })?
                .map_err(|error| Trouble::Again {
                    why: causes(&error),
                    wait: None,
                })?;
            let Some(chunk) = chunk else {
                return Ok(());
            };
            at_byte += chunk.len() as u64;
            if at_byte > file.bytes {
                part.discard()?;
                let why = format!("it sends more than the {} bytes of the file", file.bytes);
                return Err(strange(url, why).into());
            }
            out.write_all(&chunk).map_err(at(&part.path))?;
            bar.at(at_byte);
        }
    }

    /// The hub announces other bytes than the lock says.
    fn other_announcement(&self, lock: &Lock, file: &LockedFile, url: &Url, now: String) -> Error {
        match lock.pinned {
            PinnedBy::FirstFetch => Error::Exchanged {
                url: url.to_string(),
                name: self.known.name.to_owned(),
                before: file.sha256.clone(),
                now,
            },
            PinnedBy::Lookalike => self.other_bytes(lock, file, url, now),
        }
    }

    fn other_bytes(&self, lock: &Lock, file: &LockedFile, url: &Url, found: String) -> Error {
        let (who, renew) = match lock.pinned {
            PinnedBy::Lookalike => ("lookalike", String::new()),
            PinnedBy::FirstFetch => (
                "the hub",
                format!(
                    "; if the model was exchanged on purpose, `lookalike models fetch {} --renew` \
                     takes it",
                    self.known.name
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
struct Patience<'a> {
    settings: &'a Settings,
    url: &'a Url,
    backoff: Backoff,
    in_vain: u32,
    /// Whether there is anything from which another fetch would go on.
    has_part: bool,
}

impl<'a> Patience<'a> {
    fn new(settings: &'a Settings, url: &'a Url) -> Self {
        let longest = settings.max_wait.min(Duration::from_secs(20));
        let first = longest.min(Duration::from_millis(500));
        Self {
            settings,
            url,
            backoff: Backoff::new(first, longest),
            in_vain: 0,
            has_part: false,
        }
    }

    /// Waits, or gives up. An attempt that got on starts the count anew.
    async fn after(
        &mut self,
        trouble: Trouble,
        got_on: bool,
        say: impl FnOnce(&str),
    ) -> Result<(), Error> {
        let (why, asked) = match trouble {
            Trouble::Never(error) => return Err(error),
            Trouble::Again { why, wait } => (why, wait),
        };
        if got_on {
            self.in_vain = 0;
            self.backoff.reset();
        }
        self.in_vain += 1;
        if self.in_vain >= self.settings.attempts.max(1) {
            return Err(Error::GaveUp {
                url: self.url.to_string(),
                attempts: self.in_vain,
                why,
                kept: if self.has_part {
                    " What has arrived is kept: the same command goes on there."
                } else {
                    ""
                },
            });
        }
        if let Some(wait) = asked.filter(|wait| *wait > self.settings.max_wait) {
            return Err(Error::Wait {
                url: self.url.to_string(),
                wait,
            });
        }
        let wait = self.backoff.next_wait().max(asked.unwrap_or_default());
        say(&format!(
            "{why}; trying again in {:.1} s",
            wait.as_secs_f64()
        ));
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A file that has not arrived yet, with the tag of what it is a part of.
struct Part {
    path: PathBuf,
    tag: PathBuf,
}

impl Part {
    fn new(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(format!("{name}.part")),
            tag: folder.join(format!("{name}.part.etag")),
        }
    }

    fn len(&self) -> Result<u64, Error> {
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(at(&self.path)(error)),
        }
    }

    fn etag(&self) -> Option<String> {
        std::fs::read_to_string(&self.tag).ok()
    }

    /// Only a strong tag can be asked by.
    fn remember(&self, etag: Option<&str>) -> Result<(), Error> {
        match etag.filter(|etag| etag.starts_with('"')) {
            Some(etag) => std::fs::write(&self.tag, etag).map_err(at(&self.tag)),
            None => remove(&self.tag),
        }
    }

    fn open(&self, anew: bool) -> Result<File, Error> {
        std::fs::create_dir_all(self.path.parent().unwrap_or(&self.path))
            .map_err(at(&self.path))?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .map_err(at(&self.path))?;
        if anew && self.len()? > 0 {
            file.set_len(0).map_err(at(&self.path))?;
        }
        Ok(file)
    }

    fn discard(&self) -> Result<(), Error> {
        remove(&self.path)?;
        remove(&self.tag)
    }

    /// Its bytes are right: gives it its name, for good.
    fn finish(&self, name: &Path) -> Result<(), Error> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(at(&self.path))?;
        std::fs::rename(&self.path, name).map_err(at(name))?;
        cache::sync_folder(name)?;
        remove(&self.tag)
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// SHA-256 of a file, off the runtime's threads.
async fn hash(path: &Path) -> Result<String, Error> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || cache::sha256(&path));
    match hashing.await {
        Ok(hash) => hash,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// First byte and whole length, as `bytes 5-9/10` says.
fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = range.split_once('-')?.0.trim().parse().ok()?;
    Some((from, total.trim().parse().ok()))
}
