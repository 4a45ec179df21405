//! Reads the files next to a picture that state attributes of it: `NAME.xmp` and `NAME.json`, where
//! NAME is the name of the picture with or without its extension.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use lookalike_proto::RelativePath;
use lookalike_vision::SidecarAttributes;

use super::file::{FileMismatch, classify_error};

/// Longer files are no sidecars.
const MAX_SIDECAR_BYTES: u64 = 1 << 20;

/// Returns what the sidecars of a picture state. A sidecar with the whole name of the picture counts
/// more than one without its extension, and XMP counts more than JSON.
///
/// # Errors
/// The folder is unavailable now. A sidecar that cannot be read otherwise is left out.
pub fn read_sidecars(root: &Path, path: &RelativePath) -> Result<SidecarAttributes, FileMismatch> {
    let mut attributes = SidecarAttributes::default();
    for base in sidecar_bases(path.as_str()) {
        for (extension, parse) in [
            (
                "xmp",
                SidecarAttributes::read_xmp as fn(&[u8]) -> SidecarAttributes,
            ),
            ("json", SidecarAttributes::read_json),
        ] {
            let file = root.join(format!("{base}.{extension}"));
            match read_small_file(&file) {
                Ok(Some(bytes)) => attributes = attributes.or(parse(&bytes)),
                Ok(None) => {}
                // If the whole folder is away, the picture is verified again before the row is written.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => match classify_error(root, &error) {
                    FileMismatch::Superseded(_) => {}
                    FileMismatch::Unreadable(reason) => {
                        let file = file.display();
                        tracing::warn!(%file, reason, "cannot read a sidecar; it is left out");
                    }
                    unavailable @ FileMismatch::Unavailable(_) => return Err(unavailable),
                },
            }
        }
    }
    Ok(attributes)
}

/// Returns the whole path of a picture, and the path without its extension if it has one.
fn sidecar_bases(path: &str) -> Vec<&str> {
    let name_start = path.rfind('/').map_or(0, |slash| slash + 1);
    let stem = path[name_start..].rfind('.').filter(|dot| *dot > 0);
    let stem = stem.map(|dot| &path[..name_start + dot]);
    [Some(path), stem].into_iter().flatten().collect()
}

/// Reads a regular file of at most [`MAX_SIDECAR_BYTES`]. Like pictures, links are not followed: the
/// watcher would not notice a change of their targets.
fn read_small_file(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let metadata = std::fs::symlink_metadata(file)?;
    if !metadata.is_file() || metadata.len() > MAX_SIDECAR_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(file)?
        .take(MAX_SIDECAR_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_have_the_name_with_and_without_extension() {
        assert_eq!(sidecar_bases("a.b/c.jpg"), ["a.b/c.jpg", "a.b/c"]);
        assert_eq!(sidecar_bases("c.d.jpg"), ["c.d.jpg", "c.d"]);
        assert_eq!(sidecar_bases("a.b/c"), ["a.b/c"]);
        assert_eq!(sidecar_bases("a.b/.jpg"), ["a.b/.jpg"]);
    }

    #[test]
    fn the_sidecars_of_a_picture_are_joined() {
        let dir = tempfile::tempdir().unwrap();
        let path = RelativePath::new("a.jpg").unwrap();
        let read = || read_sidecars(dir.path(), &path).unwrap();
        let write = |name: &str, content: &str| {
            std::fs::write(dir.path().join(name), content).unwrap();
        };
        assert_eq!(read(), SidecarAttributes::default());
        write("a.json", r#"{"tags": ["second"], "camera": "from a.json"}"#);
        write(
            "a.jpg.json",
            r#"{"tags": ["first"], "taken_at": "1970-01-02"}"#,
        );
        write("b.json", r#"{"tags": ["other"]}"#);
        let expected = SidecarAttributes {
            taken_at: Some(86_400),
            camera: Some("from a.json".into()),
            tags: vec!["first".into(), "second".into()],
        };
        assert_eq!(read(), expected);

        std::os::unix::fs::symlink("b.json", dir.path().join("a.xmp")).unwrap();
        std::fs::create_dir(dir.path().join("a.jpg.xmp")).unwrap();
        assert_eq!(read(), expected);
        write("a.jpg.json", &" ".repeat((1 << 20) + 1));
        assert_eq!(read().tags, ["second"]);
    }
}
