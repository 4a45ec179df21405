//! `run_search`, as it is written on the command line.

use std::path::{Path, PathBuf};

use clap::Args;

use super::ServiceArgs;
use crate::named::looks_like_image_id;

/// `run_search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The picture to search by
    #[arg(value_name = "IMAGE")]
    pub image: Option<PathBuf>,
    /// Search by a picture of the index; alone, it is left out of the hits
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: Option<String>,
    /// Search by words; together with a picture, by both
    ///
    /// Only models with a text side know words: `clip-b32` is one.
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
    /// More of this; may be given several times
    #[arg(long, value_name = "ID|FILE|text:WORDS")]
    pub positive: Vec<SearchExample>,
    /// Less of that; may be given several times
    #[arg(long, value_name = "ID|FILE|text:WORDS")]
    pub negative: Vec<SearchExample>,
    /// How many hits at most
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
}

/// What hits are to look more like, or less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchExample {
    /// An image of the index.
    Id(String),
    /// A picture on this disk.
    File(PathBuf),
    /// Words.
    Text(String),
}

impl std::str::FromStr for SearchExample {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word.is_empty() {
            return Err("give an id, a picture's file, or text: and words");
        }
        let lower = word.to_ascii_lowercase();
        Ok(match word.strip_prefix("text:") {
            Some(text) => Self::Text(text.to_owned()),
            None if looks_like_image_id(&lower) && Path::new(word).symlink_metadata().is_err() => {
                Self::Id(lower)
            }
            None => Self::File(word.into()),
        })
    }
}

/// An id, also one that some other program wrote in upper case.
fn id(word: &str) -> Result<String, &'static str> {
    let lower = word.to_ascii_lowercase();
    match looks_like_image_id(&lower) {
        true => Ok(lower),
        false => Err("an id has 32 of the digits 0 to 9 and a to f; a file goes without --id"),
    }
}

impl SearchArgs {
    /// What is missing for a question, as a sentence.
    pub fn missing_query(&self) -> Option<&'static str> {
        let has_aim = self.image.is_some()
            || self.id.is_some()
            || self.text.is_some()
            || !self.positive.is_empty();
        match (has_aim, self.negative.is_empty()) {
            (true, _) => None,
            (false, true) => {
                Some("say what to look for: a picture's file, --id, --text or --positive")
            }
            (false, false) => Some(
                "--negative alone says only what not to look for: give a picture's file, --id, \
                 --text or --positive as well",
            ),
        }
    }
}

/// Shown below the help.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike search photo.jpg                          what looks like it\n  \
    lookalike search --text \"a red chair\"               by words, with a model that knows them\n  \
    lookalike search photo.jpg --text \"in the snow\"     by a picture and words\n  \
    lookalike search photo.jpg --negative other.jpg     more of this, less of that\n  \
    lookalike search --positive a.jpg --positive 9f8a41c25d7e03b6f4a1c2d3e4f50617 \\\n      \
    --negative text:people                            several, with ids and words among them\n\n\
    Each line has the score (the cosine, at most 1), what it means where that was measured for the\n\
    model and one picture was asked for, the file as LIBRARY/PATH, and its id. Over HTTP, each part\n\
    of a question may have a weight: POST /v1/search.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, CliCommand};
    use super::*;

    #[test]
    fn something_must_be_looked_for() {
        let parse = |words: &[&str]| {
            let words = ["lookalike", "search"].iter().chain(words);
            Cli::try_parse_from(words).map(|cli| match cli.command {
                CliCommand::Search(args) => args,
                other => panic!("{other:?}"),
            })
        };
        let id = "9f8a41c25d7e03b6f4a1c2d3e4f50617";
        for words in [&[][..], &["--limit", "3"]] {
            let said = parse(words).unwrap().missing_query().unwrap();
            assert!(said.starts_with("say what to look for"), "{said}");
        }
        let said = parse(&["--negative", "a.jpg"])
            .unwrap()
            .missing_query()
            .unwrap();
        assert!(said.starts_with("--negative alone"), "{said}");
        for (words, part) in [
            (&["--positive", ""][..], "give an id"),
            (&["--id", "a.jpg"], "an id has 32"),
        ] {
            let said = parse(words).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
        for words in [
            &["a.jpg"][..],
            &["--id", id],
            &["--text", "red"],
            &["--positive", "a.jpg"],
            &["a.jpg", "--text", "red", "--id", id],
        ] {
            assert_eq!(parse(words).unwrap().missing_query(), None, "{words:?}");
        }
        let upper = id.to_ascii_uppercase();
        let args = parse(&["--id", &upper, "--positive", &upper]).unwrap();
        assert_eq!(args.id.as_deref(), Some(id));
        assert_eq!(args.positive, [SearchExample::Id(id.into())]);
        let args = parse(&[
            "--positive",
            id,
            "--positive",
            "text:a red chair",
            "--negative",
            "b.jpg",
        ]);
        let args = args.unwrap();
        let text = SearchExample::Text("a red chair".into());
        assert_eq!(args.positive, [SearchExample::Id(id.into()), text]);
        assert_eq!(args.negative, [SearchExample::File("b.jpg".into())]);
    }
}
