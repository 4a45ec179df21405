//! Rollover to another model's collection, and rollback.

use std::time::Duration;

use lookalike_index::{
    Collections, Error, Index, ModelSource, ReadConsistency, RowFilter, ServedModel,
    ServedModelWatcher,
};

use crate::{count_images, image_id, server, test_model, test_row, test_settings};

#[tokio::test]
async fn a_shadow_is_filled_put_in_service_and_rolled_back() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("shadow"));
    let collections = Collections::open(&settings).await.unwrap();
    assert_eq!(collections.in_service().await.unwrap(), None);
    assert_eq!(collections.list_all().await.unwrap(), []);
    let origin = |source: &str| ModelSource {
        locator: source.into(),
        description: "{\"of\": \"it\"}".into(),
    };
    let (a, b) = (test_model("mini"), test_model("other"));
    let first = Index::open_with_source(&settings, &a, &origin("mini"))
        .await
        .unwrap();
    first
        .upsert_rows(&[test_row(1), test_row(2)])
        .await
        .unwrap();

    let shadow = Index::open_shadow(&settings, &b, &origin("/models/b"))
        .await
        .unwrap();
    // A command that was killed starts again.
    let again = Index::open_shadow(&settings, &b, &origin("/models/b"))
        .await
        .unwrap();
    assert_eq!(shadow.collection(), again.collection());
    again.ensure_collection().await.unwrap();
    shadow.upsert_rows(&[test_row(3)]).await.unwrap();
    let in_service = collections.in_service().await.unwrap().unwrap();
    assert_eq!(in_service.name, &*first.collection());
    assert_eq!(
        (in_service.model, in_service.model_source),
        (a.clone(), origin("mini"))
    );
    assert_eq!(collections.previous().await.unwrap(), None);
    let all = collections.list_all().await.unwrap();
    let names: Vec<&str> = all.iter().map(|one| &*one.name).collect();
    assert_eq!(names, [&*first.collection(), &*shadow.collection()]);
    assert_eq!(all[1].model_source, origin("/models/b"));

    let goes_over = async |to: &Index, from: &Index| {
        // Repeating the call changes nothing.
        collections.put_in_service(&to.collection()).await.unwrap();
        collections.put_in_service(&to.collection()).await.unwrap();
        let name = collections.name_in_service().await.unwrap();
        assert_eq!(name.as_deref(), Some(&*to.collection()));
        let previous = collections.previous().await.unwrap().unwrap();
        assert_eq!(previous.name, &*from.collection());
    };
    // The model's folder was moved: only the recorded place changes.
    let name = shadow.collection();
    collections
        .record_model_source(&name, &origin("/b"))
        .await
        .unwrap();
    collections
        .record_model_source(&name, &origin(""))
        .await
        .unwrap();
    let all = collections.list_all().await.unwrap();
    assert_eq!((&all[1].model_source, &all[1].model), (&origin("/b"), &b));
    assert_eq!(all[0].model_source, origin("mini"));

    goes_over(&shadow, &first).await;
    // Running roles keep their collection and notice the rollover.
    assert_eq!(count_images(&first, &RowFilter::All).await.unwrap(), 2);
    let error = first.ensure_collection().await.unwrap_err();
    assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
    let of_b = Index::open(&settings, &b).await.unwrap();
    assert_eq!(of_b.collection(), shadow.collection());
    let found = of_b
        .fetch_images(&[image_id(3)], ReadConsistency::Strong)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        collections.count_rows(&first.collection()).await.unwrap(),
        2
    );

    goes_over(&first, &shadow).await;
    first.ensure_collection().await.unwrap();
    goes_over(&shadow, &first).await;

    let error = collections
        .remove_collection(&shadow.collection())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InService { .. }), "{error}");
    collections.flush_in_service().await.unwrap();
    collections
        .remove_collection(&first.collection())
        .await
        .unwrap();
    assert_eq!(collections.previous().await.unwrap(), None);
    assert_eq!(collections.list_all().await.unwrap().len(), 1);
    of_b.check_ready().await.unwrap();
}

#[tokio::test]
async fn an_interrupted_rollover_keeps_the_collection_in_service() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("halfflip"));
    let first = Index::open(&settings, &test_model("mini")).await.unwrap();
    let shadow = Index::open_shadow(&settings, &test_model("other"), &ModelSource::default())
        .await
        .unwrap();
    let collections = shadow.collections();
    // The alias for the rollback still points to the collection in service.
    collections
        .put_in_service(&shadow.collection())
        .await
        .unwrap();
    collections
        .put_in_service(&first.collection())
        .await
        .unwrap();
    collections
        .remove_collection(&shadow.collection())
        .await
        .unwrap();
    assert_eq!(collections.previous().await.unwrap(), None);
    first.ensure_collection().await.unwrap();
}

#[tokio::test]
async fn a_watcher_reports_another_model_until_it_is_loaded() {
    let settings = test_settings(server::shared_url(), &server::unique_namespace("served"));
    let own = Index::open(&settings, &test_model("mini")).await.unwrap();
    let mut watcher = ServedModelWatcher::new(own.clone())
        .with_poll_interval(Duration::from_millis(20))
        .with_max_retry_wait(Duration::from_secs(60));
    assert_eq!(watcher.poll().await, ServedModel::Own);

    let other = Index::open_shadow(&settings, &test_model("other"), &ModelSource::default())
        .await
        .unwrap();
    assert_eq!(watcher.poll().await, ServedModel::Own, "not in service");
    let collections = own.collections();
    collections
        .put_in_service(&other.collection())
        .await
        .unwrap();
    let ServedModel::Other(collection) = watcher.poll().await else {
        panic!("another model is in service");
    };
    assert_eq!(collection.name, &*other.collection());
    assert_eq!(collection.model, *other.model());
    // Until the role reports a failure, every poll asks it to load the model.
    assert_eq!(watcher.poll().await, ServedModel::Other(collection.clone()));
    for _ in 0..8 {
        watcher.record_failure(&collection);
    }
    assert_eq!(watcher.failures(), 8);
    assert_eq!(
        watcher.poll().await,
        ServedModel::RetryLater(collection.clone())
    );
    collections.put_in_service(&own.collection()).await.unwrap();
    assert_eq!(watcher.poll().await, ServedModel::Own);
    assert_eq!(watcher.failures(), 0);
}
