//! Searches while an embedder, a watcher or Milvus is frozen or slow: it keeps its connections, but its
//! answers are late or never arrive.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::{
    Process, SETTLE_TIMEOUT, SystemWorld, Wire, eventually, product_command, sample_pictures,
};

/// Pictures of a system with two embedders.
const PICTURES: usize = 12;

/// Clients that search at the same time.
const CLIENTS: usize = 8;

/// Searches that are answered before the fault.
const BEFORE_FAULT: usize = 16;

/// Processes of a system with two embedders.
struct TwoEmbedders {
    watch: Process,
    serve: Process,
    first: Process,
    second: Process,
}

impl TwoEmbedders {
    /// Starts the roles and waits until searches use both embedders. With `first_wire`, the first
    /// embedder's connection to NATS passes through a proxy.
    async fn start(world: &mut SystemWorld, first_nats_url: Option<String>) -> Self {
        world.add_pictures("", PICTURES);
        let watch = world.start_role("watch");
        let direct = world.nats_url.clone();
        world.nats_url = first_nats_url.or(direct.clone());
        let first = world.start_command(world.role_command("embed"), "first");
        world.nats_url = direct;
        first.read_address("metrics=").await;
        let second = world.start_command(world.role_command("embed"), "second");
        second.read_address("metrics=").await;
        let serve = world.start_role("serve");
        world.url = serve.read_address("address=").await;
        world.assert_index_equals_folder().await;
        let embedders = Self {
            watch,
            serve,
            first,
            second,
        };
        embedders.wait_until_found(2).await;
        embedders
    }

    /// Waits until the search service has found so many embedders since its start.
    async fn wait_until_found(&self, count: usize) {
        eventually("the embedders are found", SETTLE_TIMEOUT, || async {
            let log = self.serve.log();
            let found = log.matches("found an embedder for queries").count();
            (found >= count).then_some(()).ok_or(log)
        })
        .await;
    }

    async fn stop(mut self) {
        for process in [&mut self.serve, &mut self.second, &mut self.watch] {
            process.terminate_cleanly().await;
        }
        if self.first.is_running() {
            self.first.terminate_cleanly().await;
        }
    }
}

/// Sends `count` searches from [`CLIENTS`] clients, all of which must be answered, and counts the
/// answers in `answered`. Returns how long each took, sorted.
async fn run_searches(world: &SystemWorld, count: usize, answered: &Cell<usize>) -> Vec<Duration> {
    let pictures: Vec<Vec<u8>> = sample_pictures()
        .iter()
        .take(CLIENTS)
        .map(|path| fs::read(path).unwrap())
        .collect();
    let clients = pictures.iter().map(|picture| async {
        let mut times = Vec::new();
        for _ in 0..count / CLIENTS {
            let started = Instant::now();
            let hits = world.search_by_picture(picture, 3).await;
            times.push(started.elapsed());
            assert_eq!(hits.len(), 3);
            answered.set(answered.get() + 1);
        }
        times
    });
    let mut times: Vec<Duration> = join_all(clients).await.into_iter().flatten().collect();
    times.sort();
    times
}

fn percentile_90(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 9 / 10]
}

/// Searches, calls `fault` after [`BEFORE_FAULT`] answers, and checks that the searches are hardly
/// slower than those at rest.
async fn assert_searches_survive(world: &SystemWorld, fault: impl FnOnce()) {
    run_searches(world, 80, &Cell::new(0)).await; // Connections are opened, caches are filled.
    let at_rest = percentile_90(&run_searches(world, 160, &Cell::new(0)).await);
    let answered = Cell::new(0);
    let provoke = async {
        eventually("searches are in progress", SETTLE_TIMEOUT, || async {
            let count = answered.get();
            (count >= BEFORE_FAULT)
                .then_some(())
                .ok_or_else(|| count.to_string())
        })
        .await;
        fault();
    };
    let (times, ()) = tokio::join!(run_searches(world, 320, &answered), provoke);
    // Other programs may have become busy since. An embedder that is not avoided takes longer.
    let limit = at_rest * 4 + Duration::from_secs(2);
    let reached = percentile_90(&times);
    eprintln!("90th percentile at rest {at_rest:?}, with the fault {reached:?}");
    assert!(
        reached <= limit,
        "{reached:?} is more than {limit:?}: {times:?}"
    );
}

