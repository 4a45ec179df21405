//! The forms of rows in memory.

/// In which form an operation reads or writes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowForm {
    /// f32.
    Wide,
    /// Elements.
    Narrow,
    /// Both are possible.
    Any,
}
