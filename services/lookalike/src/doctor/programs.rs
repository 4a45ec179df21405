//! The programs that lookalike fetches and runs: python3 with pip, nats-server and Milvus.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lookalike_servers::{CachedProgram, Program, find_cached_program};

use super::finding::{Finding, shell_quote};
use super::installation::Installation;

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Bounds what is read of a program's output.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

pub(super) fn check_programs(installation: &Installation) -> Vec<Finding> {
    let settings = &installation.settings;
    let limit = installation.limit / 4;
    let mut findings = Vec::new();
    let mut must_fetch = false;
    for (program, url, flag) in [
        (
            Program::Nats,
            &settings.nats.url,
            "--nats-url nats://HOST:4222",
        ),
        (
            Program::Milvus,
            &settings.milvus.url,
            "--milvus-url http://HOST:19530",
        ),
    ] {
        let check = match program {
            Program::Nats => "nats-server",
            Program::Milvus => "milvus",
        };
        if !url.is_empty() {
            continue;
        }
        let cached = match find_cached_program(&settings.servers, program) {
            Ok(cached) => cached,
            Err(error) => {
                let remedy = format!("lookalike up {flag}");
                findings.push(Finding::failure(check, error.to_string(), remedy));
                continue;
            }
        };
        must_fetch |= !cached.is_fetched;
        findings.push(check_program(check, &cached, settings.offline, limit));
    }
    findings.extend(check_python(installation, must_fetch, limit));
    findings
}

fn check_program(
    check: &'static str,
    cached: &CachedProgram,
    offline: bool,
    limit: Duration,
) -> Finding {
    let version = cached.version;
    if !cached.is_fetched {
        return match offline {
            true => Finding::failure(
                check,
                format!("version {version} is not in the cache, and --offline forbids fetching it"),
                "lookalike up",
            ),
            false => Finding::ok(
                check,
                format!("version {version} is not fetched yet; the first start fetches it"),
            ),
        };
    }
    let mut command = cached.to_command();
    if cached.program == Program::Nats {
        command.arg("--version");
    }
    match run_bounded(command, limit) {
        // Without arguments, Milvus prints its usage and fails.
        Ok(output) if output.text.contains("nats-server: v") => {
            let running = output.text.trim().trim_start_matches("nats-server: v");
            Finding::ok(check, format!("version {running} is fetched and runs"))
        }
        Ok(output) if output.text.contains("milvus run") => {
            Finding::ok(check, format!("version {version} is fetched and runs"))
        }
        Ok(output) => Finding::failure(
            check,
            format!("the fetched program does not run: {}", output.last_line()),
            remove_command(cached),
        ),
        Err(error) => Finding::failure(
            check,
            format!("the fetched program does not run: {error}"),
            remove_command(cached),
        ),
    }
}

/// The next start fetches it again.
fn remove_command(cached: &CachedProgram) -> String {
    format!("rm -r {}", shell_quote(&cached.folder.to_string_lossy()))
}

/// Python fetches programs and the default model; afterwards, nothing needs it.
fn check_python(installation: &Installation, must_fetch: bool, limit: Duration) -> Vec<Finding> {
    let settings = &installation.settings;
    if !must_fetch {
        return Vec::new();
    }
    let python = &settings.servers.python;
    let shown = python.display().to_string();
    let mut version = Command::new(python);
    version.arg("--version");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--version"]);
    let install = "sudo apt-get install python3 python3-pip";
    let python_version = match run_bounded(version, limit) {
        Ok(output) if output.is_success => output.text.trim().to_owned(),
        Ok(output) => {
            let message = format!("{shown} does not run: {}", output.last_line());
            return vec![Finding::failure("python", message, install)];
        }
        Err(error) => {
            let message = format!("{shown} is needed to fetch the servers: {error}");
            return vec![Finding::failure("python", message, install)];
        }
    };
    vec![match run_bounded(pip, limit) {
        Ok(output) if output.is_success => {
            let words: Vec<&str> = output.text.split_whitespace().take(2).collect();
            Finding::ok(
                "python",
                format!("{python_version} with {}", words.join(" ")),
            )
        }
        Ok(output) => {
            let message = format!("{python_version} has no pip: {}", output.last_line());
            Finding::failure("python", message, install)
        }
        Err(error) => Finding::failure("python", format!("pip: {error}"), install),
    }]
}

/// What a program printed, on both outputs.
struct ProgramOutput {
    text: String,
    is_success: bool,
}

impl ProgramOutput {
    fn last_line(&self) -> &str {
        let last = self.text.lines().rev().find(|line| !line.trim().is_empty());
        last.unwrap_or("it printed nothing")
    }
}

/// Runs a program and kills it after the time limit.
fn run_bounded(mut command: Command, limit: Duration) -> Result<ProgramOutput, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL),
            Ok(None) => {
                // Fails only if it has just ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {limit:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    };
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut output);
    }
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(MAX_OUTPUT_BYTES).read_to_end(&mut output);
    }
    Ok(ProgramOutput {
        text: String::from_utf8_lossy(&output).into_owned(),
        is_success: status.success(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_run_within_a_limit() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run_bounded(command, Duration::from_secs(20))
        };
        let output = shell("echo one; echo two >&2; exit 3").unwrap();
        assert!(!output.is_success);
        assert_eq!(output.last_line(), "two");
        let mut endless = Command::new("sleep");
        endless.arg("60");
        let Err(error) = run_bounded(endless, Duration::from_millis(50)) else {
            panic!("it ended");
        };
        assert!(error.contains("did not end"), "{error}");
        assert!(run_bounded(Command::new("/no/program"), Duration::from_secs(1)).is_err());
    }
}
