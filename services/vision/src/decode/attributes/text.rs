//! Text as programs write it into metadata.

/// Characters of one text that are kept.
const MAX_CHARS: usize = 64;

/// Returns the printable text of at most 64 characters up to the first NUL, without white space
/// around it. Bytes that are not UTF-8 count as Latin-1, which older cameras and programs write.
pub(crate) fn decode_text(raw: &[u8]) -> String {
    let end = raw.iter().position(|byte| *byte == 0);
    clean_text(&decode_characters(&raw[..end.unwrap_or(raw.len())]))
}

/// Returns the printable text of at most 64 characters, without white space around it.
pub(crate) fn clean_text(text: &str) -> String {
    let clean: String = text
        .trim()
        .chars()
        .map(|letter| match letter {
            '\t' | '\r' | '\n' => ' ',
            letter => letter,
        })
        .filter(|letter| !letter.is_control() && *letter != char::REPLACEMENT_CHARACTER)
        .take(MAX_CHARS)
        .collect();
    clean.trim().to_owned()
}

fn decode_characters(raw: &[u8]) -> String {
    match std::str::from_utf8(raw) {
        Ok(text) => text.to_owned(),
        // UTF-8 that a field of fixed length cut within its last character.
        Err(error) if error.error_len().is_none() && !raw[..error.valid_up_to()].is_ascii() => {
            String::from_utf8_lossy(&raw[..error.valid_up_to()]).into_owned()
        }
        Err(_) => raw.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(raw: &[u8], expected: &str) {
        assert_eq!(decode_text(raw), expected, "{raw:?}");
    }

    #[test]
    fn texts_are_utf8_or_latin_1() {
        check_text(b"Cam\xe9ra 1", "Caméra 1");
        check_text("Caméra 1".as_bytes(), "Caméra 1");
        check_text("写真機".as_bytes(), "写真機");
        // Cut within the last character.
        check_text(&"写真機".as_bytes()[..8], "写真");
        check_text(b"Minolta\xae", "Minolta®");
        check_text(b"  Canon \0\0rubbish", "Canon");
        check_text(b"a\x07b\x81\x9fc\nd", "abc d");
        check_text(b"\0Canon", "");
        check_text(&[b'x'; 500], &"x".repeat(64));
        check_text(&[0xe9; 500], &"é".repeat(64));
    }
}
