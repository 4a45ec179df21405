//! Which library a client may change.

use std::fs::Metadata;
use std::path::Path;

use lookalike_bus::{LibraryStatus, RootFolder};
use lookalike_proto::LibraryName;

use super::settings::LibraryPermissions;
use crate::core::libraries::{
    library_names, library_not_configured, parse_library, unknown_library,
};
use crate::core::library_disk::LibraryIoPermits;
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};

/// The reason of a watcher whose root folder is missing or was replaced.
const ROOT_MISSING: &str = "root_missing";

/// Returns the library that accepts an upload: the named one, or the only one that permits it.
pub(crate) fn find_upload_library(
    service: &SearchService,
    name: Option<&str>,
) -> Result<LibraryName, Problem> {
    let permitted = || {
        let libraries = service.library_uploads();
        libraries
            .filter(|(_, library)| library.permissions.uploads)
            .map(|(name, _)| name)
    };
    let Some(name) = name else {
        let mut permitted_libraries = permitted();
        return match (permitted_libraries.next(), permitted_libraries.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => Err(uploads_off("NAME")),
            (Some(_), Some(_)) => {
                let names: Vec<String> = permitted().map(ToString::to_string).collect();
                let detail = format!(
                    "name the library; these accept uploads: {}",
                    names.join(", ")
                );
                Err(Problem::invalid_parameter("library", detail))
            }
        };
    };
    let library = parse_library("library", name)?;
    match permissions_of(service, &library) {
        LibraryPermissions { uploads: true, .. } => Ok(library),
        _ if is_known(service, &library) => Err(uploads_off(library.as_str())),
        _ => Err(unknown_library(&library, &library_names(service)).with_param("library")),
    }
}

/// Refuses to delete files of a library that does not permit it.
pub(super) fn check_deletion(service: &SearchService, library: &str) -> Result<(), Problem> {
    let permissions = LibraryName::new(library).map(|library| permissions_of(service, &library));
    if permissions.is_ok_and(|permissions| permissions.deletions) {
        return Ok(());
    }
    Err(Problem::new(
        Code::DeletionsOff,
        format!(
            "the API may not remove files of library {library}: start the service with \
             --allow-deletions {library}, or set deletions = true in [libraries.{library}] of \
             lookalike.toml"
        ),
    ))
}

/// Returns the root and the disk of a library whose folder may be changed now: a watcher reports that
/// it is there, and it is the one that the watcher saw. A mount point without its disk is another one.
pub(super) async fn find_present_root<'a>(
    service: &'a SearchService,
    library: &LibraryName,
) -> Result<(&'a Path, &'a LibraryIoPermits), Problem> {
    let (root, disk) = service
        .find_root(library)
        .ok_or_else(|| library_not_configured(library.as_str()))?;
    let root = root.as_path();
    let status = find_sound_status(service, library)?;
    let Some(reported) = status.root_folder else {
        return Ok((root, disk));
    };
    let path = root.to_owned();
    let metadata = disk.run_blocking(move || path.metadata()).await?;
    // What is missing is reported by whatever opens it.
    match metadata {
        Ok(metadata) if is_other_folder(&metadata, reported) => Err(Problem::new(
            Code::LibraryUnavailable,
            format!(
                "the folder of library {library} is another one than the watcher saw, so its disk may \
                 be missing: connect the disk, or repeat the request when the watcher accepts the \
                 new folder"
            ),
        )),
        _ => Ok((root, disk)),
    }
}

fn is_other_folder(metadata: &Metadata, reported: RootFolder) -> bool {
    RootFolder::from_metadata(metadata).is_some_and(|folder| folder != reported)
}

/// Returns a watcher's report of a library, unless there is none or its root is missing.
fn find_sound_status(
    service: &SearchService,
    library: &LibraryName,
) -> Result<LibraryStatus, Problem> {
    let mut libraries = service.library_statuses().into_iter();
    let Some(status) = libraries.find(|status| status.name == library.as_str()) else {
        if !service.watchers().are_reachable() {
            return Err(Problem::new(
                Code::LibraryUnavailable,
                "NATS is unreachable, so it is not known whether the folder of the library is there",
            ));
        }
        return Err(Problem::new(
            Code::LibraryUnavailable,
            format!(
                "no watcher reports library {library}, so its disk may be missing: repeat the request in \
                 some seconds, or start `lookalike watch` for this library"
            ),
        ));
    };
    let mut degraded = status.degraded.iter();
    match degraded.find(|degraded| degraded.reason == ROOT_MISSING) {
        None => Ok(status),
        Some(degraded) => Err(Problem::new(
            Code::LibraryUnavailable,
            format!("{library}: {}", degraded.detail),
        )),
    }
}

pub(crate) fn permissions_of(service: &SearchService, library: &LibraryName) -> LibraryPermissions {
    let uploads = service.find_uploads(library);
    uploads.map_or_else(LibraryPermissions::default, |library| library.permissions)
}

fn is_known(service: &SearchService, library: &LibraryName) -> bool {
    let names = library_names(service);
    names.iter().any(|name| name == library.as_str())
}

fn uploads_off(library: &str) -> Problem {
    Problem::new(
        Code::UploadsOff,
        format!(
            "the API may not add files to library {library}: start the service with \
             --allow-uploads {library}, or set uploads = true in [libraries.{library}] of \
             lookalike.toml"
        ),
    )
    .with_param("library")
}
