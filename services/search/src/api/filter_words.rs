//! The values of filters as people write them: understood if their meaning is clear, else refused
//! with the words that are valid. A value that no image can have would silently find nothing.

use lookalike_vision::{COLOR_TERMS, FORMAT_NAMES};

use crate::problem::Problem;
use crate::time;

/// Other names of formats: endings of files and parts of media types.
const FORMAT_ALIASES: &[(&str, &str)] = &[
    ("jpg", "jpeg"),
    ("jpe", "jpeg"),
    ("jfif", "jpeg"),
    ("pjpeg", "jpeg"),
    ("apng", "png"),
    ("tif", "tiff"),
    ("dib", "bmp"),
    ("cur", "ico"),
    ("vnd.microsoft.icon", "ico"),
    ("icon", "ico"),
    ("pbm", "pnm"),
    ("pgm", "pnm"),
    ("ppm", "pnm"),
    ("pam", "pnm"),
    ("portable-anymap", "pnm"),
    ("rgbe", "hdr"),
    ("targa", "tga"),
    ("heif", "heic"),
    ("hif", "heic"),
    ("avifs", "avif"),
    ("jpegxl", "jxl"),
    ("jpeg-xl", "jxl"),
];

const COLOR_ALIASES: &[(&str, &str)] = &[("grey", "gray"), ("violet", "purple")];

/// Characters of a refused value that are shown.
const MAX_SHOWN_CHARACTERS: usize = 40;

/// Parses formats: `jpeg`, `JPG`, `.jpg` and `image/jpeg` mean the same.
pub(crate) fn parse_formats(param: &str, formats: &[String]) -> Result<Vec<String>, Problem> {
    parse_words(param, formats, FORMAT_NAMES, |word| {
        let word = word.strip_prefix("image/").unwrap_or(word);
        let word = word.strip_prefix("x-").unwrap_or(word);
        resolve_alias(word.trim_start_matches('.'), FORMAT_ALIASES)
    })
}

/// Parses colours, in British spelling as well.
pub(crate) fn parse_colors(param: &str, colors: &[String]) -> Result<Vec<String>, Problem> {
    parse_words(param, colors, &COLOR_TERMS, |word| {
        resolve_alias(word, COLOR_ALIASES)
    })
}

fn resolve_alias<'a>(word: &'a str, aliases: &[(&str, &'static str)]) -> &'a str {
    let alias = aliases.iter().find(|(alias, _)| *alias == word);
    alias.map_or(word, |(_, name)| name)
}

fn parse_words(
    param: &str,
    words: &[String],
    valid: &[&str],
    resolve: impl for<'a> Fn(&'a str) -> &'a str,
) -> Result<Vec<String>, Problem> {
    let refuse = |problem: String| {
        let valid = valid.join(", ");
        Problem::invalid_parameter(param, format!("{problem}; valid are: {valid}"))
    };
    if words.is_empty() {
        return Err(refuse(format!(
            "{param} is an empty list, which no image matches: leave it out, or name some"
        )));
    }
    let mut parsed: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let lower = word.trim().to_lowercase();
        let name = resolve(&lower);
        if !valid.contains(&name) {
            return Err(refuse(format!("{param} has {}", quote_start(word))));
        }
        if parsed.iter().all(|other| other != name) {
            parsed.push(name.to_owned());
        }
    }
    Ok(parsed)
}

/// Parses tags: any words but empty ones.
pub(crate) fn parse_tags(param: &str, tags: &[String]) -> Result<Vec<String>, Problem> {
    match tags.iter().any(|tag| tag.trim().is_empty()) {
        true => Err(Problem::invalid_parameter(
            param,
            format!("{param} has an empty tag, which no image has: leave it out"),
        )),
        false => Ok(tags.to_vec()),
    }
}

/// Parses the start of a path below the root of a library. `./` in front means nothing; an absolute
/// path, or one that leads out, matches no image.
pub(crate) fn parse_path_prefix(param: &str, prefix: &str) -> Result<String, Problem> {
    let mut relative = prefix;
    while let Some(rest) = relative.strip_prefix("./") {
        relative = rest.trim_start_matches('/');
    }
    let is_outside = |part: &str| matches!(part, "." | "..");
    let folders = relative.rsplit_once('/').map_or("", |(folders, _)| folders);
    let has_wrong_part = !folders.is_empty()
        && folders
            .split('/')
            .any(|part| part.is_empty() || is_outside(part));
    if relative.starts_with('/') || has_wrong_part || relative.contains('\0') {
        return Err(Problem::invalid_parameter(
            param,
            format!(
                "{param} is {}; it must be relative to the root of the library, with single `/` \
                 between folders, such as 2026/ or 2026/holiday",
                quote_start(prefix)
            ),
        ));
    }
    Ok(relative.to_owned())
}

