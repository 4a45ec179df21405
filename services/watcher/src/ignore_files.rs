//! `.lookalikeignore`: rules in the syntax of `.gitignore`, in any folder, for what lies below it.
//! The only user of the crate `record_ignored`.
//!
//! As with git, the file nearest to a path decides, in it the last rule that fits, and what lies
//! below an ignored folder can't be taken back in: such a folder is not entered at all.

use std::collections::HashMap;
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

/// The name of the files with rules.
pub const IGNORE_FILE_NAME: &[u8] = b".lookalikeignore";

/// Longer files are no rules.
const MAX_IGNORE_FILE_BYTES: u64 = 1 << 20;

/// A file that was changed this shortly before it was read may change again without a trace: the
/// clock of file systems has grains.
const CLOCK_GRANULARITY: Duration = Duration::from_secs(2);

/// The rules that hold in one folder: those of its own file, and those from above.
#[derive(Debug, Clone, Default)]
pub struct IgnoreRules(Option<Arc<RuleLevel>>);

#[derive(Debug)]
struct RuleLevel {
    above: IgnoreRules,
    /// The folder that the file lies in, below the root.
    folder: Vec<u8>,
    file: Arc<IgnoreFile>,
}

#[derive(Debug)]
struct IgnoreFile {
    text: Vec<u8>,
    matcher: Gitignore,
}

impl IgnoreRules {
    /// The rule that ignores `file_path` (below the root, in the folder that these rules hold in), in
    /// one sentence.
    pub fn find_ignoring_rule(&self, path: &[u8], is_folder: bool) -> Option<String> {
        let mut rules = self;
        while let Some(level) = &rules.0 {
            let below = match level.folder.len() {
                0 => path,
                length => &path[length + 1..],
            };
            match level
                .file
                .matcher
                .matched(Path::new(OsStr::from_bytes(below)), is_folder)
            {
                Match::Ignore(rule) => {
                    let rule: String = rule.original().chars().take(200).collect();
                    let file = level.file_path();
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
    /// Of the file, below the root.
    fn file_path(&self) -> PathBuf {
        Path::new(OsStr::from_bytes(&self.folder)).join(OsStr::from_bytes(IGNORE_FILE_NAME))
    }
}

/// The files with rules that were met.
#[derive(Default)]
pub struct IgnoreFileCache {
    files: HashMap<(usize, Vec<u8>), CachedIgnoreFile>,
}

struct CachedIgnoreFile {
    stat: FileStat,
    read_at: SystemTime,
    file: Arc<IgnoreFile>,
}

impl CachedIgnoreFile {
    /// Whether what was read is what lies there, as far as its facts can tell.
    fn is_up_to_date(&self, facts: &FileStat) -> bool {
        let grain = CLOCK_GRANULARITY.as_nanos() as i64;
        facts.is_unchanged_since(&self.stat) && facts.ctime_ns < to_nanos(self.read_at) - grain
    }
}

impl IgnoreFileCache {
    /// The rules in `random_folder` of a library, whose own file is read anew where it changed; and
    /// whether it did since it was last asked for.
    ///
    /// # Errors
    /// When a file with rules is there and can't be read. What it said before holds on.
    pub fn rules_for_folder(
        &mut self,
        library: usize,
        root: &Path,
        folder: &[u8],
        above: &IgnoreRules,
    ) -> (IgnoreRules, bool, io::Result<()>) {
        let key = (library, folder.to_vec());
        let path = root
            .join(OsStr::from_bytes(folder))
            .join(OsStr::from_bytes(IGNORE_FILE_NAME));
        let (changed, result) = match self.refresh_file(&key, &path) {
            Ok(changed) => (changed, Ok(())),
            Err(error) => (false, Err(error)),
        };
        let rules = match self.files.get(&key) {
            None => above.clone(),
            Some(met) => IgnoreRules(Some(Arc::new(RuleLevel {
                above: above.clone(),
                folder: key.1,
                file: met.file.clone(),
            }))),
        };
        (rules, changed, result)
    }

    fn refresh_file(&mut self, key: &(usize, Vec<u8>), path: &Path) -> io::Result<bool> {
        let Some(FileKind::File(facts)) = disk::stat_path(path)? else {
            return Ok(self.files.remove(key).is_some());
        };
        let known = self.files.get_mut(key);
        if known.as_ref().is_some_and(|met| met.is_up_to_date(&facts)) {
            return Ok(false);
        }
        let read_at = SystemTime::now();
        let mut text = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_IGNORE_FILE_BYTES + 1)
            .read_to_end(&mut text)?;
        if let Some(met) = known
            && met.file.text == text
        {
            (met.stat, met.read_at) = (facts, read_at);
            return Ok(false);
        }
        let matcher = parse_rules(path, &text);
        let file = Arc::new(IgnoreFile { text, matcher });
        self.files.insert(
            key.clone(),
            CachedIgnoreFile {
                stat: facts,
                read_at,
                file,
            },
        );
        Ok(true)
    }
}

/// The rules of a file; a broken one is told and passed over.
fn parse_rules(path: &Path, text: &[u8]) -> Gitignore {
    if text.len() as u64 > MAX_IGNORE_FILE_BYTES {
        tracing::warn!(file = %path.display(), "a file with ignore rules is longer than 1 MiB, its rules don't hold");
        return Gitignore::empty();
    }
    let text = String::from_utf8_lossy(text);
    let mut builder = GitignoreBuilder::new("");
    for line in text.trim_start_matches('\u{feff}').lines() {
        if let Err(error) = builder.add_line(None, line) {
            tracing::warn!(file = %path.display(), %error, "a broken ignore rule does not hold");
        }
    }
    builder.build().unwrap_or_else(|error| {
        tracing::warn!(file = %path.display(), %error, "the ignore rules of a file don't hold");
        Gitignore::empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_down_to(files: &mut IgnoreFileCache, root: &Path, folder: &str) -> IgnoreRules {
        let mut rules = files
            .rules_for_folder(0, root, b"", &IgnoreRules::default())
            .0;
        let ends = folder.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([folder.len()]) {
            rules = files
                .rules_for_folder(0, root, &folder.as_bytes()[..end], &rules)
                .0;
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
            .rules_for_folder(0, root, b"", &IgnoreRules::default())
            .0;
        assert!(in_root.find_ignoring_rule(b"top.jpg", false).is_some());
    }

    #[test]
    fn a_changed_file_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".lookalikeignore");
        let mut files = IgnoreFileCache::default();
        let mut check = |pattern: Option<&str>, is_news: bool| {
            match pattern {
                Some(pattern) => std::fs::write(&file, pattern).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let (rules, changed, result) =
                files.rules_for_folder(0, dir.path(), b"", &IgnoreRules::default());
            result.unwrap();
            assert_eq!(changed, is_news);
            rules.find_ignoring_rule(b"a", false).is_some()
        };
        assert!(check(Some("a"), true));
        assert!(check(Some("a"), false));
        // Of the same length, within one grain of the file system's clock.
        assert!(!check(Some("b"), true));
        assert!(check(Some("*"), true));
        assert!(!check(None, true));
        std::fs::create_dir(&file).unwrap();
        let (_, changed, result) =
            files.rules_for_folder(0, dir.path(), b"", &IgnoreRules::default());
        assert!(!changed && result.is_ok());
    }
}
