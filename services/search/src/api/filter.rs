//! Filters: conditions on images, as clients write them in JSON, and their translation to conditions
//! of the index.
//!
//! | step | where |
//! |---|---|
//! | the fields and their operators; the OpenAPI document | [`fields`], [`schema`] |
//! | parse one filter, within limits | [`parse`], [`operands`], [`ranges`] |
//! | check the named libraries, restrict the search to the libraries of this service | [`scope`] |
//!
//! A value that no image can have is refused, because it would silently find nothing.

mod fields;
mod operands;
mod parse;
mod ranges;
mod schema;
mod scope;

#[cfg(test)]
mod tests;

pub(crate) use operands::parse_path_prefix;
pub(crate) use schema::FilterBody;
pub(crate) use scope::{FilterParams, stored_row_filter, to_row_filter};
