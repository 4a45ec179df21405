//! Tests of the engine with a stand-in network: order of batches, bisection, and replies.

use super::{worker::check_unit_vector, *};
use std::sync::{Condvar, Mutex};

const SIDE_BYTES: usize = 16 * 16 * 3;

/// Records the batches of the stand-in network and lets it continue.
#[derive(Default)]
struct StandInGate {
    state: Mutex<(bool, Vec<Vec<u8>>)>,
    changed: Condvar,
}

impl StandInGate {
    fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }

    fn close(&self) {
        self.state.lock().unwrap().0 = false;
    }

    fn batches(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().1.clone()
    }
}

/// Starts an engine with a stand-in network, which records the first byte of every image, waits for
/// the gate, and returns the unit vector of axis `byte % 4`. Byte 13 panics, 66 returns NaN, after 99
/// every batch panics, and after 77 all vectors are zero except the first of a batch of several.
fn start_engine(batch_images: usize, gate: &Arc<StandInGate>) -> Engine {
    let (gate, gate_of_texts) = (Arc::clone(gate), Arc::clone(gate));
    let is_dead = std::sync::atomic::AtomicBool::new(false);
    let is_dull = std::sync::atomic::AtomicBool::new(false);
    let run = move |pixels: &[u8], _batch: usize| {
        let firsts: Vec<u8> = pixels.chunks_exact(SIDE_BYTES).map(|p| p[0]).collect();
        let mut state = gate.state.lock().unwrap();
        state.1.push(firsts.clone());
        gate.changed.notify_all();
        while !state.0 {
            state = gate.changed.wait(state).unwrap();
        }
        drop(state);
        assert!(!firsts.contains(&13), "unlucky");
        is_dead.fetch_or(firsts.contains(&99), std::sync::atomic::Ordering::Relaxed);
        assert!(!is_dead.load(std::sync::atomic::Ordering::Relaxed), "dead");
        let mut vectors = vec![0.0; firsts.len() * 4];
        is_dull.fetch_or(firsts.contains(&77), std::sync::atomic::Ordering::Relaxed);
        let right = if !is_dull.load(std::sync::atomic::Ordering::Relaxed) {
            firsts.len()
        } else {
            usize::from(firsts.len() > 1)
        };
        for (i, first) in firsts.iter().enumerate().take(right) {
            vectors[i * 4 + usize::from(first % 4)] = if *first == 66 { f32::NAN } else { 1.0 };
        }
        vectors
    };
    // The text network does the same with the first byte of every text.
    let text_gate = Arc::clone(&gate_of_texts);
    let run_texts = move |texts: &[String]| {
        let firsts: Vec<u8> = texts.iter().map(|text| text.as_bytes()[0]).collect();
        text_gate.state.lock().unwrap().1.push(firsts.clone());
        if firsts.contains(&b'!') {
            let problem = "unreadable".to_owned();
            return Err(Error::Text { problem });
        }
        let mut vectors = vec![0.0; firsts.len() * 4];
        for (i, first) in firsts.iter().enumerate() {
            vectors[i * 4 + usize::from(first % 4)] = 1.0;
        }
        Ok(vectors)
    };
    let (queries, query_receiver) = mpsc::channel(64);
    let (texts, text_receiver) = mpsc::channel(64);
    let (images, image_receiver) = mpsc::channel(64);
    let worker = DeviceWorker {
        forward_images: Box::new(run),
        forward_texts: Box::new(run_texts),
        dimension: 4,
        batch_images,
        trial_input: make_inputs(&[128]).remove(0),
        queries: JobQueue::new(query_receiver),
        texts: JobQueue::new(text_receiver),
        images: JobQueue::new(image_receiver),
    };
    let mut description = Description::find_bundled("lookalike-mini").unwrap();
    description.dimension = 4;
    description.input = [3, 16, 16];
    description.preprocessing.crop = [16, 16];
    Engine {
        description,
        batch_images,
        device_description: "stand-in".to_owned(),
        device_label: "cpu",
        golden: Vec::new(),
        queues: Some(JobQueues {
            queries,
            texts,
            images,
        }),
        thread: Some(std::thread::spawn(move || worker.run_until_closed())),
    }
}

fn make_inputs(firsts: &[u8]) -> Vec<Input> {
    firsts
        .iter()
        .map(|first| vec![*first; SIDE_BYTES].into_boxed_slice())
        .collect()
}

/// Returns the axis of each vector, which identifies its image.
fn vector_axes(vectors: &[Vec<f32>]) -> Vec<u8> {
    vectors
        .iter()
        .map(|vector| vector.iter().position(|value| *value == 1.0).unwrap() as u8)
        .collect()
}

