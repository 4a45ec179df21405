//! Saved searches: queries that are compared with every new or changed picture.
//!
//! | step | where |
//! |---|---|
//! | what is stored of a search; limits | [`record`], [`settings`] |
//! | the vector of a query; again after a change of the model | [`query_vector`] |
//! | read, create and delete searches; every service sees every change | [`store`] |
//! | take outcomes from their queue, and store the matches | [`matcher`] |
//! | compare pictures with one search | [`compare`] |
//!
//! NATS stores the searches, the outcomes that were not compared yet, and the matches (`lookalike-bus`).
//! Outcomes are acknowledged after their matches are stored, and a match is stored once for each
//! search, image and content. So a crash repeats comparisons, but neither loses nor repeats a match.

pub(crate) mod settings;

pub(crate) mod record;

pub(crate) mod query_vector;

pub(crate) mod store;

pub(crate) mod compare;
pub(crate) mod matcher;
