//! Tests of a pool of stand-in devices: sharing, failures, and recovery.

use std::time::Duration;

use super::super::*;
use super::stand_in::{StandIn, TestPool, gpu_name, make_inputs, vector_axes};
use crate::network::Precision;

/// Waits until a device has this state.
async fn wait_for_state(engine: &Engine, device: usize, state: DeviceState) {
    while engine.device_statuses()[device].state != state {
        tokio::task::yield_now().await;
    }
}

async fn wait_for_batch(device: &StandIn, firsts: &[u8]) {
    while !device.batches().iter().any(|batch| batch == firsts) {
        tokio::task::yield_now().await;
    }
}

fn short_retries() -> TestPool {
    TestPool {
        retry_delay: Duration::from_millis(1),
        ..TestPool::default()
    }
}

#[tokio::test]
async fn devices_share_one_queue() {
    let devices = [Arc::new(StandIn::default()), Arc::new(StandIn::default())];
    let pool = TestPool::default();
    let engine = pool
        .start(&[(gpu_name(0), &devices[0]), (gpu_name(1), &devices[1])])
        .unwrap();
    let images = async {
        tokio::join!(
            engine.embed_images(make_inputs(&[1, 1, 1, 1, 1, 1, 1, 1])),
            engine.embed_images(make_inputs(&[2, 2, 2, 2, 2, 2, 2, 2])),
        )
    };
    let open = async {
        // While one device is busy, the other one takes the rest.
        while devices.iter().any(|device| device.batches().is_empty()) {
            tokio::task::yield_now().await;
        }
        devices.iter().for_each(|device| device.open());
    };
    let ((ones, twos), ()) = tokio::join!(images, open);
    assert_eq!(vector_axes(&ones.unwrap()), [1; 8]);
    assert_eq!(vector_axes(&twos.unwrap()), [2; 8]);
    let line = engine.describe_device();
    assert!(
        line.ends_with(
            "(4 numbers) on vulkan:0, vulkan:1: stand-in, f16 + stand-in, f16; for tests"
        ),
        "{line}"
    );
}

#[tokio::test]
async fn the_batch_of_a_lost_device_runs_on_another_one() {
    let lost = Arc::new(StandIn::default());
    let other = Arc::new(StandIn::default());
    let engine = short_retries()
        .start(&[(gpu_name(0), &lost), (gpu_name(1), &other)])
        .unwrap();
    let work = async {
        tokio::join!(
            engine.embed_images(make_inputs(&[1, 2, 3, 4, 5, 6, 7, 8])),
            engine.embed_images(make_inputs(&[9, 10, 11, 12, 14, 15, 16, 17])),
        )
    };
    let lose = async {
        while lost.batches().is_empty() || other.batches().is_empty() {
            tokio::task::yield_now().await;
        }
        lost.set_dead(true);
        lost.open();
        wait_for_state(&engine, 0, DeviceState::Failed).await;
        let status = engine.device_statuses().remove(0);
        assert_eq!(status.device, "vulkan:0");
        assert!(status.problem.unwrap().contains("dead"));
        let line = engine.describe_device();
        assert!(line.contains("on vulkan:1: "), "{line}");
        assert!(line.contains("vulkan:0 failed and is retried: "), "{line}");
        other.open();
    };
    let ((first, second), ()) = tokio::join!(work, lose);
    assert_eq!(vector_axes(&first.unwrap()), [1, 2, 3, 0, 1, 2, 3, 0]);
    assert_eq!(vector_axes(&second.unwrap()), [1, 2, 3, 0, 2, 3, 0, 1]);
    // It comes back by itself.
    lost.set_dead(false);
    wait_for_state(&engine, 0, DeviceState::Ready).await;
    assert!(engine.device_statuses()[0].problem.is_none());
}

#[tokio::test]
async fn the_cpu_takes_over_until_the_gpu_works_again() {
    let gpu = StandIn::with_open_gate();
    let cpu = StandIn::with_open_gate();
    let pool = TestPool {
        has_last_resort: true,
        ..short_retries()
    };
    let engine = pool
        .start(&[(gpu_name(0), &gpu), (DeviceName::CPU, &cpu)])
        .unwrap();
    assert_eq!(engine.device_statuses()[1].state, DeviceState::Standby);
    assert!(
        cpu.opened().is_empty(),
        "the CPU is loaded when it is needed"
    );
    let vectors = engine.embed_query(make_inputs(&[1])).await.unwrap();
    assert_eq!(vector_axes(&vectors), [1]);
    let vectors = engine.embed_query(make_inputs(&[99, 2])).await;
    assert!(
        matches!(vectors, Err(Error::Broken { .. })),
        "the CPU dies of it, too: {vectors:?}"
    );
    cpu.set_dead(false);
    wait_for_state(&engine, 1, DeviceState::Ready).await;
    let vectors = engine.embed_query(make_inputs(&[3])).await.unwrap();
    assert_eq!(vector_axes(&vectors), [3]);
    assert!(cpu.batches().contains(&vec![3]));
    gpu.set_dead(false);
    wait_for_state(&engine, 0, DeviceState::Ready).await;
    assert_eq!(engine.device_statuses()[1].state, DeviceState::Standby);
    engine.embed_query(make_inputs(&[7])).await.unwrap();
    assert!(gpu.batches().contains(&vec![7]));
    assert!(!cpu.batches().contains(&vec![7]));
}

