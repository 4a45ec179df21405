//! Output for people: escapes text from outside, such as file names, which may contain characters
//! that move the cursor, change the window's title, or make one line look like two.

use std::borrow::Cow;

use lookalike_chassis::stdio::{self, OutputError};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Stands for what was left out of a text to make it fit.
const ELLIPSIS: char = '…';
/// Texts are not shortened below this width: a shorter one identifies nothing.
const MIN_TEXT_WIDTH: usize = 12;

/// Returns the columns of the terminal behind standard output; `None` for a file or a pipe, whose lines
/// are not shortened.
pub fn stdout_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width.0))
}

/// Returns the columns that a text takes.
pub fn display_width(text: &str) -> usize {
    text.width()
}

/// Takes whole characters from one side until `width` columns are full.
fn take_columns(chars: impl Iterator<Item = char>, width: usize) -> Vec<char> {
    let mut left = width;
    chars
        .take_while(|c| {
            let columns = c.width().unwrap_or(0);
            let fits = columns <= left;
            left = left.saturating_sub(columns);
            fits
        })
        .collect()
}

/// Shortens a text to `width` columns by leaving out its middle: of a path, its beginning and its name
/// matter most.
pub fn shorten_middle(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let room = width.saturating_sub(1);
    let end = take_columns(text.chars().rev(), room.div_ceil(2));
    let start = take_columns(text.chars(), room / 2);
    let shortened = start.into_iter().chain([ELLIPSIS]);
    Cow::Owned(shortened.chain(end.into_iter().rev()).collect())
}

/// Shortens a line to `width` columns by leaving out its end.
pub fn shorten_end(line: &str, width: Option<usize>) -> Cow<'_, str> {
    match width {
        Some(width) if line.width() > width => {
            let kept = take_columns(line.chars(), width.saturating_sub(1));
            Cow::Owned(kept.into_iter().chain([ELLIPSIS]).collect())
        }
        _ => Cow::Borrowed(line),
    }
}

/// Builds a line of three parts, and shortens the middle one if the line is wider than `width`.
pub fn fit_line(before: &str, text: &str, after: &str, width: Option<usize>) -> String {
    let Some(width) = width else {
        return format!("{before}{text}{after}");
    };
    let rest = width.saturating_sub(before.width() + after.width());
    let text = shorten_middle(text, rest.max(MIN_TEXT_WIDTH));
    format!("{before}{text}{after}")
}

/// Shortens each line of a table.
pub fn fit_table(table: &str, width: Option<usize>) -> String {
    let lines: Vec<_> = table
        .split('\n')
        .map(|line| shorten_end(line, width))
        .collect();
    lines.join("\n")
}

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

/// Writes JSON in one line on standard output.
pub fn write_json_line(value: &Value) -> Result<(), OutputError> {
    stdio::write_line(&escape_json(&value.to_string()))
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
    fn lines_fit_the_terminal() {
        assert_eq!(
            shorten_middle("2026/chairs/oak-07.jpg", 22),
            "2026/chairs/oak-07.jpg"
        );
        assert_eq!(
            shorten_middle("2026/chairs/oak-07.jpg", 15),
            "2026/ch…-07.jpg"
        );
        // Two columns each.
        assert_eq!(shorten_middle("写真写真写真写真", 9), "写真…写真");
        assert_eq!(display_width(&shorten_middle("写真写真写真写真", 10)), 9);
        assert_eq!(
            fit_line("0.5  ", "a/b.jpg", "  3ac9", None),
            "0.5  a/b.jpg  3ac9"
        );
        let path = "2026/chairs/oak-07.jpg";
        let line = fit_line("0.5  ", path, "  3ac9", Some(30));
        assert_eq!(display_width(&line), 30);
        assert!(
            line.starts_with("0.5  2026/") && line.ends_with(".jpg  3ac9"),
            "{line}"
        );
        // A very narrow terminal wraps lines.
        assert!(fit_line("0.5  ", path, "  3ac9", Some(3)).contains('…'));
        assert_eq!(fit_table("abcdef\nab", Some(4)), "abc…\nab");
        assert_eq!(fit_table("abcdef\nab", None), "abcdef\nab");
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
