//! Attributes that a row has besides those of its content: the folders around the file are tags, and
//! sidecars state tags, a time and a camera. Copies of one content have their own.

use lookalike_index::{ContentAttributes, IndexedImage, limits};
use lookalike_vision::SidecarAttributes;

/// Gives the row of the file at `path` its attributes: those of its content, replaced or extended by
/// those of its sidecars, and the names of its folders as tags.
pub fn set_attributes(
    image: &mut IndexedImage,
    path: &str,
    sidecar: &SidecarAttributes,
    has_folder_tags: bool,
) {
    let content = image.content_attributes();
    let taken_at = sidecar.taken_at.map(|seconds| seconds.saturating_mul(1000));
    let folders = path.rsplit('/').skip(1).filter(|_| has_folder_tags);
    let outside = sidecar.tags.iter().map(String::as_str).chain(folders);
    let attributes = ContentAttributes {
        taken_at: taken_at.or(content.taken_at),
        camera: sidecar
            .camera
            .clone()
            .unwrap_or_else(|| content.camera.clone()),
        tags: join_tags(content.tags.iter().map(String::as_str).chain(outside)),
    };
    image.content = (attributes != content).then_some(content);
    image.taken_at = attributes.taken_at;
    image.camera = attributes.camera;
    image.tags = attributes.tags;
}

/// Joins tags as the index stores them, each once.
fn join_tags<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for text in texts {
        let text = text.trim();
        let tag = text[..text.floor_char_boundary(limits::MAX_TAG_BYTES)].trim();
        if tags.len() < limits::MAX_TAGS && !tag.is_empty() && tags.iter().all(|other| other != tag)
        {
            tags.push(tag.to_owned());
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn copies_have_their_own_folders_and_sidecars() {
        let content = IndexedImage {
            taken_at: Some(5_000),
            camera: "Canon".into(),
            tags: texts(&["beach"]),
            ..IndexedImage::default()
        };
        let sidecar = SidecarAttributes {
            taken_at: Some(7),
            camera: Some("Nikon".into()),
            tags: texts(&["sea", "beach"]),
        };
        let none = SidecarAttributes::default();

        let mut original = content.clone();
        set_attributes(&mut original, "2026/beach/a.jpg", &sidecar, true);
        assert_eq!(original.tags, ["beach", "sea", "2026"]);
        assert_eq!(original.taken_at, Some(7_000));
        assert_eq!(original.camera, "Nikon");

        // A copy takes the content of any row.
        let mut copy = original.clone();
        set_attributes(&mut copy, "hats/b.jpg", &none, true);
        assert_eq!(copy.tags, ["beach", "hats"]);
        assert_eq!(copy.taken_at, Some(5_000));
        assert_eq!(copy.camera, "Canon");

        let mut without = copy.clone();
        set_attributes(&mut without, "hats/b.jpg", &none, false);
        assert_eq!(without, content);
        set_attributes(&mut copy, "b.jpg", &none, true);
        assert_eq!(copy, content);
    }

    #[test]
    fn tags_are_limited_as_the_index_stores_them() {
        let mut image = IndexedImage {
            tags: (0..63).map(|n| n.to_string()).collect(),
            ..IndexedImage::default()
        };
        let long = format!("x{}", "é".repeat(100));
        let path = format!("left out/ {long}/a.jpg");
        set_attributes(&mut image, &path, &SidecarAttributes::default(), true);
        assert_eq!(image.tags.len(), 64);
        assert_eq!(image.tags[63], format!("x{}", "é".repeat(63)));
        assert_eq!(image.content_attributes().tags.len(), 63);
    }
}
