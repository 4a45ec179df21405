//! The product itself, built as this package's own program, so that its tests always run the
//! code that is there.

fn main() -> std::process::ExitCode {
    lookalike::main()
}
