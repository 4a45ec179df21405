//! Groups as tables and as paths.

use std::collections::HashMap;
use std::fs;

use super::*;

fn picture(library: &str, path: &str, keep: bool, reasons: &[&str]) -> Value {
    json!({
        "library": library, "path": path, "keep": keep, "reasons": reasons,
        "width": 4032, "height": 3024, "bytes": 2_914_312,
    })
}

fn group(images: &[Value]) -> Value {
    json!({ "kind": "identical", "images": images, "reclaimable_bytes": 2_914_312 })
}

#[test]
fn groups_are_tables() {
    let group = group(&[
        picture("shop", "a.jpg", true, &["oldest file"]),
        picture(
            "shop",
            "backup/a\n.jpg",
            false,
            &["newer file", "longer path"],
        ),
    ]);
    assert_eq!(
        format_group(&group, None),
        "2 identical files, 2.78 MiB to reclaim\n  \
           keep  shop/a.jpg             4032 × 3024  2.78 MiB  oldest file\n        \
                 shop/backup/a\\n.jpg    4032 × 3024  2.78 MiB  newer file; longer path\n"
    );
}

#[test]
fn tables_fit_the_terminal() {
    let long = "a very long folder/with another very long folder/写真 of something.jpg";
    let reasons = [
        "fewer pixels (4032 × 3024)",
        "named as a copy, or in a folder for copies",
    ];
    let group = group(&[
        picture("shop", long, true, &reasons),
        picture("shop", "b.jpg", false, &[]),
    ]);
    for width in [72, 80, 100, 132] {
        for line in format_group(&group, Some(width)).lines() {
            assert!(terminal::display_width(line) <= width, "{width}: {line:?}");
        }
    }
    let text = format_group(&group, Some(80));
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.contains('…') && text.contains("omething.jpg"),
        "{text}"
    );
}

#[test]
fn totals_are_a_sentence() {
    let mut totals = DuplicateTotals {
        examined: 12_000,
        ..DuplicateTotals::default()
    };
    assert_eq!(
        totals.format(DuplicateKindArg::Identical),
        "no identical files among 12,000 pictures"
    );
    totals.add_group(&group(&[
        picture("shop", "a.jpg", true, &[]),
        picture("shop", "b.jpg", false, &[]),
    ]));
    assert_eq!(
        totals.format(DuplicateKindArg::Near),
        "1 group of pictures that look the same: 2 pictures, 2.78 MiB to reclaim; 12,000 examined"
    );
}

#[test]
fn only_other_files_need_not_be_kept() {
    let disk = tempfile::tempdir().unwrap();
    let root = disk.path().canonicalize().unwrap();
    fs::create_dir(root.join("inner")).unwrap();
    for name in ["keep.jpg", "copy.jpg", "inner/deep.jpg"] {
        fs::write(root.join(name), "picture").unwrap();
    }
    fs::hard_link(root.join("keep.jpg"), root.join("hard.jpg")).unwrap();
    std::os::unix::fs::symlink("keep.jpg", root.join("link.jpg")).unwrap();
    let roots = HashMap::from([
        ("all".to_owned(), root.clone()),
        ("inner".to_owned(), root.join("inner")),
    ]);
    let paths = |images: &[Value]| {
        let mut spare_files = SpareFiles::with_roots(roots.clone());
        let paths = spare_files.paths_of_group(&group(images));
        let paths = String::from_utf8(paths).unwrap();
        paths
            .split_terminator('\0')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let on_disk = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let all = |path: &str, keep: bool| picture("all", path, keep, &[]);
    let found = paths(&[
        all("keep.jpg", true),
        all("copy.jpg", false),
        all("hard.jpg", false),
        all("link.jpg", false),
        all("gone.jpg", false),
        all("inner/deep.jpg", false),
        picture("inner", "deep.jpg", false, &[]),
        picture("elsewhere", "copy.jpg", false, &[]),
    ]);
    assert_eq!(found, [on_disk("copy.jpg"), on_disk("inner/deep.jpg")]);
    // Nothing may be removed if the file to keep is missing.
    let found = paths(&[all("gone.jpg", true), all("copy.jpg", false)]);
    assert!(found.is_empty(), "{found:?}");
    // The same file in two libraries.
    let same = [
        picture("inner", "deep.jpg", true, &[]),
        all("inner/deep.jpg", false),
    ];
    assert!(paths(&same).is_empty());
}
