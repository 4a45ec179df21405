//! Generated files: every way to store an orientation, in every format, against the upright picture.

mod build;
mod forms;
mod orientation;
mod places;
mod samples;
