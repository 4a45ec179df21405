//! The libraries: whether their folders and files can be read, and whether changes are reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use lookalike_watcher::unreported_filesystem;

use super::finding::{Finding, count_of, shell_quote};
use super::installation::Installation;

/// What a walk through a library found.
#[derive(Debug, Default)]
pub(super) struct FolderSurvey {
    pub(super) folders: u64,
    files: u64,
    /// Folders and files that this account may not read, and an example.
    unreadable: u64,
    unreadable_example: Option<PathBuf>,
    /// Files whose time of modification is later than now.
    from_future: u64,
    /// The name of the file system, if it does not report all changes.
    unreported_by: Option<&'static str>,
    /// Whether the walk ended before the time limit.
    is_complete: bool,
    /// Why the root cannot be walked.
    root_error: Option<String>,
}

/// Walks all libraries at the same time; each walk ends at the time limit.
pub(super) async fn survey_libraries(installation: &Arc<Installation>) -> Vec<FolderSurvey> {
    let limit = installation.limit;
    let walks: Vec<_> = installation
        .libraries
        .iter()
        .map(|(_, root)| {
            let (root, deadline) = (root.clone(), Instant::now() + limit.mul_f32(0.7));
            tokio::task::spawn_blocking(move || survey_folder(&root, deadline))
        })
        .collect();
    let started_at = tokio::time::Instant::now();
    let mut surveys = Vec::with_capacity(walks.len());
    for walk in walks {
        surveys.push(
            match tokio::time::timeout_at(started_at + limit, walk).await {
                Ok(Ok(survey)) => survey,
                Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                Err(_) => FolderSurvey {
                    root_error: Some(format!("did not react within {limit:?}; its mount hangs")),
                    ..FolderSurvey::default()
                },
            },
        );
    }
    surveys
}

/// Opens every folder and regular file below `root`, except hidden ones, as the watcher and the
/// embedder do.
fn survey_folder(root: &Path, deadline: Instant) -> FolderSurvey {
    let mut survey = FolderSurvey {
        is_complete: true,
        ..FolderSurvey::default()
    };
    if let Err(error) = fs::read_dir(root) {
        survey.root_error = Some(format!("cannot be read: {error}"));
        return survey;
    }
    survey.unreported_by = unreported_filesystem(root).unwrap_or_default();
    let now = SystemTime::now();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        survey.folders += 1;
        let Ok(entries) = fs::read_dir(&folder) else {
            survey.add_unreadable(folder);
            continue;
        };
        for entry in entries.flatten() {
            if Instant::now() > deadline {
                survey.is_complete = false;
                return survey;
            }
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                Ok(kind) if kind.is_file() => survey.add_file(entry.path(), now),
                _ => {}
            }
        }
    }
    survey
}

impl FolderSurvey {
    fn add_file(&mut self, path: PathBuf, now: SystemTime) {
        self.files += 1;
        match fs::File::open(&path).and_then(|file| file.metadata()?.modified()) {
            Ok(modified_at) => self.from_future += u64::from(modified_at > now),
            // Programs may delete files meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.files -= 1,
            Err(_) => self.add_unreadable(path),
        }
    }

    fn add_unreadable(&mut self, path: PathBuf) {
        self.unreadable += 1;
        self.unreadable_example.get_or_insert(path);
    }
}

pub(super) fn judge_surveys(installation: &Installation, surveys: &[FolderSurvey]) -> Vec<Finding> {
    if installation.libraries.is_empty() {
        return vec![Finding::warning(
            "library",
            "no folder to index: the settings name none, and there is no ./images here",
            "lookalike doctor ~/Pictures",
        )];
    }
    let mut findings = Vec::new();
    for ((name, root), survey) in installation.libraries.iter().zip(surveys) {
        findings.push(judge_access(name, root, survey));
        if survey.root_error.is_none() {
            findings.extend(judge_reports(installation, name, root, survey));
            findings.extend(judge_times(name, root, survey));
        }
    }
    findings
}

fn judge_access(name: &str, root: &Path, survey: &FolderSurvey) -> Finding {
    const CHECK: &str = "library";
    let (shown, quoted) = (root.display(), shell_quote(&root.to_string_lossy()));
    if let Some(error) = &survey.root_error {
        let remedy = format!("ls -ld {quoted}");
        return Finding::failure(CHECK, format!("{name}: {shown} {error}"), remedy);
    }
    if let Some(example) = &survey.unreadable_example {
        let message = format!(
            "{name}: {} of its folders and files cannot be read, such as {}",
            survey.unreadable,
            example.display()
        );
        let remedy = format!("sudo setfacl -R -m \"u:$(id -un):rX\" {quoted}");
        return Finding::failure(CHECK, message, remedy);
    }
    let files = count_of(survey.files, "file");
    let folders = count_of(survey.folders, "folder");
    let counted = match survey.is_complete {
        true => format!("{files} in {folders}"),
        false => format!("looked at {files} in {folders} within the time limit"),
    };
    Finding::ok(CHECK, format!("{name}: {shown} is readable ({counted})"))
}

/// Changes that the system does not report are found by polling.
fn judge_reports(
    installation: &Installation,
    name: &str,
    root: &Path,
    survey: &FolderSurvey,
) -> Option<Finding> {
    let file_system = survey.unreported_by?;
    let interval = installation.settings.watch.poll_interval;
    Some(Finding::warning(
        "file system",
        format!(
            "{name}: {} is on {file_system}, which does not report changes that others make; \
             lookalike finds them every {} s",
            root.display(),
            interval.as_secs_f64()
        ),
        "export LOOKALIKE_WATCH_POLL_INTERVAL=5s",
    ))
}

fn judge_times(name: &str, root: &Path, survey: &FolderSurvey) -> Option<Finding> {
    if survey.from_future == 0 {
        return None;
    }
    let files = count_of(survey.from_future, "file");
    Some(Finding::warning(
        "clock",
        format!("{name}: {files} changed in the future, according to this machine's clock"),
        format!(
            "find {} -type f -newermt now",
            shell_quote(&root.to_string_lossy())
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::FindingStatus;

    fn far_deadline() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn folders_and_files_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::create_dir_all(dir.path().join(".hidden")).unwrap();
        fs::write(dir.path().join("a/1.jpg"), "x").unwrap();
        fs::write(dir.path().join(".hidden/2.jpg"), "x").unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("loop")).unwrap();
        let survey = survey_folder(dir.path(), far_deadline());
        assert_eq!((survey.folders, survey.files), (3, 1));
        assert!(survey.is_complete && survey.unreadable == 0);
        let late = survey_folder(dir.path(), Instant::now() - Duration::from_secs(1));
        assert!(!late.is_complete);
    }

    #[test]
    fn files_from_the_future_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("1.jpg")).unwrap();
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        file.set_modified(tomorrow).unwrap();
        let survey = survey_folder(dir.path(), far_deadline());
        let finding = judge_times("x", dir.path(), &survey).unwrap();
        assert_eq!(finding.status, FindingStatus::Warning);
        assert!(finding.message.contains("1 file changed"), "{finding:?}");
    }

    #[test]
    fn a_missing_root_is_a_failure() {
        let survey = survey_folder(Path::new("/no such folder"), far_deadline());
        let finding = judge_access("x", Path::new("/no such folder"), &survey);
        assert_eq!(finding.status, FindingStatus::Failure);
        assert_eq!(finding.remedy.as_deref(), Some("ls -ld '/no such folder'"));
    }
}