#[tokio::test]
async fn queries_take_precedence_and_batches_fill() {
    let gate = Arc::new(StandInGate::default());
    let engine = start_engine(4, &gate);
    // The device is busy with the first image while everything else arrives.
    let busy = engine.embed_images(make_inputs(&[0]));
    let bulk = async {
        while gate.batches().is_empty() {
            tokio::task::yield_now().await;
        }
        let (bulk, query, other) = tokio::join!(
            engine.embed_images(make_inputs(&[1, 2, 3, 4, 5, 6])),
            engine.embed_query(make_inputs(&[7])),
            async {
                let both = engine.embed_query(make_inputs(&[8, 9]));
                tokio::pin!(both);
                // One poll puts the query into its queue; then the device may continue.
                tokio::select! {
                    biased;
                    _ = &mut both => unreachable!("the gate is closed"),
                    () = tokio::task::yield_now() => gate.open(),
                }
                both.await
            },
        );
        assert_eq!(vector_axes(&bulk.unwrap()), [1, 2, 3, 0, 1, 2]);
        assert_eq!(vector_axes(&query.unwrap()), [3]);
        assert_eq!(vector_axes(&other.unwrap()), [0, 1]);
    };
    let (first, ()) = tokio::join!(busy, bulk);
    assert_eq!(vector_axes(&first.unwrap()), [0]);
    assert_eq!(
        gate.batches(),
        [vec![0], vec![7, 8, 9], vec![1, 2, 3, 4], vec![5, 6]]
    );
}

/// Starts an engine whose model also embeds texts.
fn start_engine_with_text(batch_images: usize, gate: &Arc<StandInGate>) -> Engine {
    let mut engine = start_engine(batch_images, gate);
    engine.description.text = Description::find_bundled("clip-b32").unwrap().text;
    engine
}

#[tokio::test]
async fn texts_take_precedence_like_queries() {
    let gate = Arc::new(StandInGate::default());
    let engine = start_engine_with_text(4, &gate);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let busy = engine.embed_images(make_inputs(&[0]));
    let others = async {
        while gate.batches().is_empty() {
            tokio::task::yield_now().await;
        }
        let jobs = async {
            tokio::join!(
                engine.embed_images(make_inputs(&[1, 2])),
                engine.embed_text(texts(&["a", "b", "c", "d", "e", "f"])),
                engine.embed_text(texts(&["g", "!"])),
                engine.embed_query(make_inputs(&[3])),
            )
        };
        tokio::pin!(jobs);
        // One poll puts all of them into the queues; then the device may continue.
        tokio::select! {
            biased;
            _ = &mut jobs => unreachable!("the gate is closed"),
            () = tokio::task::yield_now() => gate.open(),
        }
        jobs.await
    };
    let (_, (images, letters, bad, query)) = tokio::join!(busy, others);
    assert_eq!(vector_axes(&images.unwrap()), [1, 2]);
    assert_eq!(vector_axes(&letters.unwrap()), [1, 2, 3, 0, 1, 2]);
    assert!(matches!(bad, Err(Error::Text { .. })), "{bad:?}");
    assert_eq!(vector_axes(&query.unwrap()), [3]);
    let batches = gate.batches();
    let place = |batch: &[u8]| batches.iter().position(|recorded| recorded == batch);
    assert_eq!(place(&[3]), Some(1), "{batches:?}");
    assert_eq!(place(b"abcd"), Some(2), "{batches:?}");
    assert!(place(b"efg!") < place(&[1, 2]), "{batches:?}");
    assert!(place(b"g").is_some(), "the failed batch was split");
}

#[tokio::test]
async fn a_model_without_a_text_encoder_rejects_texts() {
    let gate = Arc::new(StandInGate::default());
    gate.open();
    let engine = start_engine(4, &gate);
    let error = engine.embed_text(vec!["a".to_owned()]).await.unwrap_err();
    assert!(matches!(error, Error::NoText { .. }));
    assert!(error.to_string().contains("cannot embed text"), "{error}");
}

