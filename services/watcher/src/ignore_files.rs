//! `.lookalikeignore`: rules in the syntax of `.gitignore`, in any folder, for everything below it.
//! The only user of the crate `ignore`.
//!
//! As with git, the file nearest to a path decides, and in it the last matching rule. Nothing below
//! an ignored folder can be included again, because such a folder is not entered at all.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use lookalike_chassis::clock::to_nanos;

use crate::disk::{self, FileKind, FileStat};
use crate::settings::Settings;

pub const IGNORE_FILE_NAME: &[u8] = b".lookalikeignore";

/// Excludes the folder that contains it, as on Android. The file is normally empty.
pub const NO_MEDIA_FILE_NAME: &[u8] = b".nomedia";

/// The rules of longer files are not applied.
const MAX_IGNORE_FILE_BYTES: u64 = 1 << 20;

/// A file that changed this shortly before it was read may change again with the same stat: the
/// clock of file systems is coarse.
const CLOCK_GRANULARITY: Duration = Duration::from_secs(2);

/// The rules that apply in one folder: those of its own file and those of the folders above.
#[derive(Debug, Clone, Default)]
pub struct IgnoreRules(Option<Arc<RuleLevel>>);

#[derive(Debug)]
struct RuleLevel {
    above: IgnoreRules,
    /// The folder that contains the file, below the root.
    folder: Vec<u8>,
    source: RuleSource,
}

#[derive(Debug)]
enum RuleSource {
    IgnoreFile(Arc<IgnoreFile>),
    /// Excludes everything in the folder.
    NoMedia,
}

#[derive(Debug)]
struct IgnoreFile {
    text: Vec<u8>,
    matcher: Gitignore,
}

impl IgnoreRules {
    /// Returns the rule that ignores `path` (below the root, in the folder of these rules), as one
    /// sentence.
    pub fn find_ignoring_rule(&self, path: &[u8], is_folder: bool) -> Option<String> {
        let mut rules = self;
        while let Some(level) = &rules.0 {
            let below = match level.folder.len() {
                0 => path,
                length => &path[length + 1..],
            };
            let RuleSource::IgnoreFile(file) = &level.source else {
                let file = level.file_path(NO_MEDIA_FILE_NAME);
                return Some(format!("The file {} excludes its folder.", file.display()));
            };
            match file
                .matcher
                .matched(Path::new(OsStr::from_bytes(below)), is_folder)
            {
                Match::Ignore(rule) => {
                    let rule: String = rule.original().chars().take(200).collect();
                    let file = level.file_path(IGNORE_FILE_NAME);
                    return Some(format!(
                        "The rule `{rule}` in {} ignores it.",
                        file.display()
                    ));
                }
                Match::Whitelist(_) => return None,
                Match::None => rules = &level.above,
            }
        }
        None
    }
}

impl RuleLevel {
    /// The path of the file with the rules, below the root.
    fn file_path(&self, name: &[u8]) -> PathBuf {
        Path::new(OsStr::from_bytes(&self.folder)).join(OsStr::from_bytes(name))
    }
}

/// The ignore files of one library, by folder.
#[derive(Default)]
pub struct IgnoreFileCache {
    files: HashMap<Vec<u8>, CachedIgnoreFile>,
    /// Folders below the root that contained a `.nomedia`.
    no_media_folders: HashSet<Vec<u8>>,
}

struct CachedIgnoreFile {
    stat: FileStat,
    read_at: SystemTime,
    file: Arc<IgnoreFile>,
}

impl CachedIgnoreFile {
    /// Whether the cached text is that of the file on disk, as far as its stat can tell.
    fn is_up_to_date(&self, stat: &FileStat) -> bool {
        let granularity = CLOCK_GRANULARITY.as_nanos() as i64;
        stat.is_unchanged_since(&self.stat) && stat.ctime_ns < to_nanos(self.read_at) - granularity
    }
}

