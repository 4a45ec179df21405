//! Removals: the file moves to the trash, if it is the one that was indexed.

use super::*;

/// Sends a request to move a picture to the trash.
pub async fn remove(world: &SystemWorld, id: &str) -> (u16, Value) {
    let request = reqwest::Client::new().delete(format!("{}/v1/images/{id}", world.url));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

/// Waits until an image has left the index.
pub async fn wait_until_gone(world: &SystemWorld, id: &str) {
    eventually("the image leaves the index", SETTLE_TIMEOUT, || async {
        let status = world
            .get_response(&format!("/v1/images/{id}"))
            .await
            .status();
        match status.as_u16() {
            404 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_removed_picture_is_in_the_trash() {
    let mut world = world_with_uploads("trash", true);
    world.add_pictures("2026", 2);
    fs::write(world.photos.join("2026/0.jpg.xmp"), "<x/>").unwrap();
    world.start_up().await;
    world.wait_until_settled().await;
    let row = world.read_row_at("2026/0.jpg").await;
    let bytes = fs::read(world.photos.join("2026/0.jpg")).unwrap();
    let (status, removal) = remove(&world, &row.id).await;
    assert_eq!(status, 202, "{removal}");
    assert_eq!(removal["path"], "2026/0.jpg");
    let trashed = PathBuf::from(removal["trash_path"].as_str().unwrap());
    assert!(
        trashed.starts_with(world.data_dir().join("trash/photos")),
        "{trashed:?}"
    );
    assert!(trashed.ends_with("2026/0.jpg"), "{trashed:?}");
    assert_eq!(fs::read(&trashed).unwrap(), bytes);
    assert!(!world.photos.join("2026/0.jpg").exists());
    assert!(
        world.photos.join("2026/0.jpg.xmp").exists(),
        "sidecars stay"
    );
    // Until the image has left the index, the answer is the same.
    match remove(&world, &row.id).await {
        (202, again) => assert_eq!(again, removal),
        (status, problem) => assert_eq!((status, &problem["code"]), (404, &"no_such_image".into())),
    }
    wait_until_gone(&world, &row.id).await;
    let (status, problem) = remove(&world, &row.id).await;
    assert_eq!((status, &problem["code"]), (404, &"no_such_image".into()));
    world.assert_index_equals_folder().await;
    // To undo it, the file is moved back.
    fs::rename(&trashed, world.photos.join("2026/0.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 2);
    world.stop_up().await;
}

#[tokio::test]
async fn a_changed_file_is_not_removed() {
    let mut world = world_with_uploads("trash-changed", true);
    world.add_pictures("", 1);
    let mut roles = world.start_roles().await;
    world.wait_until_settled().await;
    let row = world.read_row_at("0.jpg").await;
    // No watcher reports the change.
    roles.watch.kill_process();
    let file = world.photos.join("0.jpg");
    fs::write(&file, sample(1)).unwrap();
    let (status, problem) = remove(&world, &row.id).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &"file_changed".into()),
        "{problem}"
    );
    assert_eq!(fs::read(&file).unwrap(), sample(1));
    fs::remove_file(&file).unwrap();
    let (status, problem) = remove(&world, &row.id).await;
    assert_eq!(
        (status, &problem["code"]),
        (410, &"file_gone".into()),
        "{problem}"
    );
    assert!(!world.data_dir().join("trash").exists());
}
