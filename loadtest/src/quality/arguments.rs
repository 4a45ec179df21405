//! Command line of `quality`.

use std::path::PathBuf;

use clap::Args;

use crate::paths::{existing_file, existing_folder};

/// Measure how well a model finds pictures of one kind, and altered copies.
///
/// The input is a folder of class folders: each contains the pictures of one kind, and the first folder below the
/// root is the class. The command starts its own lookalike with these pictures, stores its data in a temporary
/// folder, waits until all pictures are in the index, and requests the neighbours of each.
///
/// P@10, precision at ten: the share of a picture's ten nearest neighbours, itself excluded, that belong to its
/// class, averaged over all pictures. In a class of fewer than eleven pictures it is the share of the others that
/// are found. A picture that is alone in its class is only used as a neighbour of others.
///
/// mAP, mean average precision: the average precision of a picture is the mean, over the others of its class, of the
/// precision at the rank where each is found, or 0 if it is not. Ranks beyond 1,000 are ignored.
///
/// Robustness: a photo is cropped, stored at JPEG quality 30, halved, mirrored, turned, made 20 % brighter, and changed
/// in further ways. Each copy is searched for, and the photo itself should be the first hit, with a band that fits the
/// change. The copies are made from the upright JPEG thumbnail of the service, with at most 1,024 pixels per side.
///
/// Pictures with little in them: pages of text, ruled sheets, night skies, flat icons and solid colours are painted and
/// indexed by a second lookalike. No two of them are the same picture, while their copies (JPEG quality 75 and 30, half
/// size) are.
///
/// Scores: the share of right neighbours for each band ("similar", "very similar" and so on) and for each cosine. The
/// contact sheet shows it as a curve.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest quality --photos ~/Pictures/kinds
  lookalike-loadtest quality --photos caltech50 --model ~/models/resnet34 --html resnet34.html
  lookalike-loadtest quality --photos caltech50 --robustness 500 --json > mini.json

Exit codes: 0 measured, 1 failed, 2 wrong usage.")]
pub struct QualityArguments {
    /// The folder of class folders.
    #[arg(long, value_name = "FOLDER", value_parser = existing_folder())]
    pub photos: PathBuf,

    /// The model to measure: a name, or a folder with description and weights [default: lookalike's default
    /// model].
    #[arg(long, value_name = "NAME|FOLDER")]
    pub model: Option<String>,

    /// The lookalike program to test [default: `lookalike` in the folder of this program].
    #[arg(long, value_name = "PATH", value_parser = existing_file())]
    pub program: Option<PathBuf>,

    /// Number of neighbours for the precision.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub k: u32,

    /// Number of photos to alter and search for; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub robustness: u32,

    /// Number of pictures of each kind with little in them; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub sparse: u32,

    /// Seed of the choice of altered photos and cropped corners.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,

    /// Write a contact sheet to this file: an HTML page that shows photos of every class with their neighbours.
    /// It contains small copies of the photos.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Keep the folder with index and logs even after success.
    #[arg(long)]
    pub keep: bool,

    /// Folder to work in; a new subfolder is created [default: the system's temporary folder].
    #[arg(long, value_name = "DIR", value_parser = existing_folder())]
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
            sparse: 12,
            seed: 1,
            json: false,
            html: None,
            keep: false,
            dir: None,
        }
    }
}
