//! Mounts that disappear, return or are replaced; files that cannot be read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::harness::{SystemWorld, namespace};

fn is_degraded(stats: &Value) -> bool {
    !stats["libraries"][0]["degraded"]
        .as_array()
        .unwrap()
        .is_empty()
}

#[tokio::test]
async fn a_mount_that_goes_comes_back_or_is_another_one_removes_nothing() {
    let Some(permit) = namespace::may_mount() else {
        // The same by renaming.
        return a_renamed_root_removes_nothing().await;
    };
    let mut world = SystemWorld::new("mount");
    world.set_variable("LOOKALIKE_WATCH_POLL_INTERVAL", "1s");
    world.add_pictures("", 5);
    world.add_pictures("folder", 5);
    // This folder is the disk, which is mounted at the root of lookalike's library.
    let disk = world.photos.clone();
    let root = world.dir.path().join("root");
    fs::create_dir(&root).unwrap();
    world.libraries = vec![("photos".into(), root.clone())];
    let mount = format!("mount --bind '{}' '{}'", disk.display(), root.display());
    let command = namespace::with_mounts(permit, &mount, &world.role_command("up"));
    let up = world.start_command(command, "up");
    let pid = up.pid();
    world.libraries = vec![("photos".into(), disk.clone())];
    world.wait_for_up(up).await;
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    let embedded = world.read_metric("lookalike_embeddings_total").await;
    let among = |script: &str| namespace::among_mounts_of(permit, pid, script);

    // Unmounted: an empty folder remains.
    among(&format!("umount -l '{}'", root.display()));
    world
        .wait_for_stats("the loss is noticed", is_degraded)
        .await;
    world.add_pictures("while it was away", 2);
    // Another disk is mounted in its place, with files of its own.
    among(&format!(
        "mount -t tmpfs -o size=4m tmpfs '{0}' && cp '{1}/0.jpg' '{0}/other.jpg'",
        root.display(),
        disk.display()
    ));
    world.wait_for_stats("it is another one", is_degraded).await;
    assert_eq!(world.read_rows().await, rows, "nothing was removed");
    // The disk is mounted again, with new files.
    among(&format!("umount -l '{}'", root.display()));
    among(&mount);
    world
        .wait_for_stats("it is back", |stats| {
            !is_degraded(stats) && stats["on_disk"] == 12
        })
        .await;
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(rows.keys().all(|id| after.contains_key(id)), "ids changed");
    assert_eq!(
        world.read_metric("lookalike_embeddings_total").await,
        embedded + 2.0
    );
    world.stop_up().await;
}