#[tokio::test]
async fn a_gpu_that_hangs_loses_its_batch_to_the_cpu() {
    let gpu = Arc::new(StandIn::default());
    let cpu = StandIn::with_open_gate();
    let pool = TestPool {
        has_last_resort: true,
        batch_timeout: Duration::from_millis(500),
        ..TestPool::default()
    };
    let engine = pool
        .start(&[(gpu_name(0), &gpu), (DeviceName::CPU, &cpu)])
        .unwrap();
    let vectors = engine.embed_images(make_inputs(&[1, 2])).await.unwrap();
    assert_eq!(vector_axes(&vectors), [1, 2]);
    assert_eq!(gpu.batches(), [vec![1, 2]]);
    let problem = engine.device_statuses().remove(0).problem.unwrap();
    assert!(problem.contains("no result within 500ms"), "{problem}");
    // The thread of the GPU still hangs, and does not keep the engine from ending.
    drop(engine);
    gpu.open();
}

#[tokio::test]
async fn a_hang_of_all_devices_fails_the_requests() {
    let device = Arc::new(StandIn::default());
    let pool = TestPool {
        batch_timeout: Duration::from_millis(500),
        ..TestPool::default()
    };
    let engine = pool.start(&[(gpu_name(0), &device)]).unwrap();
    // The device takes one of them; the other one waits.
    let (query, images, ()) = tokio::join!(
        engine.embed_query(make_inputs(&[1])),
        engine.embed_images(make_inputs(&[2])),
        wait_for_state(&engine, 0, DeviceState::Failed),
    );
    for failed in [query, images] {
        let error = failed.unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        assert!(error.to_string().contains("no result within"), "{error}");
    }
    let after = engine.embed_query(make_inputs(&[3])).await;
    assert!(matches!(after, Err(Error::Broken { .. })), "{after:?}");
    drop(engine);
    device.open();
}

#[tokio::test]
async fn a_device_with_wrong_vectors_gets_no_work() {
    let wrong = StandIn::with_open_gate();
    let right = StandIn::with_open_gate();
    let pool = TestPool {
        has_reference: true,
        ..short_retries()
    };
    wrong.set_wrong(&[Precision::F16, Precision::F32]);
    let engine = pool
        .start(&[(gpu_name(0), &wrong), (gpu_name(1), &right)])
        .unwrap();
    let status = engine.device_statuses().remove(0);
    assert_eq!(status.state, DeviceState::Failed);
    assert!(status.problem.unwrap().contains("the golden picture"));
    let vectors = engine.embed_images(make_inputs(&[5, 6])).await.unwrap();
    assert_eq!(vector_axes(&vectors), [1, 2]);
    assert!(!wrong.batches().contains(&vec![5, 6]));
    // With a driver that works, it joins the pool.
    wrong.set_wrong(&[]);
    wait_for_state(&engine, 0, DeviceState::Ready).await;

    wrong.set_wrong(&[Precision::F16, Precision::F32]);
    let error = pool.start(&[(gpu_name(0), &wrong)]).unwrap_err();
    assert!(matches!(error, Error::Golden { .. }), "{error}");
}

#[tokio::test]
async fn the_first_precision_with_right_vectors_is_used() {
    let device = StandIn::with_open_gate();
    let pool = TestPool {
        has_reference: true,
        ..TestPool::default()
    };
    device.set_wrong(&[Precision::F16]);
    let engine = pool.start(&[(gpu_name(0), &device)]).unwrap();
    assert_eq!(device.opened(), [Precision::F16, Precision::F32]);
    assert_eq!(engine.device_statuses()[0].description, "stand-in, f32");
}

