//! The formats of an export.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object per line
    Jsonl,
    /// A table; lists are JSON within a cell
    Csv,
    /// Vectors as a matrix of 32-bit floats, and their ids in a text file
    Npy,
}
