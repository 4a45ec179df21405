//! What measures and exercises lookalike from outside: it only uses what any user has, folders of
//! pictures and the HTTP service.
//!
//! One module per subcommand: [`run_generate`] paints photo-like pictures, [`chaos`] changes files
//! while parts of lookalike are killed and cut off, and [`quality`] measures how well a model finds
//! pictures of one kind. Below lie the [`product`] as a program, the [`scenes`] that pictures can
//! show and the [`paint`] box that they are drawn with.
//! [`metric_names`] lists the metrics that dashboards may use.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod chaos;
pub mod generate;
pub mod metric_names;
pub mod product;
pub mod quality;