async fn wait_for_unresponsive(world: &SystemWorld, count: usize) {
    world
        .wait_for_stats("unresponsive embedders are reported", |stats| {
            stats["unresponsive_embedders"].as_array().map(Vec::len) == Some(count)
        })
        .await;
}

/// Waits until the CPU of both embedders is listed, and all pictures were embedded by them.
async fn wait_for_devices(world: &SystemWorld) {
    let are_listed = |stats: &Value| {
        let devices = stats["devices"].as_array().unwrap();
        let is_ready = |device: &Value| device["device"] == "cpu" && device["state"] == "ready";
        let embedded = devices.iter().map(|device| device["embedded"].as_u64());
        devices.len() == 2
            && devices[0]["embedder"] != devices[1]["embedder"]
            && devices.iter().all(is_ready)
            && embedded.sum::<Option<u64>>().unwrap() >= PICTURES as u64
    };
    world
        .wait_for_stats("two devices have embedded the pictures", are_listed)
        .await;
}

/// Returns what `lookalike status` prints.
async fn print_status(world: &SystemWorld) -> String {
    let mut command = product_command();
    command.args(["status", "--url", &world.url]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    String::from_utf8(output.await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_frozen_embedder_fails_no_search_and_is_used_again() {
    let mut world = SystemWorld::new("frozen-embedder");
    let processes = TwoEmbedders::start(&mut world, None).await;
    wait_for_devices(&world).await;
    assert_searches_survive(&world, || processes.first.freeze_process()).await;
    wait_for_unresponsive(&world, 1).await;
    let status = print_status(&world).await;
    assert!(status.contains("an embedder is unresponsive"), "{status}");
    assert_eq!(
        status.matches("device  cpu       ready").count(),
        2,
        "{status}"
    );
    assert_eq!(world.read_metric("lookalike_ejected_embedders").await, 1.0);
    // The searches in progress may all be late before the embedder counts as silent.
    let mut retries = 0.0;
    for reason in ["slow", "silent"] {
        let metric = format!("lookalike_query_retries_total{{reason=\"{reason}\"}}");
        retries += world.read_metric(&metric).await;
    }
    assert!(retries >= 1.0);

    // A search service that starts now has to find out by itself.
    let url = std::mem::take(&mut world.url);
    let mut late = world.start_command(world.role_command("serve"), "late");
    world.url = late.read_address("address=").await;
    world.wait_until_ready().await;
    run_searches(&world, 80, &Cell::new(0)).await;
    late.terminate_cleanly().await;
    world.url = url;

    // It resumes, and answers searches when the other one is frozen in its turn.
    processes.first.resume_process();
    eventually("it is used again", SETTLE_TIMEOUT, || async {
        // A copy of a search tests it.
        run_searches(&world, CLIENTS, &Cell::new(0)).await;
        let ejected = world.read_metric("lookalike_ejected_embedders").await;
        (ejected == 0.0)
            .then_some(())
            .ok_or_else(|| ejected.to_string())
    })
    .await;
    wait_for_unresponsive(&world, 0).await;
    assert_searches_survive(&world, || processes.second.freeze_process()).await;
    wait_for_unresponsive(&world, 1).await;
    processes.second.resume_process();
    world.assert_index_equals_folder().await;
    processes.stop().await;
}

#[tokio::test]
async fn a_killed_embedder_fails_no_search() {
    let mut world = SystemWorld::new("killed-embedder");
    let mut processes = TwoEmbedders::start(&mut world, None).await;
    assert_searches_survive(&world, || processes.first.kill_process()).await;
    // It has ended, so it is not reported.
    wait_for_unresponsive(&world, 0).await;
    processes.first = world.start_command(world.role_command("embed"), "third");
    processes.wait_until_found(3).await;
    assert_searches_survive(&world, || processes.second.freeze_process()).await;
    processes.second.resume_process();
    world.assert_index_equals_folder().await;
    processes.stop().await;
}

#[tokio::test]
async fn a_slow_embedder_delays_few_searches() {
    let mut world = SystemWorld::new("slow-embedder");
    let wire = world.proxy_nats();
    let slow_url = world.nats_url.take();
    let processes = TwoEmbedders::start(&mut world, slow_url).await;
    // Each answer takes three seconds.
    let slow = Wire::Slow(Duration::from_millis(1500));
    assert_searches_survive(&world, || wire.set_wire(slow)).await;
    wire.set_wire(Wire::Intact);
    world.add_pictures("after", 3);
    world.assert_index_equals_folder().await;
    processes.stop().await;
}

#[tokio::test]
async fn a_slow_milvus_delays_searches_and_fails_none() {
    let mut world = SystemWorld::new("slow-milvus");
    world.set_variable("LOOKALIKE_MILVUS_SEARCH_TIMEOUT", "25s");
    let milvus = world.proxy_milvus();
    world.add_pictures("", 12);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    run_searches(&world, 80, &Cell::new(0)).await;
    milvus.set_wire(Wire::Slow(Duration::from_secs(1)));
    // A request takes two seconds. Searches that arrive meanwhile share the next ones.
    let started = Instant::now();
    let times = run_searches(&world, 32, &Cell::new(0)).await;
    eprintln!("searches in a slow Milvus took {times:?}");
    assert!(times[31] < Duration::from_secs(25), "{times:?}");
    assert!(started.elapsed() < Duration::from_secs(90), "{times:?}");
    assert!(times[0] > Duration::from_secs(1), "the wire is not slow");
    assert_eq!(world.get_response("/healthz").await.status(), 200);
    // No request waits any more when it is quick again.
    milvus.set_wire(Wire::Intact);
    eventually("searches are quick again", SETTLE_TIMEOUT, || async {
        let times = run_searches(&world, 80, &Cell::new(0)).await;
        (percentile_90(&times) < Duration::from_secs(1))
            .then_some(())
            .ok_or_else(|| format!("{times:?}"))
    })
    .await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn searches_beyond_the_limit_are_refused_while_milvus_hangs() {
    let mut world = SystemWorld::new("hanging-milvus");
    world.set_variable("LOOKALIKE_HTTP_MAX_CONCURRENT_SEARCHES", "4");
    world.set_variable("LOOKALIKE_MILVUS_SEARCH_TIMEOUT", "10s");
    let milvus = world.proxy_milvus();
    world.add_pictures("", 3);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let picture = fs::read(&sample_pictures()[0]).unwrap();
    milvus.set_wire(Wire::Frozen);
    let started = Instant::now();
    let searches = (0..CLIENTS).map(|_| async {
        let answer = world
            .post_response("/v1/search/image?limit=1", picture.clone())
            .await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let problem: serde_json::Value = answer.json().await.unwrap();
        problem["code"].as_str().unwrap().to_owned()
    });
    let mut codes = join_all(searches).await;
    codes.sort();
    let expected = [["index_unavailable"; 4], ["overloaded"; 4]].concat();
    assert_eq!(codes, expected);
    assert!(started.elapsed() < Duration::from_secs(25));
    milvus.set_wire(Wire::Intact);
    world.wait_until_ready().await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_frozen_watcher_does_not_hide_the_one_that_took_over() {
    let mut world = SystemWorld::new("frozen-watcher");
    world.set_variable("LOOKALIKE_NATS_LEASE_TIMEOUT", "3s");
    world.set_variable("LOOKALIKE_NATS_CALL_TIMEOUT", "2s");
    world.add_pictures("", 5);
    let roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    let first = std::mem::replace(&mut world.data, world.dir.path().join("second"));
    let mut standby = world.start_command(world.role_command("watch"), "second");
    standby.wait_for_log("entering standby").await;
    world.data = first;
    roles.watch.freeze_process();
    // Before the lease expires, requests end with a clear error.
    let begun = Instant::now();
    let refused = world
        .get_response("/v1/why?library=photos&path=0.jpg")
        .await;
    if refused.status() == 503 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        let problem: serde_json::Value = refused.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("did not reply in time"), "{detail}");
    }
    eventually("the standby replies", SETTLE_TIMEOUT, || {
        world.try_get("/v1/why?library=photos&path=0.jpg")
    })
    .await;
    let mut times = Vec::new();
    for _ in 0..10 {
        let begun = Instant::now();
        world.get_json("/v1/why?library=photos&path=0.jpg").await;
        times.push(begun.elapsed());
    }
    times.sort();
    // A request that waits for the frozen watcher takes two seconds.
    assert!(times[5] < Duration::from_secs(1), "{times:?}");
    // It resumes, and does not reply in place of the holder.
    roles.watch.resume_process();
    for _ in 0..10 {
        world.get_json("/v1/why?library=photos&path=0.jpg").await;
    }
    world.assert_index_equals_folder().await;
    standby.terminate_cleanly().await;
    roles.stop_roles().await;
}
