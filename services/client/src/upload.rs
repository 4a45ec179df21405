//! `upload`: adds pictures to a library of a running lookalike, and waits until they are indexed.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lookalike_chassis::settings::size::format_size;
use lookalike_chassis::{Backoff, stdio};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::duration_arg::parse_nonzero_duration;
use crate::file_list::{name_unprocessed_files, split_file_list};
use crate::service::{ServiceArgs, ServiceClient, ServiceRefusal, is_worth_a_retry, retry_request};
use crate::terminal::{self, escape_line};
use crate::usage_error::{format_error, usage_error};

/// Of the state of an upload.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Between two polls while the service restarts or is overloaded.
const MAX_POLL_WAIT: Duration = Duration::from_secs(2);

/// The largest file that is read into memory and sent. The service has a limit of its own, by default
/// 256 MiB (`uploads.max_bytes`).
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Codes of refusals that concern one picture and no other.
const CODES_OF_ONE_PICTURE: &[&str] = &[
    "too_large",
    "not_an_image",
    "unsupported_format",
    "unsupported_feature",
    "upload_timeout",
    "empty",
];

#[derive(Debug, Args)]
pub struct UploadArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Pictures on this disk; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "files_from")]
    pub files: Vec<PathBuf>,
    /// The library that gets the pictures (default: the only one that accepts uploads)
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// The folder in the library; it is created if necessary (default: its root)
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<String>,
    /// Also upload the pictures that this file lists, one per line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub files_from: Option<PathBuf>,
    /// The list of --files-from has a NUL byte instead of a line break behind each name
    #[arg(long, short = '0', requires = "files_from")]
    pub null: bool,
    /// Do not wait until the pictures are indexed
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait until all pictures are indexed (45s, 10m)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_nonzero_duration)]
    pub timeout: Duration,
}

/// The examples in the help of `upload`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike upload photo.jpg --library shop                one picture\n  \
    lookalike upload *.jpg --library shop --folder 2026/May  several, into a folder\n  \
    find new -name '*.jpg' -print0 | lookalike upload --files-from - -0 --library shop\n\n\
    A picture that the folder contains already is not stored again. The library must accept uploads:\n\
    start the service with --allow-uploads NAME.\n\n\
    Exit codes: 0 all pictures are indexed (with --no-wait: stored), 1 one of them was refused,\n\
    cannot be read or indexed, or was not indexed in time, 2 wrong use or settings, or one of the\n\
    files does not exist.";

/// Why a file on this disk is not sent.
#[derive(Debug)]
enum UnsendableFile {
    Unreadable(io::Error),
    TooLarge,
}

impl UnsendableFile {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for UnsendableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::TooLarge => write!(
                f,
                "larger than {}, the most that `lookalike upload` sends; copy the file to the folder \
                 of the library instead",
                format_size(MAX_FILE_BYTES)
            ),
        }
    }
}

impl std::error::Error for UnsendableFile {}

/// One picture: its name on this disk, and what the service answered last.
struct FileUpload {
    file: PathBuf,
    answer: Result<Value>,
}

impl FileUpload {
    fn state(&self) -> &str {
        match &self.answer {
            Ok(answer) => answer["state"].as_str().unwrap_or("?"),
            Err(error) => match error.downcast_ref::<UnsendableFile>() {
                Some(UnsendableFile::Unreadable(_)) => "unreadable",
                _ => "refused",
            },
        }
    }

    fn is_missing(&self) -> bool {
        let error = self.answer.as_ref().err();
        let unsendable = error.and_then(|error| error.downcast_ref::<UnsendableFile>());
        unsendable.is_some_and(UnsendableFile::is_missing)
    }

    fn is_pending(&self) -> bool {
        self.state() == "landed"
    }

