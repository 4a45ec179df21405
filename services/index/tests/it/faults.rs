//! Milvus is killed and restarted.

use std::time::{Duration, Instant};

use lookalike_index::{ErrorClass, Index, IndexRow, ReadConsistency, RowFilter, SearchQuery};

use crate::{count_images, image_id, server, test_model, test_row, test_settings, unit_vector};

#[tokio::test]
async fn a_killed_milvus_answers_again_through_the_same_index() {
    if server::external_url().is_some() {
        eprintln!("skipped: the server under test is not ours to kill");
        return;
    }
    let mut servers = server::start_milvus(&server::empty_folder("killed")).await;
    let url = servers.milvus_url().expect("it was wanted").to_owned();
    let mut settings = test_settings(&url, "killed");
    settings.call_timeout = Duration::from_secs(30);
    let index = Index::open(&settings, &test_model("mini")).await.unwrap();
    let rows: Vec<IndexRow> = (0..500).map(test_row).collect();
    index.upsert_rows(&rows).await.unwrap();
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 500);

    servers.kill_milvus().await;
    let started = Instant::now();
    for error in [
        index.check_ready().await.unwrap_err(),
        index.upsert_rows(&[test_row(1)]).await.unwrap_err(),
        count_images(&index, &RowFilter::All)
            .await
            .map(|_| ())
            .unwrap_err(),
    ] {
        assert_eq!(error.class(), ErrorClass::Retry, "{error:?}");
    }
    assert!(
        started.elapsed() < Duration::from_secs(25),
        "a dead server is detected at once, not after timeouts: {:?}",
        started.elapsed()
    );

    servers.restart_milvus().await.unwrap();
    let restarted = Instant::now();
    loop {
        match index.check_ready().await {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Retry, "{error:?}");
                assert!(
                    restarted.elapsed() < Duration::from_secs(300),
                    "still {error:?}"
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    eprintln!("searchable {:?} after the restart", restarted.elapsed());

    // All requests succeed, and no acknowledged row is lost.
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 500);
    index.upsert_rows(&[test_row(1000)]).await.unwrap();
    index
        .delete_up_to_generation(&[(image_id(0), 1)])
        .await
        .unwrap();
    let query = SearchQuery {
        consistency: ReadConsistency::Strong,
        ..SearchQuery::default()
    };
    let hits = index
        .search_by_vector(&unit_vector(1000), &query)
        .await
        .unwrap();
    assert_eq!(hits[0].image.id, image_id(1000));
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 500);
    // Another index opened now finds the same rows.
    let again = Index::open(&settings, &test_model("mini")).await.unwrap();
    assert_eq!(count_images(&again, &RowFilter::All).await.unwrap(), 500);
    servers.stop().await;
}
