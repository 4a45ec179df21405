//! Several faults at once, and faults of the machine itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lookalike_servers::WantedServers;

use crate::harness::{
    Process, SETTLE_TIMEOUT, SystemWorld, Wire, copy_folder, eventually, namespace, start_servers,
};

/// Tests that start a Milvus of their own run one after another.
static ONE_MORE_MILVUS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn both_servers_unreachable_and_everything_killed_at_once() {
    let mut world = SystemWorld::new("both");
    world.set_variable("LOOKALIKE_WATCH_OVERDUE_TIMEOUT", "3s");
    world.set_variable("LOOKALIKE_NATS_ACK_WAIT", "3s");
    let (nats, milvus) = (world.proxy_nats(), world.proxy_milvus());
    world.add_pictures("", 20);
    let mut roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    for round in 0..2 {
        world.add_pictures(&format!("round {round}"), 20);
        nats.set_wire(Wire::HalfOpen);
        milvus.set_wire(Wire::Answerless);
        fs::remove_file(world.photos.join(format!("{round}.jpg"))).unwrap();
        world.add_pictures(&format!("round {round}/more"), 5);
        // Noticed but not sent: the change is in the catalog when the watcher dies.
        roles.watch.wait_for_log("trying again").await;
        for process in [&mut roles.watch, &mut roles.embed, &mut roles.serve] {
            process.kill_process();
        }
        fs::remove_file(world.photos.join(format!("round {round}/0.jpg"))).unwrap();
        fs::rename(
            world.photos.join(format!("round {round}/more")),
            world.photos.join(format!("moved {round}")),
        )
        .unwrap();
        nats.set_wire(Wire::Intact);
        milvus.set_wire(if round == 0 {
            Wire::Slow(std::time::Duration::from_millis(20))
        } else {
            Wire::Intact
        });
        roles = world.start_roles().await;
        world.assert_index_equals_folder().await;
    }
    assert_eq!(world.read_rows().await.len(), 18 + 2 * (19 + 5));
    roles.stop_roles().await;
}

#[tokio::test]
async fn a_rolling_upgrade_leaves_no_gap() {
    let mut world = SystemWorld::new("rolling");
    world.set_variable("LOOKALIKE_NATS_LEASE_TIMEOUT", "3s");
    world.add_pictures("", 10);
    let mut old = world.start_roles().await;
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    world.add_pictures("in the middle", 30);
    // The new roles start next to the old ones, which then stop one after another.
    let second = world.dir.path().join("second");
    let first = std::mem::replace(&mut world.data, second);
    let new = world.start_roles().await;
    old.serve.terminate_cleanly().await;
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    old.embed.terminate_cleanly().await;
    world.add_pictures("later", 5);
    old.watch.terminate_cleanly().await;
    fs::rename(world.photos.join("1.jpg"), world.photos.join("moved.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert_eq!(after.len(), 44);
    let kept = rows.keys().filter(|id| after.contains_key(*id)).count();
    assert_eq!(kept, 9, "{rows:?}\n{after:?}");
    drop(first);
    new.stop_roles().await;
}

#[tokio::test]
async fn catalog_streams_and_collection_lost_together() {
    let mut world = SystemWorld::with_up("all-lost").await;
    world.add_pictures("", 10);
    world.assert_index_equals_folder().await;
    world.stop_up().await;
    fs::remove_dir_all(world.data_dir()).unwrap();
    let jetstream = world.jetstream();
    jetstream.delete_stream(&jetstream.events_stream()).await;
    jetstream.delete_stream(&jetstream.outcomes_stream()).await;
    world.open_index().await.drop_collection().await.unwrap();
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 9);
    world.stop_up().await;
}

#[tokio::test]
async fn milvus_killed_and_restarted_while_files_change() {
    let _alone = ONE_MORE_MILVUS.lock().await;
    let mut world = SystemWorld::new("milvus");
    let only_milvus = WantedServers {
        nats: false,
        milvus: true,
    };
    let mut servers = start_servers(&world.dir.path().join("own"), only_milvus).await;
    world.own_milvus_url = servers.milvus_url().map(str::to_owned);
    world.set_variable("LOOKALIKE_MILVUS_CALL_TIMEOUT", "3s");
    world.set_variable("LOOKALIKE_AUDIT_CHECK_INTERVAL", "2s");
    world.add_pictures("", 20);
    world.start_up().await;
    world.assert_index_equals_folder().await;

    // Killed in the middle of work, together with all of lookalike.
    world.add_pictures("second", 60);
    world
        .wait_for_stats("it works", |s| s["indexed"].as_u64() > Some(25))
        .await;
    servers.kill_milvus().await;
    world.kill_up();
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    fs::rename(world.photos.join("1.jpg"), world.photos.join("moved.jpg")).unwrap();
    servers.restart_milvus().await.unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 79);

    // Its data is copied while it is stopped, and it starts again.
    world.add_pictures("third", 30);
    servers.kill_milvus().await;
    let data = world.dir.path().join("own/milvus/data");
    let backup = world.dir.path().join("backup");
    copy_folder(&data, &backup);
    fs::remove_file(world.photos.join("2.jpg")).unwrap();
    servers.restart_milvus().await.unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 108);

    // Files change, and then the older copy is restored without lookalike's knowledge: rows are
    // missing, outdated, and superfluous.
    fs::remove_dir_all(world.photos.join("third")).unwrap();
    world.add_pictures("fourth", 10);
    for number in 3..8 {
        let other = fs::read(world.photos.join(format!("{}.jpg", number + 6))).unwrap();
        fs::write(world.photos.join(format!("{number}.jpg")), other).unwrap();
    }
    fs::rename(world.photos.join("second"), world.photos.join("renamed")).unwrap();
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    servers.kill_milvus().await;
    copy_folder(&backup, &data);
    servers.restart_milvus().await.unwrap();
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(rows.keys().eq(after.keys()), "ids changed");
    world.stop_up().await;
    servers.stop().await;
}

