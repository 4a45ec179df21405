//! What a check found, and how findings are printed.

use std::time::Duration;

use lookalike_client::terminal::escape_line;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FindingStatus {
    Ok,
    /// lookalike works, but less well than it could.
    Warning,
    /// lookalike does not start, or leaves files out.
    Failure,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was checked, as one word.
    pub(super) check: &'static str,
    pub(super) status: FindingStatus,
    pub(super) message: String,
    /// A command that fixes the problem, or shows what to fix.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            status: FindingStatus::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    pub(super) fn warning(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            status: FindingStatus::Warning,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(super) fn failure(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status: FindingStatus::Failure,
            ..Self::warning(check, message, remedy)
        }
    }
}

/// Writes a number of things, as in "1 file" and "2 files".
pub(super) fn count_of(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// Quotes a path for a shell, so that a remedy can be copied.
pub(super) fn shell_quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,~".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Formats one line for each finding, and its remedy below it.
pub(super) fn format_findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let status = match finding.status {
            FindingStatus::Ok => "ok",
            FindingStatus::Warning => "warning",
            FindingStatus::Failure => "failure",
        };
        text += &format!(
            "{status:<8} {:<12} {}\n",
            finding.check,
            escape_line(&finding.message)
        );
        if let Some(remedy) = &finding.remedy {
            text += &format!("{:>21} {}\n", "→", escape_line(remedy));
        }
    }
    text
}

pub(super) fn to_json(findings: &[Finding], took: Duration) -> Value {
    let is_ok = findings
        .iter()
        .all(|finding| finding.status != FindingStatus::Failure);
    json!({
        "ok": is_ok,
        "checks": findings,
        "took_ms": (took.as_secs_f64() * 1e4).round() / 10.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_can_be_copied() {
        assert_eq!(shell_quote("/srv/Shop-1"), "/srv/Shop-1");
        assert_eq!(shell_quote("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(shell_quote(""), "''");
        let findings = [
            Finding::ok("port", "127.0.0.1:8080 is free"),
            Finding::failure("data", "cannot write\x1b", "ls -ld /x"),
        ];
        assert_eq!(
            format_findings(&findings),
            "ok       port         127.0.0.1:8080 is free\n\
             failure  data         cannot write\\u{1b}\n                    → ls -ld /x\n"
        );
        let report = to_json(&findings, Duration::from_millis(1500));
        assert_eq!(report["ok"], false);
        assert_eq!(report["checks"][1]["status"], "failure");
        assert_eq!(report["checks"][0]["remedy"], Value::Null);
        assert_eq!(report["took_ms"], 1500.0);
    }
}
