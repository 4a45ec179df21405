//! The binary. Its code is in the library, so that tests can run it as well.

fn main() -> std::process::ExitCode {
    lookalike::main()
}
