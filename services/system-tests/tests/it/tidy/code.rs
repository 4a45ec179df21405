//! Rules for shipped code.

use super::{assert_no_complaints, our_files};

/// Limit on the lines of a source file.
const MAX_LINES: usize = 600;

/// The remedy for macros that panic when their output accepts no text.
const WRITER: &str = "use lookalike_chassis::stdio, or tracing in a library";

/// Longer files, each with a reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Replaces every comment, string and character literal by blanks and keeps the lines.
fn blank_literals(source: &str) -> String {
    let mut left = source;
    let mut code = String::with_capacity(source.len());
    let mut last = ' ';
    while let Some(first) = left.chars().next() {
        let in_a_word = last.is_alphanumeric() || last == '_';
        let hidden = if left.starts_with("//") {
            left.find('\n').unwrap_or(left.len())
        } else if left.starts_with("/*") {
            left.find("*/").map_or(left.len(), |end| end + 2)
        } else if first == '"' {
            literal_length(left, '"')
        } else if let Some(hashes) = raw_string_hashes(left).filter(|_| !in_a_word || last == 'b') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 2;
            left[start..]
                .find(&end)
                .map_or(left.len(), |found| start + found + end.len())
        } else if first == '\'' && (left[1..].starts_with('\\') || is_character(left)) {
            literal_length(left, '\'')
        } else {
            0
        };
        if hidden == 0 {
            code.push(first);
            last = first;
            left = &left[first.len_utf8()..];
        } else {
            code.extend(
                left[..hidden]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            last = ' ';
            left = &left[hidden..];
        }
    }
    code
}

/// Returns the length of the literal that begins here, including both quotes.
fn literal_length(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the number of `#` of the raw string that begins here, if one does.
fn raw_string_hashes(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.chars().take_while(|c| *c == '#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Returns whether this is `'x'` and not a lifetime.
fn is_character(text: &str) -> bool {
    text.chars().nth(2) == Some('\'')
}

/// Returns blanked code without its `#[cfg(test)]` items.
pub(super) fn shipped_code(source: &str) -> String {
    let mut code = blank_literals(source);
    while let Some(start) = code.find("#[cfg(test)]") {
        let body = code[start..].find(['{', ';']).unwrap_or(0);
        let mut end = start + body + 1;
        if code[start + body..].starts_with('{') {
            let mut depth = 0_i32;
            for (at, c) in code[start..].char_indices() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                end = start + at + 1;
                if c == '}' && depth == 0 {
                    break;
                }
            }
        }
        let lines = code[start..end].matches('\n').count();
        code.replace_range(start..end, &"\n".repeat(lines));
    }
    code
}

#[test]
fn the_scanner_sees_code_only() {
    let source = "let a = \"x.unwrap()\"; // .unwrap()\nlet b = '\"'; b'\\''; c::<'a>();\n\
                  r#\"\" .unwrap()\"#;\n#[cfg(test)]\nmod t {\n { x.unwrap() }\n}\nd.unwrap()\n\
                  #[cfg(test)]\nmod tests;\n";
    let code = shipped_code(source);
    let lines: Vec<_> = code.lines().map(str::trim).collect();
    assert_eq!(code.matches(".unwrap()").count(), 1, "{code}");
    assert_eq!(lines[7], "d.unwrap()");
}

/// Returns whether a line of code contains a word, not as a part of a longer one.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        word.starts_with('.') || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn nothing_half_done_ships() {
    let unfinished = concat!("FIX", "ME");
    let mut complaints = Vec::new();
    for (name, path) in our_files() {
        if !name.ends_with(".rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let lines = source.lines().count();
        if lines > MAX_LINES && !LONG_FILES.iter().any(|(longer, _)| *longer == name) {
            complaints.push(format!(
                "{name} has {lines} lines: split it by subject, or list it in LONGER and say why"
            ));
        }
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name.contains("/tests/") || stem == "tests" || stem.ends_with("_tests") {
            continue;
        }
        if !source.starts_with("//!") {
            complaints.push(format!(
                "{name}: begin with `//!`: what this module is for, and what it may assume"
            ));
        }
        let is_main = matches!(&stem[..], "main" | "build") || name.contains("/examples/");
        let may_print = is_main && name != "loadtest/src/main.rs";
        let may_remark = may_print || name.starts_with("services/test-support/");
        let may_exit = is_main || name == "services/chassis/src/shutdown.rs";
        let rules = [
            (true, "todo!", "do it, or open an issue"),
            (true, "unimplemented!", "do it, or open an issue"),
            (true, "dbg!", "use tracing::debug!"),
            (
                true,
                ".unwrap()",
                "return an error, or `expect` why it holds",
            ),
            (!may_print, "println!", WRITER),
            (!may_print, "print!", WRITER),
            (!may_remark, "eprintln!", WRITER),
            (!may_remark, "eprint!", WRITER),
            (!may_exit, "process::exit", "return an error up to main"),
        ];
        let code = shipped_code(&source);
        for (number, (line, whole)) in code.lines().zip(source.lines()).enumerate() {
            let number = number + 1;
            for (applies, word, remedy) in rules {
                if applies && contains_word(line, word) {
                    complaints.push(format!(
                        "{name}:{number}: {word} in code that ships: {remedy}"
                    ));
                }
            }
            if whole.contains(unfinished) {
                complaints.push(format!(
                    "{name}:{number}: {unfinished}: do it, or open an issue"
                ));
            }
        }
    }
    assert_no_complaints(&complaints);
}
