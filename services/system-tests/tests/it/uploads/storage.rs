//! Crashes, interrupted connections, full disks and missing folders: no part of a picture becomes
//! visible, and a repetition succeeds.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::harness::namespace;

/// Sends the head of an upload and the first part of its picture.
async fn begin_upload(world: &SystemWorld, picture: &[u8]) -> TcpStream {
    let address = world.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/images?name=slow.jpg HTTP/1.1\r\nHost: {address}\r\n\
         Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        picture.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
        .write_all(&picture[..picture.len() / 2])
        .await
        .unwrap();
    let photos = &world.photos;
    eventually("the upload has begun", SETTLE_TIMEOUT, || async {
        match staged_files(photos).len() {
            1 => Ok(()),
            count => Err(format!("{count} files")),
        }
    })
    .await;
    connection
}

#[tokio::test]
async fn an_interrupted_upload_leaves_nothing() {
    let mut world = world_with_uploads("upload-killed", false);
    world.start_up().await;
    world.wait_until_settled().await;
    // Larger than the buffer, so that a part is on the disk.
    let picture = [sample(0), vec![0; 2 << 20]].concat();
    let connection = begin_upload(&world, &picture).await;
    drop(connection);
    wait_until_nothing_is_staged(&world.photos).await;
    assert!(files_below(&world.photos).is_empty());

    let _connection = begin_upload(&world, &picture).await;
    world.kill_up();
    let staged = staged_files(&world.photos);
    assert_eq!(staged.len(), 1, "the file of the upload is still there");
    assert_eq!(files_below(&world.photos), staged, "nothing is visible");
    world.start_up().await;
    world.wait_until_settled().await;
    wait_until_nothing_is_staged(&world.photos).await;
    let stats = world.wait_until_settled().await;
    assert_eq!(stats["on_disk"], 0, "{stats}");
    let (status, stored) = upload(&world, "name=slow.jpg", &picture).await;
    assert_eq!((status, &stored["path"]), (202, &"slow.jpg".into()));
    assert_eq!(wait_for_upload(&world, &stored).await["state"], "indexed");
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_missing_folder_is_not_written_to() {
    let mut world = world_with_uploads("upload-away", false);
    world.add_pictures("", 1);
    world.start_up().await;
    world.wait_until_settled().await;
    let away = world.dir.path().join("away");
    fs::rename(&world.photos, &away).unwrap();
    let (status, problem) = upload(&world, "", &sample(0)).await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &"library_unavailable".into()),
        "{problem}"
    );
    assert!(!world.photos.exists());
    // A mount point without its disk is an empty folder.
    fs::create_dir(&world.photos).unwrap();
    if fs::metadata(&world.photos).unwrap().created().is_ok() {
        // Before the watcher can report it.
        let (status, problem) = upload(&world, "", &sample(0)).await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &"library_unavailable".into()),
            "{problem}"
        );
    }
    world
        .wait_for_stats("the watcher reports it", |stats| {
            let degraded = stats["libraries"][0]["degraded"].as_array().unwrap().iter();
            degraded
                .into_iter()
                .any(|degraded| degraded["reason"] == "root_missing")
        })
        .await;
    let (status, problem) = upload(&world, "", &sample(0)).await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &"library_unavailable".into()),
        "{problem}"
    );
    assert_eq!(fs::read_dir(&world.photos).unwrap().count(), 0);
    fs::remove_dir(&world.photos).unwrap();
    fs::rename(&away, &world.photos).unwrap();
    let stored = eventually("the folder is back", SETTLE_TIMEOUT, || async {
        match upload(&world, "", &sample(0)).await {
            (202, stored) => Ok(stored),
            (_, problem) => Err(problem.to_string()),
        }
    })
    .await;
    assert_eq!(wait_for_upload(&world, &stored).await["state"], "indexed");
    world.stop_up().await;
}

#[tokio::test]
async fn full_and_read_only_disks_are_reported() {
    let Some(permit) = namespace::may_mount() else {
        return;
    };
    let mut world = world_with_uploads("upload-full", true);
    let mount = namespace::small_disk(&world.photos, 1);
    let command = namespace::with_mounts(permit, &mount, &world.role_command("up"));
    let up = world.start_command(command, "up");
    world.wait_for_up(up).await;
    world.wait_until_settled().await;
    let large = [sample(0), vec![0; 2 << 20]].concat();
    let (status, problem) = upload(&world, "name=a.jpg", &large).await;
    assert_eq!(
        (status, &problem["code"]),
        (507, &"storage_full".into()),
        "{problem}"
    );
    assert!(problem["detail"].as_str().unwrap().contains("free space"));
    let picture = sample(0);
    let stored = eventually(
        "the part of the large picture is removed",
        SETTLE_TIMEOUT,
        || async {
            match upload(&world, "name=a.jpg", &picture).await {
                (202, stored) => Ok(stored),
                (_, problem) => Err(problem.to_string()),
            }
        },
    )
    .await;
    let indexed = wait_for_upload(&world, &stored).await;
    assert_eq!(indexed["state"], "indexed", "{indexed}");

    let pid = world.up.as_ref().unwrap().pid();
    let remount = |how: &str| {
        let script = format!("mount -o remount,{how} '{}'", world.photos.display());
        namespace::among_mounts_of(permit, pid, &script);
    };
    remount("ro");
    let (status, problem) = upload(&world, "folder=b", &sample(1)).await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &"library_unavailable".into()),
        "{problem}"
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("read-only"),
        "{problem}"
    );
    let id = indexed["image_id"].as_str().unwrap();
    let (status, problem) = trash::remove(&world, id).await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &"library_unavailable".into()),
        "{problem}"
    );
    remount("rw");

    // The trash is on another disk than the library.
    let (status, removal) = trash::remove(&world, id).await;
    assert_eq!(status, 202, "{removal}");
    let trashed = fs::read(removal["trash_path"].as_str().unwrap()).unwrap();
    assert_eq!(trashed, picture);
    trash::wait_until_gone(&world, id).await;
    world.stop_up().await;
}
