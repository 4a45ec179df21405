//! Opening an index: for the first time, again, concurrently, after an interruption, and with another
//! model.

use std::time::Duration;

use lookalike_index::{Error, ErrorClass, Index, ModelIdentity, ReadConsistency, RowFilter};

use crate::{count_images, image_id, server, test_model, test_row, test_settings};

#[tokio::test]
async fn opening_again_finds_what_was_written() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("again"));
    let first = Index::open(&settings, &test_model("mini")).await.unwrap();
    assert_eq!(
        &*first.collection(),
        format!("{}_mini_1", settings.namespace)
    );
    first.upsert_rows(&[test_row(1)]).await.unwrap();
    first.check_ready().await.unwrap();
    let second = Index::open(&settings, &test_model("mini")).await.unwrap();
    assert_eq!(second.collection(), first.collection());
    assert_eq!(count_images(&second, &RowFilter::All).await.unwrap(), 1);
}

#[tokio::test]
async fn many_opens_at_once_agree() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("race"));
    let model = test_model("Mini-1.0");
    let opens = (0..4).map(|_| {
        let (settings, model) = (settings.clone(), model.clone());
        tokio::spawn(async move { Index::open(&settings, &model).await })
    });
    let mut indexes = Vec::new();
    for open in opens.collect::<Vec<_>>() {
        indexes.push(open.await.unwrap().unwrap());
    }
    for (n, index) in indexes.iter().enumerate() {
        assert_eq!(index.collection(), indexes[0].collection());
        index.upsert_rows(&[test_row(n as u64)]).await.unwrap();
    }
    assert_eq!(count_images(&indexes[0], &RowFilter::All).await.unwrap(), 4);
}

#[tokio::test]
async fn another_model_is_refused() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("other"));
    let ours = test_model("mini");
    let index = Index::open(&settings, &ours).await.unwrap();
    for (other, word) in [
        (test_model("resnet34"), "resnet34"),
        (
            ModelIdentity {
                checksum: "bad".into(),
                ..ours.clone()
            },
            "checksum",
        ),
        (
            ModelIdentity {
                preprocessing: "squash".into(),
                ..ours.clone()
            },
            "preprocessing",
        ),
        (
            ModelIdentity {
                dimension: 16,
                ..ours.clone()
            },
            "dimension",
        ),
    ] {
        let error = Index::open(&settings, &other).await.unwrap_err();
        assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Fatal);
        let text = error.to_string();
        assert!(
            text.contains(word) && text.contains("--model") && text.contains("milvus.namespace"),
            "{text}"
        );
    }
    index.check_ready().await.unwrap();
}

#[tokio::test]
async fn a_collection_without_its_alias_is_used_again() {
    // The state after a start that was killed before its last step.
    let settings = test_settings(server::shared_url(), &server::unique_namespace("halfway"));
    let index = Index::open(&settings, &test_model("mini")).await.unwrap();
    index.upsert_rows(&[test_row(1)]).await.unwrap();
    raw::drop_alias(&settings.url, &settings.namespace).await;
    let again = Index::open(&settings, &test_model("mini")).await.unwrap();
    assert_eq!(again.collection(), index.collection());
    assert_eq!(count_images(&again, &RowFilter::All).await.unwrap(), 1);
    // A model with the same name and other weights creates its own collection once the alias is
    // free.
    raw::drop_alias(&settings.url, &settings.namespace).await;
    let newer = ModelIdentity {
        checksum: "newer".into(),
        ..test_model("mini")
    };
    let newer = Index::open(&settings, &newer).await.unwrap();
    assert_eq!(
        &*newer.collection(),
        format!("{}_mini_2", settings.namespace)
    );
    assert_eq!(count_images(&newer, &RowFilter::All).await.unwrap(), 0);
}

#[tokio::test]
async fn a_dropped_collection_is_missing_until_it_is_created_again() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("dropped"));
    let index = Index::open(&settings, &test_model("mini")).await.unwrap();
    index.upsert_rows(&[test_row(1)]).await.unwrap();
    raw::drop_collection(&settings.url, &settings.namespace, &index.collection()).await;

    for error in [
        index.upsert_rows(&[test_row(2)]).await.unwrap_err(),
        index
            .delete_up_to_generation(&[(image_id(2), 1)])
            .await
            .unwrap_err(),
        index.check_ready().await.unwrap_err(),
        index
            .fetch_images(&[image_id(1)], ReadConsistency::Strong)
            .await
            .map(|_| ())
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Retry);
    }
    index.ensure_collection().await.unwrap();
    index.upsert_rows(&[test_row(3)]).await.unwrap();
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 1);
}

#[tokio::test]
async fn a_released_collection_is_loaded_again() {
    let index = crate::open_index("released").await;
    index.upsert_rows(&[test_row(1)]).await.unwrap();
    raw::release_collection(server::shared_url(), &index.collection()).await;
    let counts = (0..4).map(|_| {
        let index = index.clone();
        tokio::spawn(async move { count_images(&index, &RowFilter::All).await })
    });
    for count in counts.collect::<Vec<_>>() {
        assert_eq!(count.await.unwrap().unwrap(), 1);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_reported_in_one_line() {
    let mut settings = test_settings("http://127.0.0.1:1", "unreachable");
    settings.connect_timeout = Duration::from_millis(300);
    let error = Index::open(&settings, &test_model("mini"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:1") && text.contains("--milvus-url") && !text.contains('\n'),
        "{text}"
    );
}

/// Changes that an operator may make directly in Milvus.
mod raw {
    use milvus::v2::{
        ClientV2,
        prelude::{
            ConnectConfig, DropAliasRequest, DropCollectionRequest, ReleaseCollectionRequest,
            TelemetryConfig,
        },
    };

    async fn connect_client(url: &str) -> ClientV2 {
        let config = ConnectConfig::new()
            .uri(url)
            .telemetry(TelemetryConfig::new().enabled(false));
        ClientV2::new(&config).await.unwrap()
    }

    pub(super) async fn drop_alias(url: &str, alias: &str) {
        let request = DropAliasRequest::builder().alias(alias).build().unwrap();
        connect_client(url).await.drop_alias(request).await.unwrap();
    }

    /// Drops the alias first, which some versions require.
    pub(super) async fn drop_collection(url: &str, alias: &str, collection: &str) {
        drop_alias(url, alias).await;
        let request = DropCollectionRequest::builder()
            .collection_name(collection)
            .build()
            .unwrap();
        connect_client(url)
            .await
            .drop_collection(request)
            .await
            .unwrap();
    }

    pub(super) async fn release_collection(url: &str, collection: &str) {
        let request = ReleaseCollectionRequest::builder()
            .collection_name(collection)
            .build()
            .unwrap();
        connect_client(url)
            .await
            .release_collection(request)
            .await
            .unwrap();
    }
}
