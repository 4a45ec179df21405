//! Measures and stresses lookalike from outside, with the means of any user: folders of pictures, the
//! program and its HTTP service.
//!
//! One module per subcommand: [`generate`] paints photo-like pictures. [`chaos`] changes files while
//! processes are killed and disconnected. [`quality`] measures how well a model finds pictures of one
//! kind. [`bench`] measures speed next to other programs; it alone links parts of lookalike, to measure
//! the network, the decoder and the index alone. They share [`product`], which starts and stops the
//! program, and [`paths`], which checks arguments. [`metric_names`] lists the metrics that dashboards may
//! use.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod bench;
pub mod chaos;
pub mod generate;
pub mod metric_names;
pub mod paths;
pub mod product;
pub mod quality;
