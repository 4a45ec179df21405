//! The Python programs that lookalike is compared with: their virtual environment and their processes.

pub mod environment;
pub mod install;
pub mod process;