/// A disk in the mount namespace of a process, at its path outside of it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Uses up all free space.
    fn fill_up(&self) {
        use std::io::Write as _;
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        for size in [1 << 20, 4096, 1] {
            let bytes = vec![1; size];
            while ballast.write_all(&bytes).is_ok() {}
        }
    }

    fn free_space(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

#[tokio::test]
async fn the_disk_of_the_catalog_of_nats_and_of_milvus_is_full() {
    let _alone = ONE_MORE_MILVUS.lock().await;
    let mut world = SystemWorld::new("full-disk");
    let Some(permit) = namespace::may_mount() else {
        return a_catalog_that_may_not_grow(world).await;
    };
    world.up_has_servers = true;
    let data = world.data_dir();
    for folder in ["", "nats", "milvus"] {
        fs::create_dir_all(data.join(folder)).unwrap();
    }
    let script = format!(
        "{} && mkdir '{1}/nats' '{1}/milvus' && {2} && {3}",
        namespace::small_disk(&data, 4),
        data.display(),
        namespace::small_disk(&data.join("nats"), 16),
        namespace::small_disk(&data.join("milvus"), 700),
    );
    let command = namespace::with_mounts(permit, &script, &world.role_command("up"));
    let up = world.start_command(command, "up");
    let seen = PathBuf::from(format!("/proc/{}/root", up.pid()));
    let seen = seen.join(data.strip_prefix("/").unwrap());
    world.visible_data_dir = Some(seen.clone());
    world.add_pictures("", 10);
    world.wait_for_up(up).await;
    world.assert_index_equals_folder().await;
    for (round, folder) in ["", "nats", "milvus"].into_iter().enumerate() {
        let disk = SmallDisk(seen.join(folder));
        let log = world.up.as_ref().unwrap().log().len();
        disk.fill_up();
        world.add_pictures(&format!("round {round}"), 30);
        fs::remove_file(world.photos.join(format!("{round}.jpg"))).unwrap();
        // It notices; the message depends on the disk.
        eventually("a warning", SETTLE_TIMEOUT, || async {
            let logged = world.up.as_ref().unwrap().log();
            let logged = &logged[log..];
            let warns = logged.contains("WARN") || logged.contains("ERROR");
            warns.then_some(()).ok_or(logged.to_owned())
        })
        .await;
        let logged = world.up.as_ref().unwrap().log();
        eprintln!("with the disk of {folder:?} full: {}", &logged[log..]);
        disk.free_space();
        world.assert_index_equals_folder().await;
    }
    assert_eq!(world.read_rows().await.len(), 97);
    world.stop_up().await;
}

/// Without mounts: the watcher's files may not grow.
async fn a_catalog_that_may_not_grow(mut world: SystemWorld) {
    eprintln!("NOT PERMITTED HERE: small disks; only the catalog's files are held from growing");
    let mut command = Command::new("sh");
    let inner = world.role_command("up");
    command
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .envs(inner.get_envs().filter_map(|(n, v)| Some((n, v?))));
    let up = world.start_command(command, "up");
    world.wait_for_up(up).await;
    world.add_pictures("", 10);
    world.assert_index_equals_folder().await;
    let up: &Process = world.up.as_ref().unwrap();
    up.limit_files(Some(1));
    world.add_pictures("more", 30);
    up.wait_for_log("WARN").await;
    up.limit_files(None);
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}
