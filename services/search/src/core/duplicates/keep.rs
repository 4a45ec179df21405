//! Which image of a group to keep, and why.
//!
//! Images are compared by one criterion after the other, so that the order does not depend on that of the
//! index. The last criteria, path and id, always decide.

use std::cmp::Ordering;

use lookalike_index::IndexedImage;

use crate::time::format_time;

/// An image of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JudgedImage {
    pub image: IndexedImage,
    pub keep: bool,
    /// Short phrases, the most important first: why it is kept, or why it need not be.
    pub reasons: Vec<String>,
}

/// Formats that always store the pixels without loss.
const LOSSLESS_FORMATS: &[&str] = &["png", "bmp", "tiff", "qoi", "pnm", "hdr", "tga"];
/// Camera raw files: what the camera recorded, before any processing.
const RAW_FORMATS: &[&str] = &[
    "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "iiq", "mef", "mos", "mrw", "nef",
    "orf", "pef", "raf", "raw", "rw2", "rwl", "srw", "x3f",
];
/// Words of folders and files that contain copies.
const COPY_WORDS: &[&str] = &[
    "copy",
    "copies",
    "kopie",
    "backup",
    "backups",
    "bak",
    "old",
    "duplicate",
    "duplicates",
    "dup",
    "dups",
    "temp",
    "tmp",
    "cache",
    "trash",
    "thumbnail",
    "thumbnails",
    "thumbs",
];

/// What images are compared by, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Criterion {
    Pixels,
    Format,
    Bytes,
    Place,
    Tags,
    TakenAt,
    ModifiedAt,
    PathLength,
    Name,
}

impl Criterion {
    const ALL: [Self; 9] = [
        Self::Pixels,
        Self::Format,
        Self::Bytes,
        Self::Place,
        Self::Tags,
        Self::TakenAt,
        Self::ModifiedAt,
        Self::PathLength,
        Self::Name,
    ];

    /// Compares two images; the better one is less.
    fn compare(self, image: &IndexedImage, other: &IndexedImage) -> Ordering {
        let more = |value: i64, other: i64| other.cmp(&value);
        match self {
            Self::Pixels => more(pixels(image), pixels(other)),
            Self::Format => more(
                format_rank(&image.format).into(),
                format_rank(&other.format).into(),
            ),
            Self::Bytes => more(image.bytes, other.bytes),
            Self::Place => is_named_copy(&image.path).cmp(&is_named_copy(&other.path)),
            Self::Tags => other.tags.len().cmp(&image.tags.len()),
            // A copy may have lost its time.
            Self::TakenAt => image
                .taken_at
                .unwrap_or(i64::MAX)
                .cmp(&other.taken_at.unwrap_or(i64::MAX)),
            Self::ModifiedAt => image.modified_at.cmp(&other.modified_at),
            Self::PathLength => image.path.chars().count().cmp(&other.path.chars().count()),
            Self::Name => (&image.library, &image.path, &image.id).cmp(&(
                &other.library,
                &other.path,
                &other.id,
            )),
        }
    }

    /// Describes why an image is kept.
    fn advantage(self, image: &IndexedImage) -> String {
        match self {
            Self::Pixels => format!("most pixels ({} × {})", image.width, image.height),
            Self::Format => match format_rank(&image.format) {
                2 => format!("camera raw file ({})", image.format),
                _ => format!("lossless format ({})", image.format),
            },
            Self::Bytes => "largest file, so least compressed".into(),
            Self::Place => "not in a place for copies".into(),
            Self::Tags => format!("most tags ({})", image.tags.len()),
            Self::TakenAt => "earliest date taken".into(),
            Self::ModifiedAt => "oldest file".into(),
            Self::PathLength => "shortest path".into(),
            Self::Name => "first by name".into(),
        }
    }

    /// Describes what an image lacks compared with the one to keep.
    fn drawback(self, image: &IndexedImage) -> String {
        match self {
            Self::Pixels => format!("fewer pixels ({} × {})", image.width, image.height),
            Self::Format => format!("format may lose detail ({})", image.format),
            Self::Bytes => "smaller file".into(),
            Self::Place => "named as a copy, or in a folder for copies".into(),
            Self::Tags => match image.tags.len() {
                0 => "no tags".into(),
                tags => format!("fewer tags ({tags})"),
            },
            Self::TakenAt => match image.taken_at {
                Some(time) => format!("later date taken ({})", format_time(time)),
                None => "no date taken".into(),
            },
            Self::ModifiedAt => format!("newer file ({})", format_time(image.modified_at)),
            Self::PathLength => "longer path".into(),
            Self::Name => "later by name".into(),
        }
    }
}

fn pixels(image: &IndexedImage) -> i64 {
    i64::from(image.width) * i64::from(image.height)
}

fn format_rank(format: &str) -> u8 {
    match format {
        format if RAW_FORMATS.contains(&format) => 2,
        format if LOSSLESS_FORMATS.contains(&format) => 1,
        _ => 0,
    }
}

/// Returns whether a folder or the file is named as copies are: `backup/a.jpg`, `a copy.jpg`, `a (2).jpg`.
fn is_named_copy(path: &str) -> bool {
    let words = path.split(|c: char| !c.is_alphanumeric());
    let has_word = words
        .map(str::to_lowercase)
        .any(|word| COPY_WORDS.contains(&word.as_str()));
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    has_word || has_copy_number(stem)
}

