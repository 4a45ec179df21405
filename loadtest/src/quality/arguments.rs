//! Command line of `quality`.

use std::path::PathBuf;

use clap::Args;

/// Measure how well a model finds pictures of one kind, and altered copies.
///
/// Give it a folder of class folders: pictures of one kind in a folder of their own, named after
/// the first folder below the root. It starts a lookalike of its own over them, with its data in a
/// temporary folder, waits until all are in the index, and asks for the neighbours of each.
///
/// P@10, precision at ten: the share of a picture's ten nearest neighbours, itself left out, that
/// are of its class, averaged over the pictures. In a class of fewer than eleven the share is of
/// those that there are; a picture that is alone in its class counts as a neighbour only.
///
/// mAP: the average precision of a picture is the mean, over the others of its class, of the
/// precision at the rank where each is found, 0 where it is not. Ranks are looked at down to 1,000.
///
/// Robustness: a photo is cropped, stored at JPEG quality 30, halved, mirrored and made 20 %
/// brighter, and each copy is searched for; the photo itself should come first. The copies are made
/// of lookalike's own upright JPEG of at most 1,024 pixels a side.
///
/// Scores: of the neighbours of each band ("similar", "very similar" and so on), and of each cosine,
/// how many are right; a curve of it is in the contact sheet.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest quality --photos ~/Pictures/kinds
  lookalike-loadtest quality --photos caltech50 --model ~/models/resnet34 --html resnet34.html
  lookalike-loadtest quality --photos caltech50 --robustness 500 --json > mini.json

Exit codes: 0 measured, 1 something failed, 2 wrong use.")]
pub struct QualityArguments {
    /// The folder of class folders.
    #[arg(long, value_name = "FOLDER")]
    pub photos: PathBuf,

    /// The model to measure, by name, or a folder with its description and weights [default: the
    /// one that lookalike comes with].
    #[arg(long, value_name = "NAME|FOLDER")]
    pub model: Option<String>,

    /// The lookalike to use [default: `lookalike` beside this program].
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,

    /// How many neighbours precision is counted in.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub k: u32,

    /// How many photos are altered and searched for; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub robustness: u32,

    /// Decides which photos are altered, and which corners are cropped.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,

    /// Write a contact sheet here: photos of every class with their neighbours, in one page for a
    /// browser. It holds small copies of the photos.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Keep the folder with index and logs.
    #[arg(long)]
    pub keep: bool,

    /// Where to work; a new folder in it is used [default: the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl Default for QualityArguments {
    fn default() -> Self {
        Self {
            photos: PathBuf::new(),
            model: None,
            program: None,
            k: 10,
            robustness: 200,
            seed: 1,
            json: false,
            html: None,
            keep: false,
            dir: None,
        }
    }
}