/// Rules of a folder, as of now.
pub struct FolderRules {
    pub rules: IgnoreRules,
    /// The folder's own file changed since the last call.
    pub has_changed: bool,
    /// Which of the folder's own files could not be read, and why. Its previous rules still apply
    /// then.
    pub error: Option<(&'static [u8], io::Error)>,
}

impl IgnoreFileCache {
    /// Returns the rules in `folder` of the library at `root`. Reads the folder's own file again
    /// if it changed.
    pub fn rules_for_folder(
        &mut self,
        root: &Path,
        folder: &[u8],
        above: &IgnoreRules,
        settings: &Settings,
    ) -> FolderRules {
        let path = root
            .join(OsStr::from_bytes(folder))
            .join(OsStr::from_bytes(IGNORE_FILE_NAME));
        let (mut has_changed, mut error) = match self.refresh_file(folder, &path) {
            Ok(has_changed) => (has_changed, None),
            Err(error) => (false, Some((IGNORE_FILE_NAME, error))),
        };
        // A folder that is a library is meant to be indexed.
        if !folder.is_empty() && !settings.enter_system_folders {
            match self.refresh_no_media(
                folder,
                &path.with_file_name(OsStr::from_bytes(NO_MEDIA_FILE_NAME)),
            ) {
                Ok(is_changed) => has_changed |= is_changed,
                Err(cause) => error = error.or(Some((NO_MEDIA_FILE_NAME, cause))),
            }
        }
        let add_level = |above: IgnoreRules, source| {
            IgnoreRules(Some(Arc::new(RuleLevel {
                above,
                folder: folder.to_vec(),
                source,
            })))
        };
        let mut rules = above.clone();
        if self.no_media_folders.contains(folder) {
            rules = add_level(rules, RuleSource::NoMedia);
        }
        // The folder's own rules come first, so that they can include pictures again.
        if let Some(cached) = self.files.get(folder) {
            rules = add_level(rules, RuleSource::IgnoreFile(cached.file.clone()));
        }
        FolderRules {
            rules,
            has_changed,
            error,
        }
    }

    /// Forgets folders that do not exist any more below the library's `root`.
    pub fn forget_missing_folders(&mut self, root: &Path) {
        let may_exist = |folder: &[u8]| {
            let path = root.join(OsStr::from_bytes(folder));
            !matches!(disk::stat_path(&path), Ok(None))
        };
        self.files.retain(|folder, _| may_exist(folder));
        self.no_media_folders.retain(|folder| may_exist(folder));
    }

    /// Looks for a folder's `.nomedia`; true if it appeared or disappeared.
    fn refresh_no_media(&mut self, folder: &[u8], path: &Path) -> io::Result<bool> {
        match disk::stat_path(path)? {
            Some(FileKind::File(_)) => Ok(self.no_media_folders.insert(folder.to_vec())),
            _ => Ok(self.no_media_folders.remove(folder)),
        }
    }

    /// Reads a folder's file if it changed; true if its text did.
    fn refresh_file(&mut self, folder: &[u8], path: &Path) -> io::Result<bool> {
        let Some(FileKind::File(stat)) = disk::stat_path(path)? else {
            return Ok(self.files.remove(folder).is_some());
        };
        let previous = self.files.get_mut(folder);
        if previous
            .as_ref()
            .is_some_and(|cached| cached.is_up_to_date(&stat))
        {
            return Ok(false);
        }
        let read_at = SystemTime::now();
        let mut text = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_IGNORE_FILE_BYTES + 1)
            .read_to_end(&mut text)?;
        if let Some(cached) = previous
            && cached.file.text == text
        {
            (cached.stat, cached.read_at) = (stat, read_at);
            return Ok(false);
        }
        let matcher = parse_rules(path, &text);
        let cached = CachedIgnoreFile {
            stat,
            read_at,
            file: Arc::new(IgnoreFile { text, matcher }),
        };
        self.files.insert(folder.to_vec(), cached);
        Ok(true)
    }
}

