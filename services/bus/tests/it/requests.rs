//! Requests between roles: vectors, index rows, and the watcher of a library.

use std::time::Duration;

use futures_util::StreamExt as _;
use lookalike_bus::{
    Bus, EmbedFailure, EmbedInput, EmbeddedVector, Error, FileFailure, FileFailurePage, NO_TEXT,
    OVERLOADED, RowSummary, RowsPage, WatcherReply, WatcherRequest, request_subject,
};
use lookalike_proto::{LibraryName, QueryText};

use crate::{connect_bus, library, test_settings};

#[tokio::test]
async fn vectors_are_requested_from_workers_with_the_model() {
    let bus = connect_bus("embed").await;
    check_vector_requests(&bus, &bus.clone()).await;
}

#[tokio::test]
async fn vectors_are_requested_from_other_processes() {
    let bus = connect_bus("embed_remote").await;
    let other = Bus::open(&test_settings("embed_remote"), "other")
        .await
        .unwrap();
    check_vector_requests(&bus, &other).await;
}

async fn check_vector_requests(bus: &Bus, embedder: &Bus) {
    let subject = request_subject("mini", "0123456789abcdef");
    assert_eq!(subject, "mini.0123456789ab");
    let refused = bus.embed_pixels(&subject, vec![1, 2, 3]).await;
    assert!(
        matches!(refused, Err(Error::NoResponders(_))),
        "{refused:?}"
    );
    let refused = bus.check_embedder(&subject).await;
    assert!(
        matches!(refused, Err(Error::NoResponders(_))),
        "{refused:?}"
    );

    let mut queries = embedder.subscribe_queries(&subject, "one").await.unwrap();
    embedder.check_jetstream().await.unwrap(); // The server knows the subscription now.
    bus.check_embedder(&subject).await.unwrap();
    let vector = EmbeddedVector {
        vector: vec![0.6, 0.8],
        model: "mini".into(),
        checksum: "0123456789abcdef".into(),
    };
    let serve = async {
        let query = queries.next().await.unwrap();
        assert_eq!(query.input, EmbedInput::Pixels(vec![1, 2, 3].into()));
        query.send_reply(Ok(vector.clone())).await;
        let query = queries.next().await.unwrap();
        let text = QueryText::new("a red chair").unwrap();
        assert_eq!(query.input, EmbedInput::Text(text));
        let failure = EmbedFailure {
            code: NO_TEXT.into(),
            detail: "the model has no text encoder".into(),
        };
        query.send_reply(Err(failure)).await;
    };
    let request = async {
        let embedded = bus.embed_pixels(&subject, vec![1, 2, 3]).await.unwrap();
        assert_eq!(embedded, vector);
        let text = QueryText::new(" a red chair ").unwrap();
        let refused = bus.embed_text(&subject, text).await.unwrap_err();
        let Error::EmbedRefused { code, detail } = refused else {
            panic!("{refused}");
        };
        assert_eq!(
            (&code[..], &detail[..]),
            (NO_TEXT, "the model has no text encoder")
        );
    };
    tokio::join!(serve, request);

    drop(queries);
    embedder.check_jetstream().await.unwrap();
    let refused = bus.embed_pixels(&subject, vec![1, 2, 3]).await;
    assert!(
        matches!(refused, Err(Error::NoResponders(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn another_process_answers_what_the_local_embedder_cannot() {
    let bus = connect_bus("embed_busy").await;
    let other = Bus::open(&test_settings("embed_busy"), "other")
        .await
        .unwrap();
    let subject = request_subject("mini", "0123456789abcdef");
    let mut busy_queries = bus.subscribe_queries(&subject, "busy").await.unwrap();
    let mut free_queries = other.subscribe_queries(&subject, "free").await.unwrap();
    bus.check_jetstream().await.unwrap(); // The server knows the subscriptions now.
    other.check_jetstream().await.unwrap();
    let given_up = bus.embed_pixels(&subject, vec![9]);
    let wait = tokio::time::timeout(Duration::from_millis(1), given_up);
    assert!(wait.await.is_err(), "it was not replied to");

    let vector = EmbeddedVector {
        vector: vec![0.6, 0.8],
        model: "mini".into(),
        checksum: "0123456789abcdef".into(),
    };
    let pixels = EmbedInput::Pixels(vec![1, 2, 3].into());
    let refuse = async {
        while let Some(query) = busy_queries.next().await {
            assert_eq!(query.input, pixels, "an abandoned query is skipped");
            let failure = EmbedFailure {
                code: OVERLOADED.into(),
                detail: "too many searches".into(),
            };
            query.send_reply(Err(failure)).await;
        }
    };
    let answer = async {
        while let Some(query) = free_queries.next().await {
            query.send_reply(Ok(vector.clone())).await;
        }
    };
    let request = async {
        // Until the free one has answered a roll call, NATS may choose the busy one again.
        loop {
            match bus.embed_pixels(&subject, vec![1, 2, 3]).await {
                Ok(embedded) => break embedded,
                Err(error) => assert!(matches!(error, Error::EmbedRefused { .. }), "{error}"),
            }
        }
    };
    let embedded = tokio::select! {
        embedded = request => embedded,
        () = refuse => panic!("the subscription of the busy embedder ended"),
        () = answer => panic!("the subscription of the other embedder ended"),
    };
    assert_eq!(embedded, vector);
}

#[tokio::test]
async fn rows_are_requested_page_by_page() {
    let bus = connect_bus("rows").await;
    let refused = bus.request_rows(&library(), None, 10).await;
    assert!(
        matches!(refused, Err(Error::NoResponders(_))),
        "{refused:?}"
    );

    let mut requests = bus.subscribe_rows_requests().await.unwrap();
    bus.check_jetstream().await.unwrap();
    let page = RowsPage {
        rows: vec![RowSummary {
            id: "1".repeat(32),
            path: "a.jpg".into(),
            content_hash: "2".repeat(64),
            generation: 3,
            bytes: 4,
            modified_at_ms: 5,
        }],
        more: true,
    };
    let serve = async {
        let request = requests.next().await.unwrap();
        assert_eq!(request.library, library());
        assert_eq!((request.after, request.limit), (Some("0".into()), 1000));
        // This request is dropped without a reply.
        let request = requests.next().await.unwrap();
        request.send_reply(Ok(page.clone())).await;
        let request = requests.next().await.unwrap();
        request.send_reply(Err("the index is busy".into())).await;
    };
    let request = async {
        let shop = library();
        let unanswered = bus.request_rows(&shop, Some("0"), 5000);
        let wait = tokio::time::timeout(Duration::from_millis(300), unanswered);
        assert!(wait.await.is_err(), "it was not replied to");
        let answered = bus.request_rows(&library(), None, 10).await.unwrap();
        assert_eq!(answered, page);
        let failed = bus.request_rows(&library(), None, 10).await.unwrap_err();
        assert!(failed.to_string().contains("the index is busy"), "{failed}");
    };
    tokio::join!(serve, request);
}

#[tokio::test]
async fn requests_reach_the_watcher_of_their_library() {
    let bus = connect_bus("watcher").await;
    let mut requests = bus.subscribe_watcher_requests(&library()).await.unwrap();
    bus.check_jetstream().await.unwrap();
    let other = LibraryName::new("other").unwrap();
    let unreachable = bus.request_watcher((other, WatcherRequest::Scan)).await;
    assert!(
        matches!(unreachable, Err(Error::NoResponders(_))),
        "{unreachable:?}"
    );

    let list = WatcherRequest::Failures {
        after: Some("0".into()),
        limit: 10,
        ignored: true,
        code: Some("truncated".into()),
    };
    let page = FileFailurePage {
        failures: vec![FileFailure {
            id: "1".repeat(32),
            library: "shop".into(),
            path: "a.jpg".into(),
            state: "failed".into(),
            code: "truncated".into(),
            detail: "the file ends early".into(),
            size: 4,
            since_ms: 5,
        }],
        total: 1,
        has_more: false,
    };
    let exchanges = [
        (list, WatcherReply::Failures(page)),
        (WatcherRequest::Scan, WatcherReply::Scanning),
        (
            WatcherRequest::FileHistory {
                id: None,
                path: Some("b.jpg".into()),
            },
            WatcherReply::FileHistory(None),
        ),
        (
            WatcherRequest::Confirm,
            WatcherReply::Refused("it is on standby".into()),
        ),
    ];
    let serve = async {
        for (request, reply) in &exchanges {
            let incoming = requests.next().await.unwrap();
            assert_eq!(incoming.request, *request);
            incoming.send_reply(reply).await;
        }
    };
    let request = async {
        for (request, reply) in &exchanges {
            let received = bus.request_watcher((library(), request.clone())).await;
            assert_eq!(received.unwrap(), *reply);
        }
    };
    tokio::join!(serve, request);
}

#[tokio::test]
async fn a_frozen_watcher_does_not_delay_the_one_that_took_over() {
    let bus = connect_bus("frozen_watcher").await;
    let other = Bus::open(&test_settings("frozen_watcher"), "other")
        .await
        .unwrap();
    // Its requests wait: nothing polls the stream.
    let mut frozen = other.subscribe_watcher_requests(&library()).await.unwrap();
    let mut holder = bus.subscribe_watcher_requests(&library()).await.unwrap();
    other.check_jetstream().await.unwrap();
    bus.check_jetstream().await.unwrap();
    let refusal = WatcherReply::Refused("it is not certain which watcher holds it".into());
    let started = std::time::Instant::now();
    let serve = async {
        for _ in 0..10 {
            let incoming = holder.next().await.unwrap();
            incoming.send_reply(&WatcherReply::Scanning).await;
        }
        // It resumes and refuses all requests; the holder's reply counts, although it is later.
        let refuse = async {
            for _ in 0..11 {
                let incoming = frozen.next().await.unwrap();
                incoming.send_reply(&refusal).await;
            }
        };
        let hold = async {
            let incoming = holder.next().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            incoming.send_reply(&WatcherReply::Scanning).await;
        };
        tokio::join!(refuse, hold);
        // Without another reply, a refusal counts.
        drop(holder);
        bus.check_jetstream().await.unwrap();
        let incoming = frozen.next().await.unwrap();
        incoming.send_reply(&refusal).await;
    };
    let request = async {
        let scan = || bus.request_watcher((library(), WatcherRequest::Scan));
        for _ in 0..11 {
            assert_eq!(scan().await.unwrap(), WatcherReply::Scanning);
        }
        assert!(matches!(scan().await.unwrap(), WatcherReply::Refused(_)));
    };
    tokio::join!(serve, request);
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_watcher_without_a_reply_is_reported_in_time() {
    let settings = lookalike_bus::Settings {
        call_timeout: Duration::from_millis(500),
        ..test_settings("mute_watcher")
    };
    let bus = crate::connect_with(&settings).await;
    let _mute = bus.subscribe_watcher_requests(&library()).await.unwrap();
    bus.check_jetstream().await.unwrap();
    let request = bus.request_watcher((library(), WatcherRequest::Scan));
    let error = request.await.unwrap_err();
    assert!(
        error.to_string().contains("did not reply in time"),
        "{error}"
    );
}

#[tokio::test]
async fn rows_are_requested_from_another_embedder_if_one_is_frozen() {
    let settings = lookalike_bus::Settings {
        call_timeout: Duration::from_millis(500),
        ..test_settings("frozen_rows")
    };
    let bus = crate::connect_with(&settings).await;
    // This request is dropped without a reply, the next one is answered.
    let mut requests = bus.subscribe_rows_requests().await.unwrap();
    bus.check_jetstream().await.unwrap();
    let serve = async {
        let _dropped = requests.next().await.unwrap();
        let request = requests.next().await.unwrap();
        request.send_reply(Ok(RowsPage::default())).await;
    };
    let shop = library();
    let (rows, ()) = tokio::join!(bus.request_rows(&shop, None, 10), serve);
    assert_eq!(rows.unwrap(), RowsPage::default());
}
