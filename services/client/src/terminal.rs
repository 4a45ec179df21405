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

/// Returns the columns of the terminal that standard output is; `None` if it is none.
pub fn output_width() -> Option<usize> {
    let (_, columns) = console::Term::stdout().size_checked()?;
    Some(usize::from(columns))
}

/// Returns the columns that a text needs: two for a wide character.
pub fn text_width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// Replaces the end of a text by `…` if it needs more columns.
pub fn shorten_end(text: &str, columns: usize) -> String {
    if text_width(text) <= columns {
        return text.to_owned();
    }
    let start = take_columns(text.chars(), columns.saturating_sub(1));
    let ellipsis = if columns > 0 { "…" } else { "" };
    start.into_iter().collect::<String>() + ellipsis
}

/// Replaces the middle of a text by `…` if it needs more columns: the end of a path is its name.
pub fn shorten_middle(text: &str, columns: usize) -> String {
    if text_width(text) <= columns {
        return text.to_owned();
    }
    let free = columns.saturating_sub(1);
    let start = take_columns(text.chars(), free / 3);
    let end = take_columns(text.chars().rev(), free - free / 3);
    let ellipsis = if columns > 0 { "…" } else { "" };
    start.into_iter().collect::<String>() + ellipsis + &end.into_iter().rev().collect::<String>()
}

/// Returns the first characters that fit.
fn take_columns(chars: impl Iterator<Item = char>, columns: usize) -> Vec<char> {
    let mut used = 0;
    let fits = chars.take_while(|c| {
        used += text_width(c.encode_utf8(&mut [0; 4]));
        used <= columns
    });
    fits.collect()
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
    fn long_texts_are_shortened() {
        assert_eq!(shorten_end("abcdef", 6), "abcdef");
        assert_eq!(shorten_end("abcdef", 4), "abc…");
        assert_eq!(shorten_end("abcdef", 0), "");
        assert_eq!(shorten_middle("folder/name.jpg", 10), "fol…me.jpg");
        // Wide characters need two columns.
        assert_eq!(shorten_middle("写真写真写真写真", 9), "写…真写真");
        assert_eq!(text_width("写…真写真"), 9);
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