/// Parses a file's rules. Logs and skips invalid ones.
fn parse_rules(path: &Path, text: &[u8]) -> Gitignore {
    if text.len() as u64 > MAX_IGNORE_FILE_BYTES {
        tracing::warn!(file = %path.display(), "a file with ignore rules is longer than 1 MiB; its rules are not applied");
        return Gitignore::empty();
    }
    let text = String::from_utf8_lossy(text);
    let mut builder = GitignoreBuilder::new("");
    for line in text.trim_start_matches('\u{feff}').lines() {
        if let Err(error) = builder.add_line(None, line) {
            tracing::warn!(file = %path.display(), %error, "an invalid ignore rule is not applied");
        }
    }
    builder.build().unwrap_or_else(|error| {
        tracing::warn!(file = %path.display(), %error, "the ignore rules of a file are not applied");
        Gitignore::empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_down_to(files: &mut IgnoreFileCache, root: &Path, folder: &str) -> IgnoreRules {
        let mut rules = files
            .rules_for_folder(root, b"", &IgnoreRules::default(), &Settings::default())
            .rules;
        let ends = folder.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([folder.len()]) {
            rules = files
                .rules_for_folder(
                    root,
                    &folder.as_bytes()[..end],
                    &rules,
                    &Settings::default(),
                )
                .rules;
        }
        rules
    }

    #[test]
    fn the_nearest_file_and_the_last_rule_decide() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let write = |place: &str, text: &str| std::fs::write(root.join(place), text).unwrap();
        write(
            ".lookalikeignore",
            "# old ones\n*.bak.jpg\n/top.jpg\nraw/\n[\n\u{fffd}{\n",
        );
        write("a/b/.lookalikeignore", "!keep.bak.jpg\nonly here.jpg\r\n");
        let mut files = IgnoreFileCache::default();
        let in_b = rules_down_to(&mut files, root, "a/b");
        let ignored = |path: &str| in_b.find_ignoring_rule(path.as_bytes(), false);
        assert_eq!(
            ignored("a/b/x.bak.jpg").as_deref(),
            Some("The rule `*.bak.jpg` in .lookalikeignore ignores it.")
        );
        assert_eq!(
            ignored("a/b/only here.jpg").as_deref(),
            Some("The rule `only here.jpg` in a/b/.lookalikeignore ignores it.")
        );
        assert_eq!(ignored("a/b/keep.bak.jpg"), None);
        assert_eq!(ignored("a/b/top.jpg"), None);
        assert_eq!(ignored("a/b/x.jpg"), None);
        assert!(in_b.find_ignoring_rule(b"a/b/raw", true).is_some());
        assert!(in_b.find_ignoring_rule(b"a/b/raw", false).is_none());
        assert!(
            in_b.find_ignoring_rule(b"a/b/\xff.bak.jpg", false)
                .is_some()
        );
        let in_root = files
            .rules_for_folder(root, b"", &IgnoreRules::default(), &Settings::default())
            .rules;
        assert!(in_root.find_ignoring_rule(b"top.jpg", false).is_some());
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".lookalikeignore");
        let mut files = IgnoreFileCache::default();
        let mut check = |pattern: Option<&str>, is_news: bool| {
            match pattern {
                Some(pattern) => std::fs::write(&file, pattern).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let folder = files.rules_for_folder(
                dir.path(),
                b"",
                &IgnoreRules::default(),
                &Settings::default(),
            );
            assert!(folder.error.is_none(), "{:?}", folder.error);
            assert_eq!(folder.has_changed, is_news);
            folder.rules.find_ignoring_rule(b"a", false).is_some()
        };
        assert!(check(Some("a"), true));
        assert!(check(Some("a"), false));
        // Of the same length, within one step of the file system's clock.
        assert!(!check(Some("b"), true));
        assert!(check(Some("*"), true));
        assert!(!check(None, true));
        std::fs::create_dir(&file).unwrap();
        let folder = files.rules_for_folder(
            dir.path(),
            b"",
            &IgnoreRules::default(),
            &Settings::default(),
        );
        assert!(!folder.has_changed && folder.error.is_none());
    }
}
