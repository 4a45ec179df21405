//! What the fuzz targets share.

use std::sync::Once;

/// Panics in decoders of others are caught by `vision`, which lists the file as failed: they are
/// what it is prepared for. A panic in our own code is a find, also where somebody would catch it.
///
/// libFuzzer's own hook ends the process at every panic, so this takes its place; call it before
/// anything else.
pub fn only_our_panics_count() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ends_the_process = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let from_a_registry = panic
                .location()
                .is_some_and(|place| place.file().contains("/registry/src/"));
            if !from_a_registry {
                ends_the_process(panic);
            }
        }));
    });
}
