//! Queries for vectors while an embedder is frozen, slow, or has ended.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lookalike_bus::{Bus, EmbeddedVector, Error, Settings, request_subject};
use lookalike_test_support::eventually;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{TEST_TIMEOUT, connect_bus, test_settings};

/// What an embedder of these tests does with its queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Quick,
    Slow(Duration),
    /// Reads nothing, as a process that is frozen.
    Frozen,
}

/// An embedder with a connection of its own.
struct FakeEmbedder {
    bus: Bus,
    behaviour: watch::Sender<Behaviour>,
    task: JoinHandle<()>,
}

impl FakeEmbedder {
    /// Starts an embedder whose vectors contain its number.
    async fn start(namespace: &str, subject: &str, number: u8) -> Self {
        let bus = Bus::open(&test_settings(namespace), "embedder")
            .await
            .unwrap();
        let instance = format!("embedder-{number}");
        let mut queries = bus.subscribe_queries(subject, &instance).await.unwrap();
        bus.check_jetstream().await.unwrap(); // The server knows the subscriptions now.
        let (behaviour, mut current) = watch::channel(Behaviour::Quick);
        let task = tokio::spawn(async move {
            loop {
                let is_frozen = |now: &Behaviour| *now == Behaviour::Frozen;
                if current.wait_for(|now| !is_frozen(now)).await.is_err() {
                    return;
                }
                tokio::select! {
                    _ = current.changed() => {}
                    query = queries.next() => {
                        let Some(query) = query else { return };
                        let behaviour = *current.borrow();
                        tokio::spawn(async move {
                            if let Behaviour::Slow(time) = behaviour {
                                tokio::time::sleep(time).await;
                            }
                            query.send_reply(Ok(vector_of(number))).await;
                        });
                    }
                }
            }
        });
        Self {
            bus,
            behaviour,
            task,
        }
    }

    fn set(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Ends as a killed process: the server notices that the connection is gone.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.bus.close().await;
    }
}

fn vector_of(number: u8) -> EmbeddedVector {
    EmbeddedVector {
        vector: vec![f32::from(number), 0.0],
        model: "mini".into(),
        checksum: "0123456789abcdef".into(),
    }
}

/// Returns which embedder answered.
async fn query(bus: &Bus, subject: &str) -> Result<u8, Error> {
    let embedded = bus.embed_pixels(subject, vec![1, 2, 3]).await?;
    Ok(embedded.vector[0] as u8)
}

/// Sends queries from four clients at once; returns how long each took, sorted.
async fn send_queries(bus: &Bus, subject: &str, count: usize) -> Vec<Duration> {
    let clients = (0..4).map(|_| async {
        let mut times = Vec::new();
        for _ in 0..count / 4 {
            let started = Instant::now();
            query(bus, subject).await.unwrap();
            times.push(started.elapsed());
        }
        times
    });
    let times = futures_util::future::join_all(clients).await;
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort();
    times
}

async fn wait_for_unresponsive(bus: &Bus, subject: &str, expected: &[&str]) {
    eventually("the unresponsive embedders", TEST_TIMEOUT, || async {
        let unresponsive = bus.unresponsive_embedders(subject);
        (unresponsive == expected)
            .then_some(())
            .ok_or_else(|| format!("{unresponsive:?}"))
    })
    .await;
}

