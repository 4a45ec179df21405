//! Each role as a process of its own.

use crate::harness::{
    Process, SETTLE_TIMEOUT, SystemWorld, eventually, jpeg_variant, sample_pictures,
};

#[tokio::test]
async fn three_processes_and_a_killed_embedder_lose_nothing() {
    let mut world = SystemWorld::new("roles");
    let samples: Vec<_> = sample_pictures()
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for number in 0..120 {
        let bytes = jpeg_variant(&samples[number % samples.len()], number);
        std::fs::write(world.photos.join(format!("{number}.jpg")), bytes).unwrap();
    }
    let log = |name: &str| world.dir.path().join(name);
    let start = |role: &str| Process::start(world.role_command(role), &log(role)).unwrap();
    let mut watch = start("watch");
    let mut embed = start("embed");
    let mut serve = start("serve");
    world.url = serve.read_address("address=").await;
    // Killed while it works; the next one completes the unacknowledged events.
    eventually("some are indexed", SETTLE_TIMEOUT, || async {
        let stats = world.get_json("/v1/stats").await;
        if stats["indexed"].as_u64() >= Some(20) {
            Ok(())
        } else {
            Err(stats.to_string())
        }
    })
    .await;
    embed.kill_process();
    let mut command = world.role_command("embed");
    command.env("LOOKALIKE_NATS_ACK_WAIT", "5s");
    let mut embed = Process::start(command, &log("embed")).unwrap();
    world.assert_index_equals_folder().await;

    // Frozen, then resumed: nothing is lost either.
    embed.send_signal(libc::SIGSTOP);
    for number in 0..20 {
        std::fs::remove_file(world.photos.join(format!("{number}.jpg"))).unwrap();
    }
    embed.send_signal(libc::SIGCONT);
    world.assert_index_equals_folder().await;

    for process in [&mut serve, &mut embed, &mut watch] {
        let status = process.interrupt_process().await;
        assert!(status.success(), "{status}\n{}", process.log());
    }
}

/// Creates a square BMP with one bit per pixel, striped in black and white.
fn bitmap_of_one_bit(side: u32) -> Vec<u8> {
    const HEADER_BYTES: u32 = 14 + 40 + 2 * 4;
    let row_bytes = side.div_ceil(32) * 4;
    let file_bytes = HEADER_BYTES + row_bytes * side;
    let mut file = b"BM".to_vec();
    // File header, then the info header: size, sides, planes and bits, no compression.
    for word in [file_bytes, 0, HEADER_BYTES, 40, side, side, 1 | 1 << 16] {
        file.extend(word.to_le_bytes());
    }
    for word in [0, 0, 0, 0, 2, 0, 0, 0x00ff_ffff] {
        file.extend(u32::to_le_bytes(word));
    }
    file.resize(file_bytes as usize, 0x55);
    file
}

#[tokio::test]
async fn a_file_that_kills_its_worker_is_listed_and_its_neighbours_come_through() {
    let mut world = SystemWorld::new("poison");
    // It decodes to 432 MB; the workers get less memory than that and die.
    std::fs::write(world.photos.join("poison.bmp"), bitmap_of_one_bit(12_000)).unwrap();
    for (number, sample) in sample_pictures().iter().take(20).enumerate() {
        world.copy_file(sample, &format!("{number}.jpg"));
    }
    let log = |name: &str| world.dir.path().join(name);
    let _watch = Process::start(world.role_command("watch"), &log("watch")).unwrap();
    let serve = Process::start(world.role_command("serve"), &log("serve")).unwrap();
    world.url = serve.read_address("address=").await;
    let mut deaths = 0;
    let embed = loop {
        let mut command = world.role_command("embed");
        command.env("LOOKALIKE_NATS_ACK_WAIT", "2s");
        let mut embed = Process::start(command, &log(&format!("embed-{deaths}"))).unwrap();
        embed.read_address("metrics=").await;
        embed.limit_memory(250 << 20);
        let died = eventually("it dies, or everything is done", SETTLE_TIMEOUT, || {
            let is_running = embed.is_running();
            let world = &world;
            async move {
                if !is_running {
                    return Ok(true);
                }
                let stats = world.get_json("/v1/stats").await;
                let done = stats["on_disk"] == 21 && stats["in_flight"] == 0;
                if done {
                    Ok(false)
                } else {
                    Err(stats.to_string())
                }
            }
        })
        .await;
        if !died {
            break embed;
        }
        deaths += 1;
        assert!(deaths <= 3, "it killed {deaths} workers");
    };
    assert!(
        deaths >= 1,
        "the file killed no worker, so this proves nothing\n{}",
        embed.log()
    );
    world.assert_index_equals_folder().await;
    let listed = world.get_json("/v1/failures").await;
    assert_eq!(listed["failures"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["failures"][0]["path"], "poison.bmp");
    assert_eq!(listed["failures"][0]["code"], "poison");
}
