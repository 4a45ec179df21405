//! Paths as text. A file name on Linux is any bytes; messages, lists and arguments are UTF-8.

use std::borrow::Cow;

/// Returns the path as it is if it is UTF-8. In any other path, each byte that is not UTF-8 and each
/// backslash becomes `\x` and two hexadecimal digits, so that different paths stay different.
pub fn path_to_text(path: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(path) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(path.len() + 16);
    for chunk in path.utf8_chunks() {
        text += &chunk.valid().replace('\\', r"\x5c");
        for byte in chunk.invalid() {
            text += &format!(r"\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}

/// Reverses the escapes of [`path_to_text`], and those of lists for people, which write control
/// characters as in a Rust string: `\n`, `\u{1b}`. Returns `None` if the text has no escapes.
///
/// A name may really contain such characters, so look for a file with the text itself first.
pub fn unescape_path(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let (mut rest, mut has_escapes) = (text, false);
    while let Some(at) = rest.find('\\') {
        path.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        match read_escape(rest) {
            Some((bytes, length)) => {
                path.extend_from_slice(&bytes);
                rest = &rest[length..];
                has_escapes = true;
            }
            None => {
                path.push(b'\\');
                rest = &rest[1..];
            }
        }
    }
    path.extend_from_slice(rest.as_bytes());
    has_escapes.then_some(path)
}

/// Reads the escape that the text starts with, and returns its bytes and its length.
fn read_escape(text: &str) -> Option<(Vec<u8>, usize)> {
    let is_hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    match text.as_bytes().get(1)? {
        b'n' => Some((vec![b'\n'], 2)),
        b'r' => Some((vec![b'\r'], 2)),
        b't' => Some((vec![b'\t'], 2)),
        b'x' => {
            let digits = text.get(2..4).filter(|digits| is_hex(digits))?;
            Some((vec![u8::from_str_radix(digits, 16).ok()?], 4))
        }
        b'u' => {
            let (digits, _) = text.strip_prefix(r"\u{")?.split_once('}')?;
            let digits = Some(digits).filter(|digits| is_hex(digits))?;
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            Some((c.to_string().into_bytes(), digits.len() + r"\u{}".len()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_is_its_own_text() {
        for path in ["a/b.jpg", "caf\u{e9}", r"a\xff", "a\nb", ""] {
            assert_eq!(path_to_text(path.as_bytes()), path);
        }
    }

    #[test]
    fn every_other_path_survives_its_text() {
        for (path, expected) in [
            (&b"caf\xe9.jpg"[..], r"caf\xe9.jpg"),
            (b"\xff", r"\xff"),
            (b"2026/\xfe\xff/a.jpg", r"2026/\xfe\xff/a.jpg"),
            (b"a\\n\xe9", r"a\x5cn\xe9"),
            (b"a\\xff\xff", r"a\x5cxff\xff"),
            (b"\xe2\x82", r"\xe2\x82"),
            ("\u{1f4f7}".as_bytes(), "\u{1f4f7}"),
        ] {
            let text = path_to_text(path);
            assert_eq!(text, expected);
            let unescaped = unescape_path(&text).unwrap_or_else(|| text.as_bytes().to_vec());
            assert_eq!(unescaped, path, "{text}");
        }
    }

    #[test]
    fn every_byte_survives_next_to_every_other() {
        for first in 0..=255 {
            for second in [0x00, b'\\', b'x', b'n', b'u', b'{', 0x7f, 0x80, 0xc3, 0xff] {
                let path = [first, second, b'\\', b't', 0xff];
                assert_eq!(unescape_path(&path_to_text(&path)).unwrap(), path);
            }
        }
    }

    #[test]
    fn the_spelling_of_lists_is_understood() {
        for (text, expected) in [
            (r"new\nline.jpg", Some("new\nline.jpg")),
            (r"a\u{1b}[2J\u{7}.jpg", Some("a\u{1b}[2J\u{7}.jpg")),
            (r"a\tb\rc", Some("a\tb\rc")),
            (r"a\u{d800}", None),
            (r"a\u{}", None),
            (r"a\u{+1}", None),
            (r"a\q\", None),
            (r"a\x5", None),
            (r"a\xzz", None),
            ("a\\x\u{e9}\u{e9}", None),
            ("plain", None),
        ] {
            let unescaped = unescape_path(text);
            assert_eq!(unescaped.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
