//! Many random faults at once: a short run of `lookalike-loadtest chaos`, which is run for longer by
//! hand.

use std::path::PathBuf;

use lookalike_loadtest::chaos::{ChaosArguments, run_seed};

#[test]
fn a_short_chaos_ends_with_an_index_that_equals_the_folders() {
    let report = run_seed(&ChaosArguments {
        seconds: 30,
        seed: 11,
        files: 300,
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_lookalike-system-tests"))),
        dir: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))),
        ..ChaosArguments::default()
    })
    .unwrap();
    eprintln!("{}", report.to_text());
    assert!(report.is_success(), "{}", report.to_text());
}