/// Waits until both embedders are known and answer queries.
async fn wait_for_both(bus: &Bus, subject: &str) {
    for number in [1, 2] {
        let what = format!("embedder {number} answers");
        eventually(&what, TEST_TIMEOUT, || async {
            let (first, second) = tokio::join!(query(bus, subject), query(bus, subject));
            let answers = [first.unwrap(), second.unwrap()];
            answers
                .contains(&number)
                .then_some(())
                .ok_or_else(|| format!("{answers:?}"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_frozen_embedder_fails_no_query_and_returns() {
    let namespace = "hedge_frozen";
    let bus = connect_bus(namespace).await;
    let subject = request_subject("mini", "0123456789abcdef");
    let first = FakeEmbedder::start(namespace, &subject, 1).await;
    let _second = FakeEmbedder::start(namespace, &subject, 2).await;
    wait_for_both(&bus, &subject).await;
    send_queries(&bus, &subject, 40).await;
    first.set(Behaviour::Frozen);
    let times = send_queries(&bus, &subject, 200).await;
    assert!(times[180] < Duration::from_millis(150), "{times:?}");
    assert!(times[199] < Duration::from_secs(5), "{times:?}");
    wait_for_unresponsive(&bus, &subject, &["embedder-1"]).await;
    for _ in 0..20 {
        assert_eq!(query(&bus, &subject).await.unwrap(), 2);
    }
    first.set(Behaviour::Quick);
    eventually("it gets queries again", TEST_TIMEOUT, || async {
        let answered = query(&bus, &subject).await.unwrap();
        let unresponsive = bus.unresponsive_embedders(&subject);
        (answered == 1 && unresponsive.is_empty())
            .then_some(())
            .ok_or_else(|| format!("{answered}, {unresponsive:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_slow_embedder_delays_few_queries() {
    let namespace = "hedge_slow";
    let bus = connect_bus(namespace).await;
    let subject = request_subject("mini", "0123456789abcdef");
    let first = FakeEmbedder::start(namespace, &subject, 1).await;
    let _second = FakeEmbedder::start(namespace, &subject, 2).await;
    wait_for_both(&bus, &subject).await;
    send_queries(&bus, &subject, 40).await;
    first.set(Behaviour::Slow(Duration::from_millis(600)));
    let times = send_queries(&bus, &subject, 200).await;
    assert!(times[180] < Duration::from_millis(150), "{times:?}");
    first.set(Behaviour::Quick);
    wait_for_both(&bus, &subject).await;
}

#[tokio::test]
async fn a_killed_embedder_fails_no_query_and_is_forgotten() {
    let namespace = "hedge_killed";
    let bus = connect_bus(namespace).await;
    let subject = request_subject("mini", "0123456789abcdef");
    let first = FakeEmbedder::start(namespace, &subject, 1).await;
    let _second = FakeEmbedder::start(namespace, &subject, 2).await;
    wait_for_both(&bus, &subject).await;
    // It holds queries when it is killed.
    first.set(Behaviour::Slow(Duration::from_secs(20)));
    let queries = async {
        let held = send_queries(&bus, &subject, 8).await;
        assert!(held[7] < Duration::from_secs(5), "{held:?}");
    };
    let kill = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        first.kill().await;
    };
    tokio::join!(queries, kill);
    for _ in 0..20 {
        assert_eq!(query(&bus, &subject).await.unwrap(), 2);
    }
    wait_for_unresponsive(&bus, &subject, &[]).await;
}

#[tokio::test]
async fn a_stuck_local_embedder_is_replaced_by_another_process() {
    let namespace = "hedge_local";
    let bus = connect_bus(namespace).await;
    let subject = request_subject("mini", "0123456789abcdef");
    // Nothing polls these queries.
    let _stuck = bus.subscribe_queries(&subject, "local").await.unwrap();
    let _other = FakeEmbedder::start(namespace, &subject, 2).await;
    bus.follow_embedders(&subject);
    let started = Instant::now();
    assert_eq!(query(&bus, &subject).await.unwrap(), 2);
    assert!(started.elapsed() < Duration::from_secs(5));
    wait_for_unresponsive(&bus, &subject, &["local"]).await;
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(query(&bus, &subject).await.unwrap(), 2);
        best = best.min(started.elapsed());
    }
    assert!(best < Duration::from_millis(100), "{best:?}");
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let settings = Settings {
        embed_hedge_percent: 200,
        ..test_settings("hedge_settings")
    };
    let refused = Bus::open(&settings, "test").await.map(|_| ());
    let error = refused.unwrap_err().to_string();
    assert_eq!(error, "nats.embed_hedge_percent = 200 must be 0 to 100");
}
