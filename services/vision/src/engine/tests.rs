//! Tests of an engine with one stand-in device: order of batches, bisection, and replies.

mod pool;
mod stand_in;

use stand_in::{StandIn, TestPool, make_inputs, vector_axes};

use super::*;

/// Starts an engine with one device.
fn start_engine(batch_images: usize, device: &Arc<StandIn>) -> Engine {
    let pool = TestPool {
        batch_images,
        retry_delay: Duration::from_millis(1),
        ..TestPool::default()
    };
    pool.start(&[(DeviceName::CPU, device)]).unwrap()
}

#[tokio::test]
async fn queries_take_precedence_and_batches_fill() {
    let gate = Arc::new(StandIn::default());
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
fn start_engine_with_text(batch_images: usize, gate: &Arc<StandIn>) -> Engine {
    let mut engine = start_engine(batch_images, gate);
    engine.description.text = Description::find_bundled("clip-b32").unwrap().text;
    engine
}

#[tokio::test]
async fn texts_take_precedence_like_queries() {
    let gate = Arc::new(StandIn::default());
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
    let gate = Arc::new(StandIn::default());
    gate.open();
    let engine = start_engine(4, &gate);
    let error = engine.embed_text(vec!["a".to_owned()]).await.unwrap_err();
    assert!(matches!(error, Error::NoText { .. }));
    assert!(error.to_string().contains("cannot embed text"), "{error}");
}

#[tokio::test]
async fn failures_stay_with_their_batch() {
    let gate = Arc::new(StandIn::default());
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
    let gate = Arc::new(StandIn::default());
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
    let gate = Arc::new(StandIn::default());
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
    let gate = Arc::new(StandIn::default());
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
    let gate = Arc::new(StandIn::default());
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
fn kernels_of_another_cpu_are_refused_before_the_start() {
    let kernels = match cfg!(target_arch = "aarch64") {
        true => CpuKernels::Avx2,
        false => CpuKernels::Neon,
    };
    let settings = Settings {
        kernels,
        ..Settings::default()
    };
    let error = Engine::check_devices(&settings).unwrap_err();
    assert!(matches!(error, Error::Kernels { .. }), "{error}");
    let expected = "set vision.kernels to auto, ";
    assert!(error.to_string().contains(expected), "{error}");
}