    fn format_line(&self) -> String {
        let file = self.file.display();
        let answer = match &self.answer {
            Ok(answer) => answer,
            Err(error) if self.state() == "unreadable" => {
                return format!("{file}: {}", format_error(error));
            }
            Err(error) => return format!("{file}: refused: {}", format_error(error)),
        };
        let text = |key: &str| answer[key].as_str().unwrap_or_default();
        let place = format!("{}/{}", text("library"), text("path"));
        let known = match answer["created"] == false {
            true => " (it was there before)",
            false => "",
        };
        match self.state() {
            "failed" => format!("{place}: {} ({})", text("detail"), text("code")),
            "landed" => format!("{place}: stored{known}"),
            state => format!("{place}: {state}{known}"),
        }
    }

    fn to_json(&self) -> Value {
        match &self.answer {
            Ok(answer) => {
                let mut upload = answer.clone();
                upload["file"] = json!(self.file.to_string_lossy());
                upload
            }
            Err(error) => json!({
                "file": self.file.to_string_lossy(),
                "state": self.state(),
                "error": format_error(error),
            }),
        }
    }
}

/// Uploads the pictures one after the other, and then waits for all of them. An error that concerns
/// all pictures ends the command after the report of those that are stored.
pub async fn run_upload(service: &ServiceClient, args: &UploadArgs) -> Result<()> {
    let files = list_files(args).await?;
    let progress = show_progress(files.len());
    progress.set_message("uploading");
    let (mut uploads, mut outcome) = send_files(service, args, files, &progress).await;
    progress.set_message("indexing");
    let deadline = Instant::now() + args.timeout;
    for upload in &mut uploads {
        if outcome.is_ok() && !args.no_wait {
            outcome = wait_until_indexed(service, upload, deadline).await;
        }
        if !args.service.json {
            let line = escape_line(&upload.format_line()).into_owned();
            progress.suspend(|| stdio::write_line(&line))?;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if args.service.json {
        let uploads: Vec<Value> = uploads.iter().map(FileUpload::to_json).collect();
        terminal::write_json(&json!({ "uploads": uploads }))?;
    }
    outcome?;
    summarize(&uploads, args)
}

/// Sends the files until one fails for a reason that concerns all of them. Returns what became of
/// those before.
async fn send_files(
    service: &ServiceClient,
    args: &UploadArgs,
    files: Vec<PathBuf>,
    progress: &ProgressBar,
) -> (Vec<FileUpload>, Result<()>) {
    let total = files.len();
    let mut uploads = Vec::with_capacity(total);
    for file in files {
        let answer = send_file(service, args, &file).await;
        match answer {
            Err(error) if !concerns_one_picture(&error) => {
                let files = name_unprocessed_files(&file, total - uploads.len() - 1);
                return (
                    uploads,
                    Err(error.context(format!("cannot upload {files}"))),
                );
            }
            answer => uploads.push(FileUpload { file, answer }),
        }
        progress.inc(1);
    }
    (uploads, Ok(()))
}

/// Returns whether the other pictures may be accepted.
fn concerns_one_picture(error: &anyhow::Error) -> bool {
    error.downcast_ref::<UnsendableFile>().is_some()
        || ServiceRefusal::has_code(error, CODES_OF_ONE_PICTURE)
        // The name is that of the file.
        || ServiceRefusal::is_about_param(error, "name")
}

/// Fails if a picture is not where it should be.
fn summarize(done: &[FileUpload], args: &UploadArgs) -> Result<()> {
    let count = |states: &[&str]| {
        let matching = done
            .iter()
            .filter(|upload| states.contains(&upload.state()));
        matching.count()
    };
    let bad = count(&["refused", "unreadable", "failed", "removed"]);
    if bad > 0 {
        let summary = anyhow!("{bad} of {} pictures are not in the index", done.len());
        // Scripts distinguish a file that does not exist from a picture that is refused.
        return Err(match done.iter().any(FileUpload::is_missing) {
            true => usage_error(summary),
            false => summary,
        });
    }
    let late = count(&["landed"]);
    if late > 0 && !args.no_wait {
        bail!(
            "{late} of {} pictures are stored, but were not indexed within --timeout; `lookalike \
             status` shows the progress",
            done.len()
        );
    }
    Ok(())
}

async fn list_files(args: &UploadArgs) -> Result<Vec<PathBuf>> {
    let mut files = args.files.clone();
    if let Some(list) = &args.files_from {
        let names = read_file(list).await;
        let names = names.map_err(|error| usage_error(anyhow!("{}: {error}", list.display())))?;
        files.extend(split_file_list(&names, args.null));
    }
    match files.is_empty() {
        true => Err(usage_error(anyhow!("there are no files to upload"))),
        false => Ok(files),
    }
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Reads a file, or standard input.
///
/// # Errors
/// [`UnsendableFile`].
async fn read_file(file: &Path) -> Result<Vec<u8>> {
    let file = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || match is_standard_input(&file) {
        true => read_bounded(io::stdin().lock(), MAX_FILE_BYTES),
        false => open_and_read(&file, MAX_FILE_BYTES),
    });
    Ok(reading.await??)
}

fn open_and_read(file: &Path, max_bytes: u64) -> Result<Vec<u8>, UnsendableFile> {
    let file = File::open(file).map_err(UnsendableFile::Unreadable)?;
    let metadata = file.metadata().map_err(UnsendableFile::Unreadable)?;
    match metadata.is_file() && metadata.len() > max_bytes {
        true => Err(UnsendableFile::TooLarge),
        // The size of a pipe is not known before, and a file may grow.
        false => read_bounded(file, max_bytes),
    }
}

fn read_bounded(reader: impl Read, max_bytes: u64) -> Result<Vec<u8>, UnsendableFile> {
    let mut bytes = Vec::new();
    reader
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(UnsendableFile::Unreadable)?;
    match bytes.len() as u64 > max_bytes {
        true => Err(UnsendableFile::TooLarge),
        false => Ok(bytes),
    }
}

async fn send_file(service: &ServiceClient, args: &UploadArgs, file: &Path) -> Result<Value> {
    let bytes = read_file(file).await?;
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|_| !is_standard_input(file));
    let parameters = [
        ("library", args.library.clone()),
        ("folder", args.folder.clone()),
        ("name", name),
    ];
    let query: Vec<(&str, String)> = parameters
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    // A repetition stores nothing twice.
    retry_request(|| service.post_bytes("/v1/images", &query, bytes.clone())).await
}

/// Updates the answer until the picture is indexed or failed, or the time is over. Asks at least
/// once, because other pictures may have used up the time.
///
/// # Errors
/// If the service is unreachable at the deadline, or refuses to answer.
async fn wait_until_indexed(
    service: &ServiceClient,
    upload: &mut FileUpload,
    deadline: Instant,
) -> Result<()> {
    let mut backoff = Backoff::new(POLL_INTERVAL, MAX_POLL_WAIT);
    while upload.is_pending() {
        let Ok(answer) = &upload.answer else { break };
        let path = format!("/v1/uploads/{}", answer["id"].as_str().unwrap_or_default());
        let created = answer["created"].clone();
        let is_last = Instant::now() >= deadline;
        let wait = match service.get_json(&path, &[]).await {
            Ok(mut present) => {
                present["created"] = created;
                upload.answer = Ok(present);
                backoff.reset_attempts();
                POLL_INTERVAL
            }
            Err(error) if is_worth_a_retry(&error) && !is_last => backoff.next_delay(),
            Err(error) => {
                let file = upload.file.display();
                let context = format!("cannot determine whether {file} is indexed");
                return Err(error.context(context));
            }
        };
        if is_last {
            break;
        }
        if upload.is_pending() {
            tokio::time::sleep_until(deadline.min(Instant::now() + wait)).await;
        }
    }
    Ok(())
}

/// A bar on a terminal: each picture is one step when it is stored, and one when it is indexed.
fn show_progress(files: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent} %")
        .expect("the template is constant and valid");
    let progress = ProgressBar::new(2 * files as u64).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn each_picture_is_one_line() {
        let line = |answer: Value| {
            let upload = FileUpload {
                file: "a.jpg".into(),
                answer: Ok(answer),
            };
            upload.format_line()
        };
        let answer = |state: &str, created: bool| {
            json!({ "library": "shop", "path": "2026/a.jpg", "state": state, "created": created,
                    "code": "truncated", "detail": "It is cut short." })
        };
        assert_eq!(line(answer("indexed", true)), "shop/2026/a.jpg: indexed");
        assert_eq!(
            line(answer("indexed", false)),
            "shop/2026/a.jpg: indexed (it was there before)"
        );
        assert_eq!(line(answer("landed", true)), "shop/2026/a.jpg: stored");
        assert_eq!(
            line(answer("failed", true)),
            "shop/2026/a.jpg: It is cut short. (truncated)"
        );
        let refused = failed_upload(anyhow!("it is no picture"));
        assert_eq!(refused.format_line(), "a.jpg: refused: it is no picture");
        assert_eq!(refused.to_json()["state"], "refused");
        assert!(!refused.is_pending());
    }

    fn failed_upload(error: anyhow::Error) -> FileUpload {
        FileUpload {
            file: "a.jpg".into(),
            answer: Err(error),
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_concerns_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for (file, is_missing) in [("", false), ("missing.jpg", true)] {
            let error = read_file(&dir.path().join(file)).await.unwrap_err();
            assert!(concerns_one_picture(&error), "{error}");
            let upload = failed_upload(error);
            assert_eq!(upload.to_json()["state"], "unreadable");
            assert_eq!(upload.is_missing(), is_missing);
            let line = upload.format_line();
            assert!(line.starts_with("a.jpg: cannot be read: "), "{line}");
        }
        assert!(!concerns_one_picture(&anyhow!("connection failed")));
    }

    #[test]
    fn large_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.jpg");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(open_and_read(&file, 5).unwrap(), b"12345");
        // Standard input and pipes have no size.
        for read in [open_and_read(&file, 4), read_bounded(&b"12345"[..], 4)] {
            let error = read.unwrap_err();
            assert!(matches!(error, UnsendableFile::TooLarge), "{error}");
            assert_eq!(failed_upload(error.into()).state(), "refused");
        }
    }

    /// Answers each connection with the next of these statuses and bodies, and then with the last.
    async fn serve_answers(answers: &'static [(u16, &'static str)]) -> ServiceClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for number in 0_usize.. {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(connection.read_u8().await.unwrap());
                }
                let (status, body) = answers[number.min(answers.len() - 1)];
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        ServiceClient::locate(&url, None, false).unwrap()
    }

    fn landed_upload() -> FileUpload {
        FileUpload {
            file: "a.jpg".into(),
            answer: Ok(json!({ "id": "1", "state": "landed", "created": true })),
        }
    }

    const INDEXED: (u16, &str) = (200, r#"{"id": "1", "state": "indexed"}"#);
    const LANDED: (u16, &str) = (200, r#"{"id": "1", "state": "landed"}"#);
    const NOT_READY: (u16, &str) = (503, r#"{"code": "not_ready", "detail": "not yet"}"#);
    const UNKNOWN: (u16, &str) = (404, r#"{"code": "no_such_upload", "detail": "none"}"#);

    #[tokio::test]
    async fn a_picture_is_polled_after_the_deadline() {
        for (answers, state) in [(&[INDEXED], "indexed"), (&[LANDED], "landed")] {
            let service = serve_answers(answers).await;
            let mut upload = landed_upload();
            let waited = wait_until_indexed(&service, &mut upload, Instant::now()).await;
            waited.unwrap();
            assert_eq!(upload.state(), state);
            assert_eq!(upload.to_json()["created"], true);
        }
        let service = serve_answers(&[NOT_READY]).await;
        let waited = wait_until_indexed(&service, &mut landed_upload(), Instant::now()).await;
        assert!(format_error(&waited.unwrap_err()).contains("not yet"));
    }

    #[tokio::test]
    async fn polls_outlast_a_restart() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let service = serve_answers(&[NOT_READY, NOT_READY, LANDED, NOT_READY, INDEXED]).await;
        let mut upload = landed_upload();
        let waited = wait_until_indexed(&service, &mut upload, deadline).await;
        waited.unwrap();
        assert_eq!(upload.state(), "indexed");
        let service = serve_answers(&[UNKNOWN]).await;
        let waited = wait_until_indexed(&service, &mut landed_upload(), deadline).await;
        assert!(waited.is_err());
    }
}
