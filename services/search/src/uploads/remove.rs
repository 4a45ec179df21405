//! Moves the file of an image to the trash. The watcher then removes the image from the index.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lookalike_index::IndexedImage;
use lookalike_proto::{ContentHash, LibraryName, RelativePath};

use super::permission::{check_deletion, find_present_root};
use super::receive::describe_folder;
use super::storage_problem::storage_problem;
use super::trash::{TrashError, TrashRequest, move_to_trash};
use crate::core::files::{describe_read_error, find_row};
use crate::core::library_disk::LibraryIoPermits;
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};
use crate::time::format_time_ms;

/// A file in the trash.
#[derive(Debug)]
pub(crate) struct RemovedImage {
    pub image: IndexedImage,
    pub trash_path: PathBuf,
    /// False if an earlier request has moved the file.
    pub is_new: bool,
}

/// Moves the file of an image. Until the image has left the index, a repetition changes nothing.
pub(crate) async fn remove_image(
    service: &SearchService,
    id: &str,
) -> Result<RemovedImage, Problem> {
    let image = find_row(service, id).await?;
    check_deletion(service, &image.library)?;
    let (request, disk) = prepare_request(service, &image).await?;
    let work = request.clone();
    let lock = service
        .find_uploads(&request.library)
        .map(|uploads| Arc::clone(&uploads.removal));
    let guard = lock.unwrap_or_default().lock_owned().await;
    let moving = move || {
        // Until the thread ends, even if the request does before.
        let _guard = guard;
        match move_to_trash(&work) {
            Err(TrashError::Missing) => match work.find_trashed() {
                Some(path) => Ok((path, false)),
                None => Err(TrashError::Missing),
            },
            moved => moved.map(|path| (path, true)),
        }
    };
    let moved = disk.run_blocking(moving).await?;
    let (trash_path, is_new) = moved.map_err(|error| removal_problem(error, &request))?;
    Ok(RemovedImage {
        image,
        trash_path,
        is_new,
    })
}

async fn prepare_request<'a>(
    service: &'a SearchService,
    image: &IndexedImage,
) -> Result<(TrashRequest, &'a LibraryIoPermits), Problem> {
    let unusable = |detail: String| Problem::new(Code::OutsideLibrary, detail);
    let library = LibraryName::new(&image.library).map_err(|error| unusable(error.to_string()))?;
    let (root, disk) = find_present_root(service, &library).await?;
    let path = RelativePath::new(&image.path).map_err(|error| unusable(error.to_string()))?;
    let content_hash = image.content_hash.parse::<ContentHash>();
    let now_ms = lookalike_chassis::clock::now_nanos().div_euclid(1_000_000);
    let request = TrashRequest {
        root: root.to_owned(),
        path,
        id: image.id.clone(),
        content_hash: content_hash.map_err(|error| unusable(format!("{error}")))?,
        trash_dir: PathBuf::from(&service.upload_settings.trash_dir),
        time: name_time(now_ms),
        library,
    };
    Ok((request, disk))
}

/// Returns a time as part of a name: `20261201T120000123Z`.
fn name_time(unix_ms: i64) -> String {
    format_time_ms(unix_ms).replace(['-', ':', '.'], "")
}

fn removal_problem(error: TrashError, request: &TrashRequest) -> Problem {
    let TrashRequest { library, path, .. } = request;
    let describe_trash = |trash: &Path| format!("the trash folder {}", trash.display());
    match error {
        TrashError::Missing => Problem::new(
            Code::FileGone,
            format!("{path}: the file no longer exists; its image leaves the index soon"),
        ),
        TrashError::Changed => Problem::new(
            Code::FileChanged,
            format!(
                "{path}: the file was changed after it was indexed, so it was not moved; look at it \
                 again when the change is indexed"
            ),
        ),
        TrashError::NotAFolder(part) => Problem::new(
            Code::OutsideLibrary,
            format!(
                "{path}: {part} is not a folder, but a file or a symbolic link, and links are not \
                 followed"
            ),
        ),
        TrashError::Read(error) => {
            let (code, reason) = describe_read_error(error);
            Problem::new(code, format!("{path}: {reason}"))
        }
        TrashError::Root(error) | TrashError::Library(error) => {
            storage_problem(&error, &describe_folder(library))
        }
        TrashError::Trash(error) => storage_problem(&error, &describe_trash(&request.trash_dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_trash_sort_by_name() {
        assert_eq!(name_time(1_795_420_130_007), "20261123T074850007Z");
        assert!(name_time(0) < name_time(1_795_420_130_007));
    }
}