async fn a_renamed_root_removes_nothing() {
    let mut world = SystemWorld::new("renamed-root");
    world.set_variable("LOOKALIKE_WATCH_POLL_INTERVAL", "1s");
    world.add_pictures("", 5);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    let away = world.dir.path().join("away");
    fs::rename(&world.photos, &away).unwrap();
    world
        .wait_for_stats("the loss is noticed", is_degraded)
        .await;
    fs::create_dir(&world.photos).unwrap();
    world.add_pictures("", 1);
    world.wait_for_stats("it is another one", is_degraded).await;
    assert_eq!(world.read_rows().await, rows, "nothing was removed");
    fs::remove_dir_all(&world.photos).unwrap();
    fs::rename(&away, &world.photos).unwrap();
    world.add_pictures("new", 1);
    world
        .wait_for_stats("it is back", |stats| !is_degraded(stats))
        .await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_root_follows_its_link_and_another_one_is_missing_at_the_start() {
    let mut world = SystemWorld::new("linked-root");
    world.set_variable("LOOKALIKE_WATCH_POLL_INTERVAL", "1s");
    let extra = world.add_library("extra");
    world.add_pictures("", 4);
    let release = |number: u32| world.dir.path().join(format!("release{number}"));
    fs::rename(&world.photos, release(1)).unwrap();
    std::os::unix::fs::symlink(release(1), &world.photos).unwrap();
    fs::copy(release(1).join("0.jpg"), extra.join("0.jpg")).unwrap();
    fs::create_dir(release(2)).unwrap();
    for name in ["0.jpg", "1.jpg"] {
        fs::copy(
            release(1).join(name),
            release(2).join(format!("new-{name}")),
        )
        .unwrap();
    }
    let second_release = release(2);
    world.start_up().await;
    world.assert_index_equals_folder().await;

    fs::remove_file(&world.photos).unwrap();
    std::os::unix::fs::symlink(&second_release, &world.photos).unwrap();
    world
        .wait_for_stats("the link is followed", |stats| stats["on_disk"] == 3)
        .await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;

    // The other library is served while one is missing.
    let away = world.dir.path().join("away");
    fs::rename(&extra, &away).unwrap();
    world.start_up().await;
    world
        .wait_for_stats("the missing one is reported", is_degraded)
        .await;
    let picture = fs::read(second_release.join("new-1.jpg")).unwrap();
    assert_eq!(world.search_by_picture(&picture, 1).await.len(), 1);
    fs::rename(&away, &extra).unwrap();
    world
        .wait_for_stats("it is picked up", |stats| !is_degraded(stats))
        .await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_mount_that_reports_nothing_is_polled() {
    let mut world = SystemWorld::new("overlay");
    let at = |name: &str| world.dir.path().join(name);
    let (lower, work, root) = (at("lower"), at("work"), at("root"));
    for folder in [&lower, &work, &root] {
        fs::create_dir(folder).unwrap();
    }
    let upper = world.photos.clone();
    world.add_pictures("pure", 5);
    let mount = format!(
        "mount -t overlay overlay -o 'lowerdir={},upperdir={},workdir={}' '{}'",
        lower.display(),
        upper.display(),
        work.display(),
        root.display()
    );
    let permit = namespace::may_mount();
    let Some(permit) = permit.filter(|permit| namespace::may_run(*permit, &mount)) else {
        eprintln!(
            "NOT PERMITTED HERE: an overlay mount; polling is proved in the watcher's own tests only"
        );
        return;
    };
    world.set_variable("LOOKALIKE_WATCH_POLL_INTERVAL", "1s");
    world.libraries = vec![("photos".into(), root)];
    let command = namespace::with_mounts(permit, &mount, &world.role_command("up"));
    let up = world.start_command(command, "up");
    world.libraries = vec![("photos".into(), upper)];
    world.wait_for_up(up).await;
    world.assert_index_equals_folder().await;
    let stats = world.wait_until_settled().await;
    assert!(is_degraded(&stats), "polling is not reported: {stats}");
    // The mount does not report changes of its upper folder. It keeps showing files removed there, so
    // only new and changed files can be tested.
    world.add_pictures("pure", 8);
    world.assert_index_equals_folder().await;
    let other = fs::read(world.photos.join("pure/3.jpg")).unwrap();
    fs::write(world.photos.join("pure/0.jpg"), other).unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 8);
    world.stop_up().await;
}

#[tokio::test]
async fn very_many_files_gone_at_once_wait_for_confirmation() {
    let mut world = SystemWorld::new("mass-delete");
    world.set_variable("LOOKALIKE_WATCH_MASS_DELETE_MIN_FILES", "5");
    world.set_variable("LOOKALIKE_WATCH_MASS_DELETE_SHARE", "0.5");
    world.add_pictures("", 5);
    world.add_pictures("disk", 15);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    let away = world.dir.path().join("away");
    // A part of the tree disappears, as an inner mount would, and returns.
    fs::rename(world.photos.join("disk"), &away).unwrap();
    world
        .wait_for_stats("the mass-delete guard holds", is_degraded)
        .await;
    world.add_pictures("meanwhile", 1);
    assert_eq!(
        world
            .read_rows()
            .await
            .keys()
            .filter(|id| rows.contains_key(*id))
            .count(),
        20
    );
    fs::rename(&away, world.photos.join("disk")).unwrap();
    world
        .wait_for_stats("the guard releases", |stats| !is_degraded(stats))
        .await;
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(rows.keys().all(|id| after.contains_key(id)), "ids changed");

    // It is deleted, and the deletion is confirmed.
    fs::remove_dir_all(world.photos.join("disk")).unwrap();
    world
        .wait_for_stats("the mass-delete guard holds", is_degraded)
        .await;
    assert_eq!(world.read_rows().await.len(), 21);
    world.confirm_photos().await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 6);
    world.stop_up().await;
}

#[tokio::test]
async fn a_file_that_can_not_be_read_is_listed_until_it_can() {
    let mut world = SystemWorld::new("unreadable");
    world.add_pictures("", 3);
    let locked = world.photos.join("1.jpg");
    let permit = |mode| fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).unwrap();
    permit(0o000);
    let command = without_root_read_access(world.role_command("up"));
    let up = world.start_command(command, "up");
    world.wait_for_up(up).await;
    let stats = world.wait_until_settled().await;
    assert_eq!(
        (&stats["indexed"], &stats["failed"]),
        (&2.into(), &1.into()),
        "{stats}"
    );
    let failures = world.try_failures().await.unwrap();
    assert_eq!(failures[&("photos".into(), "1.jpg".into())], "unreadable");
    world.assert_index_equals_folder().await;
    // A picture that becomes readable is indexed automatically.
    permit(0o644);
    world
        .wait_for_stats("it is read", |s| s["indexed"] == 3)
        .await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

/// Removes root's privilege to read every file from a process.
fn without_root_read_access(mut command: std::process::Command) -> std::process::Command {
    use std::os::unix::process::CommandExt as _;
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    const CAP_DAC_READ_SEARCH: libc::c_ulong = 2;
    // SAFETY: two plain system calls between fork and exec; if they are refused, the process does not
    // run as root and cannot read such files anyway.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0);
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0);
            Ok(())
        });
    }
    command
}
