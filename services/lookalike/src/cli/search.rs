//! `search`, as it is written on the command line.

use std::path::{Path, PathBuf};

use clap::Args;

use super::ServiceArgs;
use crate::named::is_id;

/// `search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The picture to search by
    #[arg(value_name = "IMAGE", required_unless_present_any = ["id", "text", "positive"])]
    pub image: Option<PathBuf>,
    /// Search by a picture of the index; alone, it is left out of the hits
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Search by words; together with a picture, by both
    ///
    /// Only models with a text side know words: `clip-b32` is one.
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
    /// More of this; may be given several times
    #[arg(long, value_name = "ID|FILE|text:WORDS")]
    pub positive: Vec<Example>,
    /// Less of that; may be given several times
    #[arg(long, value_name = "ID|FILE|text:WORDS")]
    pub negative: Vec<Example>,
    /// How many matches
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
}

/// What hits are to look more like, or less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Example {
    /// An image of the index.
    Id(String),
    /// A picture on this disk.
    File(PathBuf),
    /// Words.
    Text(String),
}

impl std::str::FromStr for Example {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match word.strip_prefix("text:") {
            Some(text) => Self::Text(text.to_owned()),
            None if is_id(word) && Path::new(word).symlink_metadata().is_err() => {
                Self::Id(word.to_owned())
            }
            None => Self::File(word.into()),
        })
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

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn something_must_be_looked_for() {
        let parse = |words: &[&str]| {
            let words = ["lookalike", "search"].iter().chain(words);
            Cli::try_parse_from(words).map(|cli| match cli.command {
                Command::Search(args) => args,
                other => panic!("{other:?}"),
            })
        };
        let id = "9f8a41c25d7e03b6f4a1c2d3e4f50617";
        for words in [&[][..], &["--limit", "3"], &["--negative", "a.jpg"]] {
            let said = parse(words).unwrap_err().to_string();
            assert!(said.contains("IMAGE"), "{said}");
        }
        for words in [
            &["a.jpg"][..],
            &["--id", id],
            &["--text", "red"],
            &["--positive", "a.jpg"],
            &["a.jpg", "--text", "red", "--id", id],
        ] {
            assert!(parse(words).is_ok(), "{words:?}");
        }
        let args = parse(&[
            "--positive",
            id,
            "--positive",
            "text:a red chair",
            "--negative",
            "b.jpg",
        ]);
        let args = args.unwrap();
        let text = Example::Text("a red chair".into());
        assert_eq!(args.positive, [Example::Id(id.into()), text]);
        assert_eq!(args.negative, [Example::File("b.jpg".into())]);
    }
}
