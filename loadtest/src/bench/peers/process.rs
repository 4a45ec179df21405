//! A Python program that measures on request: one line of JSON in, one line of JSON out.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

/// A running program. It ends when its standard input is closed; dropping it kills it.
#[derive(Debug)]
pub struct PeerProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    log: PathBuf,
    /// What the program reported when it was ready, such as its version.
    pub greeting: Value,
}

impl PeerProcess {
    /// Starts the program and waits for its first line, which it prints when it is ready. Its errors are
    /// appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let errors = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let input = child.stdin.take().expect("the input is a pipe");
        let output = child.stdout.take().expect("the output is a pipe");
        let mut process = Self {
            child,
            input,
            output: BufReader::new(output),
            log: log.to_owned(),
            greeting: Value::Null,
        };
        process.greeting = process.read_line()?;
        Ok(process)
    }

    /// Sends a request and waits for the answer.
    pub fn request(&mut self, request: &Value) -> anyhow::Result<Value> {
        writeln!(self.input, "{request}")
            .and_then(|()| self.input.flush())
            .map_err(|_| self.describe_exit())?;
        self.read_line()
    }

    fn read_line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        // The programs bound their own work, so they answer or end.
        let length = self.output.read_line(&mut line)?;
        if length == 0 {
            return Err(self.describe_exit());
        }
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("not a line of JSON: {}", line.trim_end()))?;
        match answer["error"].as_str() {
            Some(error) => anyhow::bail!("{error}"),
            None => Ok(answer),
        }
    }

    fn describe_exit(&mut self) -> anyhow::Error {
        let _ = self.child.wait();
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log
            .trim_end()
            .lines()
            .last()
            .unwrap_or("no message")
            .to_owned();
        anyhow::anyhow!("the Python program ended: {last}")
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn start(program: &str, log: &Path) -> anyhow::Result<PeerProcess> {
        let mut command = Command::new("python3");
        command.args(["-u", "-c", program]);
        PeerProcess::start(command, log)
    }

    #[test]
    fn requests_are_answered_and_failures_explained() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("peer.log");
        let echo = "import sys, json\nprint(json.dumps({'version': 3}))\n\
            for line in sys.stdin:\n  r = json.loads(line)\n  \
            print(json.dumps({'error': 'too many'} if r['n'] > 9 else {'twice': r['n'] * 2}))\n  \
            if r['n'] == 5: raise SystemExit('out of memory')\n";
        let mut peer = start(echo, &log).unwrap();
        assert_eq!(peer.greeting["version"], 3);
        assert_eq!(peer.request(&json!({"n": 4})).unwrap()["twice"], 8);
        let refused = peer.request(&json!({"n": 10})).unwrap_err().to_string();
        assert_eq!(refused, "too many");
        assert_eq!(peer.request(&json!({"n": 5})).unwrap()["twice"], 10);
        let error = peer.request(&json!({"n": 1})).unwrap_err().to_string();
        assert!(error.contains("out of memory"), "{error}");
    }

    #[test]
    fn a_program_that_cannot_start_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("peer.log");
        let error = start("import no_such_package", &log)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no_such_package"), "{error}");
    }
}