/// Parses the capture times `[after, before)` in milliseconds since 1970.
pub(crate) fn parse_taken_range(
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(Option<i64>, Option<i64>), Problem> {
    let after_ms = parse_filter_time("filter.taken_after", after)?;
    let before_ms = parse_filter_time("filter.taken_before", before)?;
    match (after_ms, before_ms) {
        (Some(after_ms), Some(before_ms)) if after_ms >= before_ms => {
            Err(Problem::invalid_parameter(
                "filter.taken_before",
                format!(
                    "taken_after ({}) is not before taken_before ({}), so no image matches; \
                     taken_before excludes the time that it names",
                    after.unwrap_or_default(),
                    before.unwrap_or_default()
                ),
            ))
        }
        range => Ok(range),
    }
}

fn parse_filter_time(param: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    text.map(|text| {
        time::parse_time(text.trim()).ok_or_else(|| {
            Problem::invalid_parameter(
                param,
                format!(
                    "{} is not a time like 2026-11-23 or 2026-11-23T07:48:50Z",
                    quote_start(text)
                ),
            )
        })
    })
    .transpose()
}

/// Quotes the start of a refused value.
fn quote_start(text: &str) -> String {
    let start: String = text.chars().take(MAX_SHOWN_CHARACTERS).collect();
    format!("{start:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn formats_are_understood_as_people_write_them() {
        let parse = |formats: &[&str]| parse_formats("filter.formats", &words(formats)).unwrap();
        for word in ["jpeg", "jpg", "JPG", ".jpg", " Jpeg ", "image/jpeg", "jfif"] {
            assert_eq!(parse(&[word]), ["jpeg"], "{word}");
        }
        for (word, name) in [
            ("tif", "tiff"),
            ("image/tiff", "tiff"),
            ("ppm", "pnm"),
            ("image/x-portable-anymap", "pnm"),
            ("image/vnd.microsoft.icon", "ico"),
            ("image/x-icon", "ico"),
            (".TGA", "tga"),
        ] {
            assert_eq!(parse(&[word]), [name], "{word}");
        }
        assert_eq!(parse(&["jpg", "png", "jpeg"]), ["jpeg", "png"]);
        assert_eq!(parse(FORMAT_NAMES), FORMAT_NAMES);
    }

    #[test]
    fn every_refusal_lists_the_valid_words() {
        let formats = |list: &[&str]| parse_formats("filter.formats", &words(list)).unwrap_err();
        let colors = |list: &[&str]| parse_colors("filter.colors", &words(list)).unwrap_err();
        for word in ["", "jpgg", "mp4", "*", "image/*", &"x".repeat(9999)] {
            let problem = formats(&["png", word]);
            assert_eq!(problem.param.as_deref(), Some("filter.formats"));
            assert!(problem.detail.contains("jpeg, png"), "{}", problem.detail);
            assert!(problem.detail.len() < 400, "{}", problem.detail);
        }
        assert!(formats(&[]).detail.contains("an empty list"));
        for word in ["", "bleu", "#0000ff", "light blue"] {
            let problem = colors(&[word]);
            assert_eq!(problem.param.as_deref(), Some("filter.colors"));
            assert!(
                problem.detail.contains("black, white"),
                "{}",
                problem.detail
            );
        }
        assert!(colors(&[]).detail.contains("an empty list"));
    }

    #[test]
    fn colors_are_understood_in_any_case_and_spelling() {
        let parse = |colors: &[&str]| parse_colors("filter.colors", &words(colors)).unwrap();
        assert_eq!(
            parse(&["Blue", "GREY", "gray", " red"]),
            ["blue", "gray", "red"]
        );
        assert_eq!(parse(&COLOR_TERMS), COLOR_TERMS);
    }

    #[test]
    fn path_prefixes_are_relative() {
        let parse = |prefix: &str| parse_path_prefix("filter.path_prefix", prefix);
        for (prefix, expected) in [
            ("", ""),
            ("2026/", "2026/"),
            ("2026/a", "2026/a"),
            ("./2026/", "2026/"),
            (".//./2026", "2026"),
            ("..a", "..a"),
            ("...", "..."),
        ] {
            assert_eq!(parse(prefix).unwrap(), expected, "{prefix}");
        }
        for bad in [
            "/",
            "/photos/2026",
            "../2026",
            "2026/../x",
            "2026//a",
            "a\0",
            "a/./b",
        ] {
            let problem = parse(bad).unwrap_err();
            assert!(problem.detail.contains("2026/holiday"), "{bad}");
        }
    }

    #[test]
    fn a_range_of_times_contains_some() {
        let range = |after, before| parse_taken_range(Some(after), Some(before));
        let day = 86_400_000;
        assert_eq!(
            range("1970-01-01", " 1970-01-02 ").unwrap(),
            (Some(0), Some(day))
        );
        for (after, before) in [
            ("2026-01-02", "2026-01-01"),
            ("2026-01-01", "2026-01-01"),
            ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"),
        ] {
            let problem = range(after, before).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("filter.taken_before"));
            assert!(problem.detail.contains(after) && problem.detail.contains(before));
        }
        let problem = parse_taken_range(Some("yesterday"), None).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("filter.taken_after"));
    }

    #[test]
    fn empty_tags_are_refused() {
        assert_eq!(parse_tags("filter.tags", &words(&["a"])).unwrap(), ["a"]);
        assert!(parse_tags("filter.tags", &[]).unwrap().is_empty());
        assert!(parse_tags("filter.tags", &words(&["a", " "])).is_err());
    }
}
