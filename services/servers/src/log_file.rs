//! The output of a child: a log file with a size limit, and the last lines for error messages.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Lines shown in an error message.
const TAIL_LINES: usize = 10;
/// Bytes shown of each line. Milvus writes stack traces of several kilobytes into one line.
const TAIL_LINE_BYTES: usize = 300;

/// A log file that is renamed to `NAME.old` when it reaches its limit, so the two files together
/// take at most twice the limit.
///
/// Writing never fails for the caller. If the disk is full, output is dropped, because a child that
/// blocks on its log would be worse.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    limit: u64,
    written: u64,
    file: File,
    /// Whether the last write failed, so that a full disk is logged once and not for each line.
    is_failing: bool,
}

impl LogFile {
    /// Opens the log at `path` and appends to its content.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            path: path.to_owned(),
            limit,
            written: file.metadata()?.len(),
            file,
            is_failing: false,
        })
    }

    /// Appends a chunk. Chunks are not split, so one may exceed the limit.
    pub(crate) fn append_chunk(&mut self, chunk: &[u8]) {
        let result = self.try_write(chunk);
        match result {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::warn!(path = %self.path.display(), %error, "cannot write a server's log, dropping its output");
            }
            Err(_) => {}
        }
    }

    fn try_write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.written > 0 && self.written + chunk.len() as u64 > self.limit {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            match std::fs::rename(&self.path, old) {
                // A user deleted the log to free space.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            self.file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            self.written = 0;
        }
        self.file.write_all(chunk)?;
        self.written += chunk.len() as u64;
        Ok(())
    }
}

/// The last lines of a stream, long ones truncated.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    lines: VecDeque<String>,
    /// Start of the line that has not ended yet.
    partial_line: Vec<u8>,
}

impl LogTail {
    pub(crate) fn push_chunk(&mut self, chunk: &[u8]) {
        for part in chunk.split_inclusive(|&byte| byte == b'\n') {
            let ended = part.ends_with(b"\n");
            let room = TAIL_LINE_BYTES.saturating_sub(self.partial_line.len());
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            self.partial_line
                .extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial_line)
            .trim_end()
            .to_owned();
        self.partial_line.clear();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Returns the lines so far without empty ones, the newest last.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.lines.iter().cloned().collect();
        if !self.partial_line.is_empty() {
            lines.push(String::from_utf8_lossy(&self.partial_line).into_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_takes_more_than_twice_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        for opened in 0..3 {
            let mut log = LogFile::open(&path, 100).unwrap();
            for line in 0..50 {
                log.append_chunk(format!("{opened} {line:02}\n").as_bytes());
            }
        }
        let now = std::fs::read_to_string(&path).unwrap();
        let old = std::fs::read_to_string(folder.path().join("x.log.old")).unwrap();
        assert!(now.len() <= 100 && old.len() <= 100);
        assert!(now.ends_with("2 49\n"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_tail_keeps_the_last_lines_and_truncates_long_ones() {
        let mut tail = LogTail::default();
        for line in 0..20 {
            tail.push_chunk(format!("line {line}\n\n").as_bytes());
        }
        assert_eq!(tail.lines().len(), 10);
        assert_eq!(tail.lines()[9], "line 19");
        tail.push_chunk(&[b'x'; 1000]);
        tail.push_chunk(b"y\nla");
        tail.push_chunk(b"st");
        assert_eq!(tail.lines()[9], "x".repeat(300));
        assert_eq!(tail.lines()[10], "last");
    }
}
