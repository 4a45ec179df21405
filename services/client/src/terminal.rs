//! Text of others on a terminal: a file's name may hold anything, also what moves the cursor,
//! changes the window's title, or makes one line look like two.

use std::borrow::Cow;

/// Controls, and what makes a terminal show characters in another order than they have.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// As one line: every strange character as in a Rust string, `\n` or `\u{1b}`.
pub fn escape_line(text: &str) -> Cow<'_, str> {
    if !text.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match needs_escape(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// As the lines it has.
pub fn escape_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(escape_line).collect();
    lines.join("\n")
}

/// JSON escapes the lower control characters itself; the others as it would.
pub fn escape_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match needs_escape(c) && c != '\n' {
            true => shown += &format!("\\u{:04x}", u32::from(c)),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        for (text, shown) in [
            ("Ümläut 写真 🦊.jpg", "Ümläut 写真 🦊.jpg"),
            ("a\x1b[2J\x07.jpg", r"a\u{1b}[2J\u{7}.jpg"),
            ("a\nb\tc\r.jpg", r"a\nb\tc\r.jpg"),
            ("a\u{9b}2J\u{7f}", r"a\u{9b}2J\u{7f}"),
            ("a\u{202e}gpj.exe", r"a\u{202e}gpj.exe"),
        ] {
            assert_eq!(escape_line(text), shown);
        }
        assert_eq!(escape_lines("one\ntw\x1bo"), "one\ntw\\u{1b}o");
    }

    #[test]
    fn json_stays_what_it_was() {
        let value = serde_json::json!({ "path": "a\x1b\n\u{9b}\u{202e}\u{7f}é" });
        let shown = escape_json(&format!("{value:#}"));
        assert!(
            !shown.contains(|c: char| needs_escape(c) && c != '\n'),
            "{shown:?}"
        );
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, value);
    }
}
