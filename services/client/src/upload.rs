//! `upload`: adds pictures to a library of a running lookalike, and waits until they are indexed.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lookalike_chassis::{Retry, stdio};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::duration_arg::parse_nonzero_duration;
use crate::file_list::split_file_list;
use crate::service::{ServiceArgs, ServiceClient, ServiceRefusal, is_transient};
use crate::terminal::{self, escape_line};
use crate::usage_error::{format_error, usage_error};

/// Of the state of an upload.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Attempts of one request while the service restarts or is overloaded.
const MAX_ATTEMPTS: u32 = 4;

/// Codes of refusals that concern one picture and no other.
const CODES_OF_ONE_PICTURE: &[&str] = &[
    "too_large",
    "not_an_image",
    "unsupported_format",
    "unsupported_feature",
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
    Exit codes: 0 all pictures are indexed (with --no-wait: stored), 1 one of them was refused or\n\
    cannot be indexed, or was not indexed in time, 2 wrong use or settings.";

/// One picture: its name on this disk, and what the service answered last.
struct FileUpload {
    file: PathBuf,
    answer: Result<Value>,
}

impl FileUpload {
    fn state(&self) -> &str {
        match &self.answer {
            Ok(answer) => answer["state"].as_str().unwrap_or("?"),
            Err(_) => "refused",
        }
    }

    fn is_pending(&self) -> bool {
        self.state() == "landed"
    }

    fn format_line(&self) -> String {
        let file = self.file.display();
        let answer = match &self.answer {
            Ok(answer) => answer,
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
                "state": "refused",
                "error": format_error(error),
            }),
        }
    }
}

/// Uploads the pictures one after the other, and then waits for all of them.
pub async fn run_upload(service: &ServiceClient, args: &UploadArgs) -> Result<()> {
    let files = list_files(args).await?;
    let deadline = Instant::now() + args.timeout;
    let progress = show_progress(files.len());
    let mut pending = VecDeque::new();
    for file in files {
        progress.set_message("uploading");
        let answer = send_file(service, args, &file).await;
        if let Err(error) = &answer
            && !concerns_one_picture(error)
        {
            progress.finish_and_clear();
            return answer
                .map(|_| ())
                .with_context(|| file.display().to_string());
        }
        progress.inc(1);
        pending.push_back(FileUpload { file, answer });
    }
    let mut done = Vec::new();
    while let Some(mut upload) = pending.pop_front() {
        progress.set_message("indexing");
        if !args.no_wait {
            wait_until_indexed(service, &mut upload, deadline).await?;
        }
        if !args.service.json {
            let line = escape_line(&upload.format_line()).into_owned();
            progress.suspend(|| stdio::write_line(&line))?;
        }
        progress.inc(1);
        done.push(upload);
    }
    progress.finish_and_clear();
    if args.service.json {
        let uploads: Vec<Value> = done.iter().map(FileUpload::to_json).collect();
        terminal::write_json(&json!({ "uploads": uploads }))?;
    }
    summarize(&done, args)
}

/// Fails if a picture is not where it should be.
fn summarize(done: &[FileUpload], args: &UploadArgs) -> Result<()> {
    let count = |states: &[&str]| {
        let matching = done
            .iter()
            .filter(|upload| states.contains(&upload.state()));
        matching.count()
    };
    let bad = count(&["refused", "failed", "removed"]);
    if bad > 0 {
        bail!("{bad} of {} pictures are not in the index", done.len());
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
        files.extend(split_file_list(&read_file(list).await?, args.null));
    }
    match files.is_empty() {
        true => Err(usage_error(anyhow!("there are no files to upload"))),
        false => Ok(files),
    }
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

async fn read_file(file: &Path) -> Result<Vec<u8>> {
    if is_standard_input(file) {
        let reading = tokio::task::spawn_blocking(|| {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map(|_| bytes)
        });
        return reading.await?.context("cannot read standard input");
    }
    let read = tokio::fs::read(file).await;
    // Scripts distinguish a file that does not exist from a picture that is refused.
    read.map_err(|error| usage_error(anyhow!("cannot read {}: {error}", file.display())))
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
    retry_requests()
        .run(
            || service.post_bytes("/v1/images", &query, bytes.clone()),
            is_worth_a_retry,
        )
        .await
}

/// A repetition stores nothing twice.
fn retry_requests() -> Retry {
    Retry::new(Duration::from_millis(250), Duration::from_secs(2)).with_max_attempts(MAX_ATTEMPTS)
}

fn is_worth_a_retry(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<ServiceRefusal>();
    is_transient(error) && refusal.is_none_or(|refusal| refusal.code != "storage_full")
}

fn concerns_one_picture(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<ServiceRefusal>();
    refusal.is_some_and(|refusal| CODES_OF_ONE_PICTURE.contains(&refusal.code.as_str()))
}

/// Updates the answer until the picture is indexed or failed, or the time is over.
async fn wait_until_indexed(
    service: &ServiceClient,
    upload: &mut FileUpload,
    deadline: Instant,
) -> Result<()> {
    while upload.is_pending() && Instant::now() < deadline {
        tokio::time::sleep(POLL_INTERVAL).await;
        let Ok(answer) = &upload.answer else { break };
        let path = format!("/v1/uploads/{}", answer["id"].as_str().unwrap_or_default());
        let created = answer["created"].clone();
        let mut present = retry_requests()
            .run(|| service.get_json(&path, &[]), is_worth_a_retry)
            .await?;
        present["created"] = created;
        upload.answer = Ok(present);
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
        let refused = FileUpload {
            file: "a.jpg".into(),
            answer: Err(anyhow!("it is no picture")),
        };
        assert_eq!(refused.format_line(), "a.jpg: refused: it is no picture");
        assert_eq!(refused.to_json()["state"], "refused");
        assert!(!refused.is_pending());
    }
}
