//! The values of filters as people write them: understood if their meaning is clear, else refused
//! with the words that are valid. A value that no image can have would silently find nothing.

use lookalike_vision::{COLOR_TERMS, FORMAT_NAMES};

use crate::problem::Problem;

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

/// Quotes the start of a refused value.
pub(crate) fn quote_start(text: &str) -> String {
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
        for word in ["", "bleu", "#0000ff", "light blue"] {
            let problem = colors(&[word]);
            assert_eq!(problem.param.as_deref(), Some("filter.colors"));
            assert!(
                problem.detail.contains("black, white"),
                "{}",
                problem.detail
            );
        }
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
}
