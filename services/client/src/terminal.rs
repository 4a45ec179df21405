//! Output for people: escapes text from outside, such as file names, which may contain characters
//! that move the cursor, change the window's title, or make one line look like two.

use std::borrow::Cow;

use lookalike_chassis::stdio::{self, OutputError};
use serde_json::Value;

/// Control characters, and those that change the display order of a line.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns the text as one line, with characters escaped as in a Rust string: `\n`, `\u{1b}`.
pub fn escape_line(text: &str) -> Cow<'_, str> {
    if !text.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match needs_escape(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Escapes each line and keeps the line breaks.
pub fn escape_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(escape_line).collect();
    lines.join("\n")
}

/// Escapes the characters that a JSON serializer leaves as they are, as `\u009b`.
fn escape_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match needs_escape(c) && c != '\n' {
            true => escaped += &format!("\\u{:04x}", u32::from(c)),
            false => escaped.push(c),
        }
    }
    escaped
}

/// Writes indented JSON on standard output.
pub fn write_json(value: &Value) -> Result<(), OutputError> {
    stdio::write_line(&escape_json(&format!("{value:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_characters_reach_the_terminal() {
        for (text, escaped) in [
            ("Ümläut 写真 🦊.jpg", "Ümläut 写真 🦊.jpg"),
            ("a\x1b[2J\x07.jpg", r"a\u{1b}[2J\u{7}.jpg"),
            ("a\nb\tc\r.jpg", r"a\nb\tc\r.jpg"),
            ("a\u{9b}2J\u{7f}", r"a\u{9b}2J\u{7f}"),
            ("a\u{202e}gpj.exe", r"a\u{202e}gpj.exe"),
        ] {
            assert_eq!(escape_line(text), escaped);
        }
        assert_eq!(escape_lines("one\ntw\x1bo"), "one\ntw\\u{1b}o");
    }

    #[test]
    fn escaped_json_parses_to_the_same_value() {
        let value = serde_json::json!({ "path": "a\x1b\n\u{9b}\u{202e}\u{7f}é" });
        let escaped = escape_json(&format!("{value:#}"));
        assert!(
            !escaped.contains(|c: char| needs_escape(c) && c != '\n'),
            "{escaped:?}"
        );
        let parsed: serde_json::Value = serde_json::from_str(&escaped).unwrap();
        assert_eq!(parsed, value);
    }
}