/// Returns whether a name ends with a number in parentheses, as browsers and file managers name copies.
fn has_copy_number(stem: &str) -> bool {
    let number = stem
        .strip_suffix(')')
        .and_then(|stem| stem.rsplit_once('('))
        .map(|(_, number)| number);
    number.is_some_and(|number| {
        (1..=3).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Sorts images, the one to keep first, and states the reasons.
pub(crate) fn judge_images(mut images: Vec<IndexedImage>) -> Vec<JudgedImage> {
    images.sort_by(|image, other| {
        let orders = Criterion::ALL.into_iter();
        orders.fold(Ordering::Equal, |order, criterion| {
            order.then_with(|| criterion.compare(image, other))
        })
    });
    let Some(best) = images.first().cloned() else {
        return Vec::new();
    };
    let mut decisive: Vec<Criterion> = Vec::new();
    let others = images.into_iter().skip(1).map(|image| {
        let mut worse = Criterion::ALL
            .into_iter()
            .filter(|criterion| criterion.compare(&best, &image) == Ordering::Less);
        let first = worse.next();
        decisive.extend(first);
        // Paths always differ, so they are a reason only if nothing else is.
        let further = worse.filter(|criterion| *criterion < Criterion::PathLength);
        let reasons = first.into_iter().chain(further);
        JudgedImage {
            reasons: reasons
                .map(|criterion| criterion.drawback(&image))
                .collect(),
            keep: false,
            image,
        }
    });
    let others: Vec<JudgedImage> = others.collect();
    let advantages = Criterion::ALL
        .into_iter()
        .filter(|criterion| decisive.contains(criterion));
    let kept = JudgedImage {
        reasons: advantages
            .map(|criterion| criterion.advantage(&best))
            .collect(),
        keep: true,
        image: best,
    };
    std::iter::once(kept).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(path: &str) -> IndexedImage {
        IndexedImage {
            id: path.into(),
            library: "shop".into(),
            path: path.into(),
            width: 400,
            height: 300,
            bytes: 1000,
            format: "jpeg".into(),
            taken_at: Some(1000),
            modified_at: 2000,
            ..IndexedImage::default()
        }
    }

    /// Checks that `better` is kept rather than `other`, whatever their order is, and the reasons of both.
    #[track_caller]
    fn check(better: &IndexedImage, other: &IndexedImage, advantage: &str, drawback: &str) {
        for images in [[better, other], [other, better]] {
            let judged = judge_images(images.map(Clone::clone).to_vec());
            assert_eq!(judged[0].image, *better);
            assert!(judged[0].keep && !judged[1].keep);
            assert_eq!(judged[0].reasons, [advantage]);
            assert_eq!(judged[1].reasons.join(", "), drawback);
        }
    }

    #[test]
    fn the_better_image_is_kept() {
        let base = image("b.jpg");
        let changed = |change: fn(&mut IndexedImage)| {
            let mut image = image("a.jpg");
            change(&mut image);
            image
        };
        let small = changed(|i| i.width = 200);
        check(
            &base,
            &small,
            "most pixels (400 × 300)",
            "fewer pixels (200 × 300)",
        );
        let png = changed(|i| i.format = "png".into());
        check(
            &png,
            &base,
            "lossless format (png)",
            "format may lose detail (jpeg)",
        );
        let raw = changed(|i| i.format = "nef".into());
        check(
            &raw,
            &png,
            "camera raw file (nef)",
            "format may lose detail (png)",
        );
        let compressed = changed(|i| i.bytes = 10);
        check(
            &base,
            &compressed,
            "largest file, so least compressed",
            "smaller file",
        );
        let tagged = changed(|i| i.tags = vec!["beach".into()]);
        check(&tagged, &base, "most tags (1)", "no tags");
        let undated = changed(|i| i.taken_at = None);
        check(&base, &undated, "earliest date taken", "no date taken");
        let newer = changed(|i| i.modified_at = 86_400_000);
        check(
            &base,
            &newer,
            "oldest file",
            "newer file (1970-01-02T00:00:00Z)",
        );
        check(
            &base,
            &image("folder/a.jpg"),
            "shortest path",
            "longer path",
        );
        check(&image("a.jpg"), &base, "first by name", "later by name");
        // All that is worse is listed.
        let mut worst = small;
        worst.bytes = 5;
        worst.path = "backup/a.jpg".into();
        check(
            &base,
            &worst,
            "most pixels (400 × 300)",
            "fewer pixels (200 × 300), smaller file, named as a copy, or in a folder for copies",
        );
    }

    #[test]
    fn copies_are_known_by_their_names() {
        let original = image("holidays/beach/long name of a photo.jpg");
        for path in [
            "Backup/a.jpg",
            "old/a.jpg",
            "a copy.jpg",
            "a - Copy (3).jpg",
            "a (1).jpg",
            "x/my_backup-2026/a.jpg",
        ] {
            check(
                &original,
                &image(path),
                "not in a place for copies",
                "named as a copy, or in a folder for copies",
            );
        }
        for path in [
            "copyright.jpg",
            "a (2026).jpg",
            "gold/a.jpg",
            "(1)/a.jpg",
            "a.jpg",
        ] {
            assert!(!is_named_copy(path), "{path}");
        }
    }

    #[test]
    fn the_kept_image_has_every_reason_that_decided() {
        let mut small = image("b.jpg");
        small.width = 10;
        let judged = judge_images(vec![image("c.jpg"), small, image("folder/a.jpg")]);
        assert_eq!(judged[0].image.path, "c.jpg");
        assert_eq!(
            judged[0].reasons,
            ["most pixels (400 × 300)", "shortest path"]
        );
        assert!(judge_images(vec![]).is_empty());
    }
}