#[tokio::test]
async fn a_batch_that_is_too_large_halves_the_limit() {
    let device = StandIn::with_open_gate();
    let engine = TestPool::default()
        .start(&[(gpu_name(0), &device)])
        .unwrap();
    device.set_max_inputs(2);
    let inputs: Vec<u8> = (20..36).collect();
    let vectors = engine.embed_images(make_inputs(&inputs)).await.unwrap();
    let expected: Vec<u8> = inputs.iter().map(|input| input % 4).collect();
    assert_eq!(vector_axes(&vectors), expected);
    assert_eq!(engine.batch_images(), 2);
    let too_large = device.batches().into_iter().filter(|batch| batch.len() > 2);
    assert_eq!(
        too_large.map(|batch| batch.len()).collect::<Vec<_>>(),
        [8, 4, 4]
    );
    // With more memory, the limit grows again.
    device.set_max_inputs(0);
    while engine.batch_images() < 8 {
        engine
            .embed_images(make_inputs(&[1, 2, 3, 4, 5, 6, 7, 8]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_device_that_failed_keeps_its_batch_limit() {
    let device = StandIn::with_open_gate();
    let engine = short_retries().start(&[(gpu_name(0), &device)]).unwrap();
    device.set_max_inputs(2);
    let inputs = make_inputs(&[1, 2, 3, 4, 5, 6, 7, 8]);
    engine.embed_images(inputs).await.unwrap();
    assert_eq!(engine.batch_images(), 2);
    // One image kills the device, and the first attempts to open it again fail.
    let failed = engine.embed_images(make_inputs(&[99])).await;
    assert!(matches!(failed, Err(Error::Broken { .. })), "{failed:?}");
    let attempts = device.opened().len();
    while device.opened().len() < attempts + 4 {
        tokio::task::yield_now().await;
    }
    device.set_dead(false);
    wait_for_state(&engine, 0, DeviceState::Ready).await;
    assert_eq!(engine.batch_images(), 2);
}

#[tokio::test]
async fn an_image_that_kills_devices_fails_alone() {
    let device = StandIn::with_open_gate();
    let engine = short_retries()
        .start(&[
            (gpu_name(0), &device),
            (gpu_name(1), &StandIn::with_open_gate()),
        ])
        .unwrap();
    let (good, bad, last) = tokio::join!(
        engine.embed_images(make_inputs(&[1])),
        engine.embed_images(make_inputs(&[55])),
        engine.embed_images(make_inputs(&[2])),
    );
    assert_eq!(vector_axes(&good.unwrap()), [1]);
    assert_eq!(vector_axes(&last.unwrap()), [2]);
    let bad = bad.unwrap_err();
    assert!(
        matches!(
            bad,
            Error::Network {
                batch_images: 1,
                ..
            }
        ),
        "{bad}"
    );
    assert!(bad.to_string().contains("3 times"), "{bad}");
    assert!(engine.embed_query(make_inputs(&[3])).await.is_ok());
}

#[tokio::test]
async fn without_any_device_requests_fail_at_once() {
    let device = Arc::new(StandIn::default());
    let engine = short_retries().start(&[(gpu_name(0), &device)]).unwrap();
    let busy = engine.embed_images(make_inputs(&[99]));
    let others = async {
        wait_for_batch(&device, &[99]).await;
        let query = engine.embed_query(make_inputs(&[1]));
        tokio::pin!(query);
        // One poll puts the query into its queue; then the device may continue.
        tokio::select! {
            biased;
            _ = &mut query => unreachable!("the gate is closed"),
            () = tokio::task::yield_now() => device.open(),
        }
        query.await
    };
    let (busy, waiting) = tokio::join!(busy, others);
    assert!(matches!(busy, Err(Error::Broken { .. })), "{busy:?}");
    assert!(matches!(waiting, Err(Error::Broken { .. })), "{waiting:?}");
    let after = engine.embed_images(make_inputs(&[1])).await;
    assert!(matches!(after, Err(Error::Broken { .. })), "{after:?}");
    assert!(engine.describe_device().contains("on no device"));
}

#[tokio::test]
async fn wrong_vectors_without_an_error_are_not_trusted() {
    let devices = [StandIn::with_open_gate(), StandIn::with_open_gate()];
    devices[0].add_canary();
    let pool = TestPool {
        has_reference: true,
        ..short_retries()
    };
    let engine = pool
        .start(&[(gpu_name(0), &devices[0]), (gpu_name(1), &devices[1])])
        .unwrap();
    devices[0].set_wrong(&[Precision::F16, Precision::F32]);
    while engine.device_statuses()[0].state != DeviceState::Failed {
        let inputs = make_inputs(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let vectors = engine.embed_images(inputs).await.unwrap();
        assert_eq!(vector_axes(&vectors), [1, 2, 3, 0, 1, 2, 3, 0]);
    }
}

#[tokio::test]
async fn vectors_of_earlier_batches_are_not_trusted() {
    // Batches of several images and of one.
    for count in [8, 7, 1] {
        let device = StandIn::with_open_gate();
        device.add_canary();
        let engine = short_retries().start(&[(gpu_name(0), &device)]).unwrap();
        for round in 0.. {
            assert!(round < 50, "the device was not found out");
            // Their vectors differ from those of the canaries, and from one round to the next.
            let firsts: Vec<u8> = (0..count).map(|i| 21 + (round + i) % 2 * 2).collect();
            let expected: Vec<u8> = firsts.iter().map(|first| first % 4).collect();
            match engine.embed_images(make_inputs(&firsts)).await {
                Ok(vectors) => assert_eq!(vector_axes(&vectors), expected),
                // Opened again, the device returns one vector for all, and is not used.
                Err(error) => {
                    assert!(matches!(error, Error::Broken { .. }), "{error}");
                    break;
                }
            }
            if round == 3 {
                device.make_stale();
            }
        }
    }
}
