//! File names that programs often mishandle.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::harness::{SystemWorld, sample_pictures};

#[tokio::test]
async fn odd_names_come_move_and_go() {
    let mut world = SystemWorld::with_up("names").await;
    let at = |path: &str| world.photos.join(path);
    let long = format!("{}.jpg", "x".repeat(251));
    let names = [
        "photo.jpg",
        "caf\u{e9}.jpg",
        "new\nline.jpg",
        "quote\" ' \\ % * [a-z] .jpg",
        &long,
        " leading and trailing .jpg",
    ];
    for (number, name) in names.into_iter().enumerate() {
        world.copy_file(&sample_pictures()[number], name);
    }
    let strange = world.photos.join(OsStr::from_bytes(b"not utf-8 \xff.jpg"));
    fs::copy(&sample_pictures()[10], &strange).unwrap();
    world.assert_index_equals_folder().await;
    let stats = world.wait_until_settled().await;
    assert_eq!(
        (
            &stats["indexed"],
            stats["failed"].as_u64().unwrap() + stats["ignored"].as_u64().unwrap()
        ),
        (&6.into(), 1),
        "the one that is not UTF-8 is listed: {stats}"
    );
    let ids = [
        world.read_row_at("photo.jpg").await.id,
        world.read_row_at("caf\u{e9}.jpg").await.id,
        world.read_row_at("new\nline.jpg").await.id,
    ];

    // Only the case changes; the same letters in another normal form, which is another name here, next
    // to the first one; and an invalid name becomes a valid one.
    fs::rename(at("photo.jpg"), at("PHOTO.jpg")).unwrap();
    fs::rename(at("caf\u{e9}.jpg"), at("cafe\u{301}.jpg")).unwrap();
    world.copy_file(&sample_pictures()[11], "caf\u{e9}.jpg");
    fs::rename(at("new\nline.jpg"), at("new\ttab.jpg")).unwrap();
    fs::rename(&strange, at("now it is.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    let after = [
        world.read_row_at("PHOTO.jpg").await.id,
        world.read_row_at("cafe\u{301}.jpg").await.id,
        world.read_row_at("new\ttab.jpg").await.id,
    ];
    assert_eq!(after, ids, "renamed images keep their ids");
    assert_eq!(world.wait_until_settled().await["indexed"], 8);

    // A folder with such a name is renamed, and one whose files have very long paths.
    let deep = format!("{}/{}", "\u{1f4f7}".repeat(60), "y".repeat(255));
    world.copy_file(&sample_pictures()[12], &format!("{deep}/deep.jpg"));
    world.assert_index_equals_folder().await;
    let id = world.read_row_at(&format!("{deep}/deep.jpg")).await.id;
    fs::rename(at(&"\u{1f4f7}".repeat(60)), at("o\nther")).unwrap();
    world.assert_index_equals_folder().await;
    let moved = format!("o\nther/{}/deep.jpg", "y".repeat(255));
    assert_eq!(world.read_row_at(&moved).await.id, id);
    for name in fs::read_dir(&world.photos).unwrap() {
        let path = name.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}
