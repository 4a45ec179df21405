//! What can keep a model from being here. Every message says what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::bar::format_bytes;

/// Why a model is not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform has no cache folder.
    #[error("this system names no cache folder: set servers.cache_dir")]
    NoCache,
    /// The cache can't be read or written.
    #[error("{}: {source}{}", path.display(), io_error_advice(source))]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Downloading was forbidden.
    #[error(
        "model {name} is not in the cache ({}), and nothing is downloaded with --offline: run `lookalike models fetch {name}` without it, or copy that folder from a machine that has it", folder.display()
    )]
    Offline {
        /// The model.
        name: String,
        /// Where it would be.
        folder: PathBuf,
    },
    /// A file of the cache is not what was fetched.
    #[error(
        "{} {what}: it was changed after that, or damaged, and is not used. Delete its folder and run `lookalike models fetch {name}`", path.display()
    )]
    Altered {
        /// The file.
        path: PathBuf,
        /// How it differs.
        what: String,
        /// The model.
        name: String,
    },
    /// The address of the hub is none.
    #[error(
        "models.hub (HF_ENDPOINT) is no address: {hub:?} ({why}); it must be as https://huggingface.co"
    )]
    InvalidHubAddress {
        /// What was given.
        hub: String,
        /// What is wrong.
        why: String,
    },
    /// A variable names a proxy of no kind that is known.
    #[error(
        "{variable} names a proxy that can't be used ({why}); it must be as http://HOST:PORT, https:// or socks5h://, or be empty"
    )]
    InvalidProxy {
        /// The variable.
        variable: String,
        /// What is wrong with what it says, which may hold a password.
        why: String,
    },
    /// No client can be made.
    #[error(
        "no HTTPS client can be made: {0}; check the proxy variables and the system's certificates"
    )]
    BuildClient(reqwest::Error),
    /// The hub does not have it.
    #[error(
        "the hub has no {url}: a mirror may lack it (HF_ENDPOINT), or it was taken away; `lookalike models list` shows other models, and --model FOLDER takes files that you have"
    )]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The hub wants to know who asks, or refuses.
    #[error("the hub refuses {url} ({status}): {advice}")]
    Refused {
        /// What was asked for.
        url: String,
        /// Its status.
        status: u16,
        /// What to do.
        advice: String,
    },
    /// The hub does not answer, however often it is asked.
    #[error(
        "{url} can't be fetched after {attempts} attempts ({why}).{kept} Check the network and the proxy (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), or name a mirror with HF_ENDPOINT"
    )]
    GaveUp {
        /// What was asked for.
        url: String,
        /// How often.
        attempts: u32,
        /// The last reason.
        why: String,
        /// What of it is here, as a sentence, or nothing.
        kept: &'static str,
    },
    /// The hub asks to be left alone for longer than we wait.
    #[error(
        "the hub asks to wait for {} before {url} is asked for again: do that, or set HF_TOKEN, which is allowed more. What has arrived is kept", format_wait(*wait)
    )]
    RateLimited {
        /// What was asked for.
        url: String,
        /// For how long.
        wait: Duration,
    },
    /// The hub says something that it should not.
    #[error(
        "{url} is not answered as the hub does ({why}): is HF_ENDPOINT a Hugging Face hub or a mirror of it?"
    )]
    UnexpectedAnswer {
        /// What was asked for.
        url: String,
        /// What it says.
        why: String,
    },
    /// Larger than allowed, or than announced.
    #[error("{url} is {} long; at most {} are fetched (models.max_file_bytes)", format_bytes(*bytes), format_bytes(*most))]
    TooLarge {
        /// What was asked for.
        url: String,
        /// Its length.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// The bytes are not those that were announced or pinned.
    #[error(
        "{url} has the SHA-256 {found}, but {who} says {expected}: these are other bytes, and they were thrown away. A proxy or mirror may change downloads (HF_ENDPOINT, HTTPS_PROXY); try again without it{renew}"
    )]
    Checksum {
        /// What was asked for.
        url: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
        /// Who says so.
        who: &'static str,
        /// What else can be done.
        renew: String,
    },
    /// The hub announces other weights than at the first fetch.
    #[error(
        "the hub now announces other bytes for {url} (SHA-256 {now}) than at the first fetch ({before}): they were exchanged, and are not taken. If that is meant, `lookalike models fetch {name} --renew` takes them; an index that was made with the old ones is refused then"
    )]
    AnnouncedChecksumChanged {
        /// What was asked for.
        url: String,
        /// The model.
        name: String,
        /// At the first fetch.
        before: String,
        /// Now.
        now: String,
    },
}

fn io_error_advice(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: make room, or set servers.cache_dir to a larger one; what has \
             arrived is kept"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; the cache folder must be writable for a fetch: set servers.cache_dir to one that is"
        }
        _ => "",
    }
    .to_owned()
}

fn format_wait(wait: Duration) -> String {
    format!("{} s", wait.as_secs().max(1))
}
