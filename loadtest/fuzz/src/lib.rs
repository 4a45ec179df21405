//! Shared code of the fuzz targets.

use std::sync::Once;

/// Ignores panics of code from the registry.
///
/// `vision` catches panics of the decoders it uses and lists the file as failed. Panics of our own code
/// are findings, even where `vision` would catch them. The panic hook of libFuzzer aborts at every panic,
/// so call this before anything else.
pub fn ignore_registry_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let abort_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_from_registry = panic
                .location()
                .is_some_and(|location| location.file().contains("/registry/src/"));
            if !is_from_registry {
                abort_hook(panic);
            }
        }));
    });
}