#[tokio::test]
async fn failures_stay_with_their_batch() {
    let gate = Arc::new(StandInGate::default());
    gate.open();
    let engine = start_engine(4, &gate);
    let error = engine
        .embed_images(make_inputs(&[13]))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("unlucky"), "{error}");
    assert!(matches!(
        engine.embed_query(make_inputs(&[66])).await,
        Err(Error::BadVector { .. })
    ));
    assert!(matches!(
        engine
            .embed_images(vec![vec![0; 5].into_boxed_slice()])
            .await,
        Err(Error::WrongInput { bytes: 5, .. })
    ));
    assert_eq!(
        vector_axes(&engine.embed_images(make_inputs(&[2])).await.unwrap()),
        [2]
    );
    assert!(engine.embed_images(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failing_batch_is_split_and_no_vectors_are_mixed_up() {
    let gate = Arc::new(StandInGate::default());
    let engine = start_engine(8, &gate);
    let busy = engine.embed_images(make_inputs(&[0]));
    let others = async {
        while gate.batches().is_empty() {
            tokio::task::yield_now().await;
        }
        let jobs = async {
            tokio::join!(
                engine.embed_images(make_inputs(&[1])),
                // Fails inside its request: the results after it must not move up.
                engine.embed_images(make_inputs(&[2, 13, 3])),
                engine.embed_images(make_inputs(&[5])),
                engine.embed_images(make_inputs(&[66])),
                engine.embed_images(make_inputs(&[6, 7])),
            )
        };
        tokio::pin!(jobs);
        // One poll puts all of them into the queue; then the device may continue.
        tokio::select! {
            biased;
            _ = &mut jobs => unreachable!("the gate is closed"),
            () = tokio::task::yield_now() => gate.open(),
        }
        jobs.await
    };
    let (first, (single, bad, five, not_finite, last)) = tokio::join!(busy, others);
    assert_eq!(vector_axes(&first.unwrap()), [0]);
    assert_eq!(vector_axes(&single.unwrap()), [1]);
    assert!(matches!(
        bad,
        Err(Error::Network {
            batch_images: 1,
            ..
        })
    ));
    assert_eq!(vector_axes(&five.unwrap()), [1]);
    assert!(matches!(not_finite, Err(Error::BadVector { .. })));
    assert_eq!(vector_axes(&last.unwrap()), [2, 3]);
    assert_eq!(
        gate.batches()[1],
        [1, 2, 13, 3, 5, 66, 6, 7],
        "they were one batch"
    );
}

#[tokio::test]
async fn a_broken_device_is_distinguished_from_a_bad_image() {
    let gate = Arc::new(StandInGate::default());
    gate.open();
    let engine = start_engine(4, &gate);
    let bad = engine.embed_images(make_inputs(&[13])).await;
    assert!(matches!(bad, Err(Error::Network { .. })), "{bad:?}");
    let last = engine.embed_images(make_inputs(&[1, 99])).await;
    assert!(matches!(last, Err(Error::Broken { .. })), "{last:?}");
    let after = engine.embed_query(make_inputs(&[1])).await;
    assert!(matches!(after, Err(Error::Broken { .. })), "{after:?}");
}

#[tokio::test]
async fn a_device_that_returns_wrong_vectors_is_broken_and_none_of_them_is_trusted() {
    let gate = Arc::new(StandInGate::default());
    gate.open();
    let engine = start_engine(4, &gate);
    let bad = engine.embed_images(make_inputs(&[66])).await;
    assert!(matches!(bad, Err(Error::BadVector { .. })), "{bad:?}");
    assert_eq!(
        vector_axes(&engine.embed_images(make_inputs(&[1])).await.unwrap()),
        [1]
    );
    gate.close();
    let busy = engine.embed_images(make_inputs(&[0]));
    let others = async {
        while gate.batches().last().is_none_or(|last| *last != [0]) {
            tokio::task::yield_now().await;
        }
        let jobs = async {
            tokio::join!(
                engine.embed_images(make_inputs(&[1])),
                engine.embed_images(make_inputs(&[77, 2]))
            )
        };
        tokio::pin!(jobs);
        // One poll puts both into the queue; then the device may continue.
        tokio::select! {
            biased;
            _ = &mut jobs => unreachable!("the gate is closed"),
            () = tokio::task::yield_now() => gate.open(),
        }
        jobs.await
    };
    let (_, (first, second)) = tokio::join!(busy, others);
    assert!(
        gate.batches().contains(&vec![1, 77, 2]),
        "they were one batch"
    );
    // The vector of the first image looks valid.
    assert!(matches!(first, Err(Error::Broken { .. })), "{first:?}");
    assert!(matches!(second, Err(Error::Broken { .. })), "{second:?}");
    let after = engine.embed_query(make_inputs(&[1])).await;
    assert!(matches!(after, Err(Error::Broken { .. })), "{after:?}");
}

#[tokio::test]
async fn requests_without_a_sender_are_skipped_and_dropping_ends_the_thread() {
    let gate = Arc::new(StandInGate::default());
    let engine = start_engine(1, &gate);
    {
        let abandoned = async {
            let _ = tokio::join!(
                engine.embed_images(make_inputs(&[0])),
                engine.embed_images(make_inputs(&[1]))
            );
        };
        tokio::pin!(abandoned);
        while gate.batches().is_empty() {
            tokio::select! {
                biased;
                () = &mut abandoned => unreachable!("the gate is closed"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    gate.open();
    drop(engine);
    assert_eq!(gate.batches(), [vec![0]], "the second was never run");
}

#[test]
fn only_unit_vectors_pass() {
    assert!(check_unit_vector(&[0.6, 0.8]).is_ok());
    for bad in [
        [0.6, 0.9],
        [0.0, 0.0],
        [f32::NAN, 1.0],
        [f32::INFINITY, 0.0],
    ] {
        assert!(check_unit_vector(&bad).is_err(), "{bad:?}");
    }
}
