//! Each role as a process of its own.

use std::time::Duration;

use crate::harness::{Process, World, eventually, samples, variant};

#[tokio::test]
async fn three_processes_and_a_killed_embedder_lose_nothing() {
    let mut world = World::new("roles");
    let samples: Vec<_> = samples()
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for number in 0..120 {
        let bytes = variant(&samples[number % samples.len()], number);
        std::fs::write(world.photos.join(format!("{number}.jpg")), bytes).unwrap();
    }
    let log = |name: &str| world.dir.path().join(name);
    let start = |role: &str| Process::start(world.command(role), &log(role));
    let mut watch = start("watch");
    let mut embed = start("embed");
    let mut serve = start("serve");
    let url = eventually(
        "serve says where it listens",
        Duration::from_secs(60),
        || {
            let log = serve.log();
            async move {
                let address = log
                    .split("address=")
                    .nth(1)
                    .and_then(|rest| rest.split_whitespace().next());
                address
                    .map(|address| format!("http://{address}"))
                    .ok_or(log)
            }
        },
    )
    .await;
    world.url = url;
    // Killed while it works; the next one does what it had not acknowledged.
    eventually("some are indexed", Duration::from_secs(60), || async {
        let stats = world.get("/v1/stats").await;
        if stats["indexed"].as_u64().unwrap() >= 20 {
            Ok(())
        } else {
            Err(stats.to_string())
        }
    })
    .await;
    embed.kill();
    let mut command = world.command("embed");
    command.env("LOOKALIKE_NATS_ACK_WAIT", "5s");
    let mut embed = Process::start(command, &log("embed"));
    world.assert_index_equals_folder().await;

    // Frozen, then woken: nothing is lost either.
    embed.signal(libc::SIGSTOP);
    for number in 0..20 {
        std::fs::remove_file(world.photos.join(format!("{number}.jpg"))).unwrap();
    }
    embed.signal(libc::SIGCONT);
    world.assert_index_equals_folder().await;

    for process in [&mut serve, &mut embed, &mut watch] {
        let status = process.interrupt().await;
        assert!(status.success(), "{status}\n{}", process.log());
    }
}
