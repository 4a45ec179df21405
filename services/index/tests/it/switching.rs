//! Another model's collection beside the one in service, and going over to it and back.

use lookalike_index::{Collections, Consistency, Error, Filter, Index, Origin};

use crate::{id, model, row, server, settings};

#[tokio::test]
async fn a_shadow_is_filled_beside_and_put_in_service_and_back() {
    let settings = settings(server::url(), &server::namespace("shadow"));
    let collections = Collections::open(&settings).await.unwrap();
    assert_eq!(collections.in_service().await.unwrap(), None);
    assert_eq!(collections.all().await.unwrap(), []);
    let origin = |source: &str| Origin {
        source: source.into(),
        description: "{\"of\": \"it\"}".into(),
    };
    let (a, b) = (model("mini"), model("other"));
    let first = Index::open_with(&settings, &a, &origin("mini"))
        .await
        .unwrap();
    first.upsert(&[row(1), row(2)]).await.unwrap();

    let shadow = Index::open_shadow(&settings, &b, &origin("/models/b"))
        .await
        .unwrap();
    // As a command does that was killed and begins again.
    let again = Index::open_shadow(&settings, &b, &origin("/models/b"))
        .await
        .unwrap();
    assert_eq!(shadow.collection(), again.collection());
    again.ensure().await.unwrap();
    shadow.upsert(&[row(3)]).await.unwrap();
    let in_service = collections.in_service().await.unwrap().unwrap();
    assert_eq!(in_service.name, &*first.collection());
    assert_eq!(
        (in_service.model, in_service.origin),
        (a.clone(), origin("mini"))
    );
    assert_eq!(collections.previous().await.unwrap(), None);
    let all = collections.all().await.unwrap();
    let names: Vec<&str> = all.iter().map(|one| &*one.name).collect();
    assert_eq!(names, [&*first.collection(), &*shadow.collection()]);
    assert_eq!(all[1].origin, origin("/models/b"));

    let goes_over = async |to: &Index, from: &Index| {
        // Twice is as good as once.
        collections.put_in_service(&to.collection()).await.unwrap();
        collections.put_in_service(&to.collection()).await.unwrap();
        let name = collections.name_in_service().await.unwrap();
        assert_eq!(name.as_deref(), Some(&*to.collection()));
        let previous = collections.previous().await.unwrap().unwrap();
        assert_eq!(previous.name, &*from.collection());
    };
    // Its model's folder was moved: the place is noted, and nothing else changes.
    let name = shadow.collection();
    collections.remember(&name, &origin("/b")).await.unwrap();
    collections.remember(&name, &origin("")).await.unwrap();
    let all = collections.all().await.unwrap();
    assert_eq!((&all[1].origin, &all[1].model), (&origin("/b"), &b));
    assert_eq!(all[0].origin, origin("mini"));

    goes_over(&shadow, &first).await;
    // Roles that were there before stay with their collection, and see that they are left behind.
    assert_eq!(first.count(&Filter::All).await.unwrap(), 2);
    let error = first.ensure().await.unwrap_err();
    assert!(matches!(error, Error::OtherModel { .. }), "{error}");
    let of_b = Index::open(&settings, &b).await.unwrap();
    assert_eq!(of_b.collection(), shadow.collection());
    let found = of_b.get(&[id(3)], Consistency::Strong).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(collections.rows(&first.collection()).await.unwrap(), 2);

    goes_over(&first, &shadow).await;
    first.ensure().await.unwrap();
    goes_over(&shadow, &first).await;

    let error = collections.remove(&shadow.collection()).await.unwrap_err();
    assert!(matches!(error, Error::InService { .. }), "{error}");
    collections.flush_in_service().await.unwrap();
    collections.remove(&first.collection()).await.unwrap();
    assert_eq!(collections.previous().await.unwrap(), None);
    assert_eq!(collections.all().await.unwrap().len(), 1);
    of_b.ready().await.unwrap();
}

#[tokio::test]
async fn a_death_before_the_last_step_leaves_what_was_in_service() {
    let settings = settings(server::url(), &server::namespace("halfflip"));
    let first = Index::open(&settings, &model("mini")).await.unwrap();
    let shadow = Index::open_shadow(&settings, &model("other"), &Origin::default())
        .await
        .unwrap();
    let collections = shadow.collections();
    // What is remembered for the way back is the one in service still.
    collections
        .put_in_service(&shadow.collection())
        .await
        .unwrap();
    collections
        .put_in_service(&first.collection())
        .await
        .unwrap();
    collections.remove(&shadow.collection()).await.unwrap();
    assert_eq!(collections.previous().await.unwrap(), None);
    first.ensure().await.unwrap();
}
