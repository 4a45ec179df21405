//! `.lookalikeignore`: rules in the syntax of `.gitignore`, in any folder, for what lies below it.
//! The only user of the crate `ignore`.
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

use crate::disk::{self, Facts, Thing};

/// The name of the files with rules.
pub const NAME: &[u8] = b".lookalikeignore";

/// Longer files are no rules.
const MAX_BYTES: u64 = 1 << 20;

/// A file that was changed this shortly before it was read may change again without a trace: the
/// clock of file systems has grains.
const GRAIN: Duration = Duration::from_secs(2);

/// The rules that hold in one folder: those of its own file, and those from above.
#[derive(Debug, Clone, Default)]
pub struct Rules(Option<Arc<Level>>);

#[derive(Debug)]
struct Level {
    above: Rules,
    /// The folder that the file lies in, below the root.
    folder: Vec<u8>,
    file: Arc<File>,
}

#[derive(Debug)]
struct File {
    text: Vec<u8>,
    matcher: Gitignore,
}

impl Rules {
    /// The rule that ignores `path` (below the root, in the folder that these rules hold in), in
    /// one sentence.
    pub fn ignores(&self, path: &[u8], is_folder: bool) -> Option<String> {
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
                    let file = level.path();
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

impl Level {
    /// Of the file, below the root.
    fn path(&self) -> PathBuf {
        Path::new(OsStr::from_bytes(&self.folder)).join(OsStr::from_bytes(NAME))
    }
}

/// The files with rules that were met.
#[derive(Default)]
pub struct IgnoreFiles {
    read: HashMap<(usize, Vec<u8>), Met>,
}

struct Met {
    facts: Facts,
    read_at: SystemTime,
    file: Arc<File>,
}

impl Met {
    /// Whether what was read is what lies there, as far as its facts can tell.
    fn is_good(&self, facts: &Facts) -> bool {
        let grain = GRAIN.as_nanos() as i64;
        facts.unchanged_since(&self.facts) && facts.ctime_ns < to_nanos(self.read_at) - grain
    }
}

impl IgnoreFiles {
    /// The rules in `folder` of a library, whose own file is read anew where it changed; and
    /// whether it did since it was last asked for.
    ///
    /// # Errors
    /// When a file with rules is there and can't be read. What it said before holds on.
    pub fn enter(
        &mut self,
        library: usize,
        root: &Path,
        folder: &[u8],
        above: &Rules,
    ) -> (Rules, bool, io::Result<()>) {
        let key = (library, folder.to_vec());
        let path = root
            .join(OsStr::from_bytes(folder))
            .join(OsStr::from_bytes(NAME));
        let (changed, result) = match self.read_anew(&key, &path) {
            Ok(changed) => (changed, Ok(())),
            Err(error) => (false, Err(error)),
        };
        let rules = match self.read.get(&key) {
            None => above.clone(),
            Some(met) => Rules(Some(Arc::new(Level {
                above: above.clone(),
                folder: key.1,
                file: met.file.clone(),
            }))),
        };
        (rules, changed, result)
    }

    fn read_anew(&mut self, key: &(usize, Vec<u8>), path: &Path) -> io::Result<bool> {
        let Some(Thing::File(facts)) = disk::look(path)? else {
            return Ok(self.read.remove(key).is_some());
        };
        let known = self.read.get_mut(key);
        if known.as_ref().is_some_and(|met| met.is_good(&facts)) {
            return Ok(false);
        }
        let read_at = SystemTime::now();
        let mut text = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut text)?;
        if let Some(met) = known
            && met.file.text == text
        {
            (met.facts, met.read_at) = (facts, read_at);
            return Ok(false);
        }
        let matcher = parse(path, &text);
        let file = Arc::new(File { text, matcher });
        self.read.insert(
            key.clone(),
            Met {
                facts,
                read_at,
                file,
            },
        );
        Ok(true)
    }
}

/// The rules of a file; a broken one is told and passed over.
fn parse(path: &Path, text: &[u8]) -> Gitignore {
    if text.len() as u64 > MAX_BYTES {
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

    fn rules(files: &mut IgnoreFiles, root: &Path, folder: &str) -> Rules {
        let mut rules = files.enter(0, root, b"", &Rules::default()).0;
        let ends = folder.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([folder.len()]) {
            rules = files.enter(0, root, &folder.as_bytes()[..end], &rules).0;
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
        let mut files = IgnoreFiles::default();
        let in_b = rules(&mut files, root, "a/b");
        let ignored = |path: &str| in_b.ignores(path.as_bytes(), false);
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
        assert!(in_b.ignores(b"a/b/raw", true).is_some());
        assert!(in_b.ignores(b"a/b/raw", false).is_none());
        assert!(in_b.ignores(b"a/b/\xff.bak.jpg", false).is_some());
        let in_root = files.enter(0, root, b"", &Rules::default()).0;
        assert!(in_root.ignores(b"top.jpg", false).is_some());
    }

    #[test]
    fn a_changed_file_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".lookalikeignore");
        let mut files = IgnoreFiles::default();
        let mut check = |pattern: Option<&str>, is_news: bool| {
            match pattern {
                Some(pattern) => std::fs::write(&file, pattern).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let (rules, changed, result) = files.enter(0, dir.path(), b"", &Rules::default());
            result.unwrap();
            assert_eq!(changed, is_news);
            rules.ignores(b"a", false).is_some()
        };
        assert!(check(Some("a"), true));
        assert!(check(Some("a"), false));
        // Of the same length, within one grain of the file system's clock.
        assert!(!check(Some("b"), true));
        assert!(check(Some("*"), true));
        assert!(!check(None, true));
        std::fs::create_dir(&file).unwrap();
        let (_, changed, result) = files.enter(0, dir.path(), b"", &Rules::default());
        assert!(!changed && result.is_ok());
    }
}
