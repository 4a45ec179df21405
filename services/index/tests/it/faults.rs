//! Milvus dies and comes back.

use std::time::{Duration, Instant};

use lookalike_index::{Consistency, Fate, Filter, Index, Row, SearchQuery};

use crate::{id, model, row, server, settings, vector};

#[tokio::test]
async fn a_killed_milvus_answers_again_through_the_same_index() {
    if server::other().is_some() {
        eprintln!("skipped: the server under test is not ours to kill");
        return;
    }
    let mut servers = server::start(&server::folder("killed")).await;
    let url = servers.milvus_url().expect("it was wanted").to_owned();
    let mut settings = settings(&url, "killed");
    settings.call_timeout = Duration::from_secs(5);
    let index = Index::open(&settings, &model("mini")).await.unwrap();
    let rows: Vec<Row> = (0..500).map(row).collect();
    index.upsert(&rows).await.unwrap();
    assert_eq!(index.count(&Filter::All).await.unwrap(), 500);

    servers.kill_milvus().await;
    let started = Instant::now();
    for error in [
        index.ready().await.unwrap_err(),
        index.upsert(&[row(1)]).await.unwrap_err(),
        index.count(&Filter::All).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.fate(), Fate::Retry, "{error:?}");
    }
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "a dead server is found out at once, not after timeouts: {:?}",
        started.elapsed()
    );

    servers.restart_milvus().await.unwrap();
    let restarted = Instant::now();
    loop {
        match index.ready().await {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.fate(), Fate::Retry, "{error:?}");
                assert!(
                    restarted.elapsed() < Duration::from_secs(60),
                    "still {error:?}"
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    eprintln!("searchable {:?} after the restart", restarted.elapsed());

    // Everything answers, and nothing that was acknowledged is lost.
    assert_eq!(index.count(&Filter::All).await.unwrap(), 500);
    index.upsert(&[row(1000)]).await.unwrap();
    index.delete(&[(id(0), 1)]).await.unwrap();
    let query = SearchQuery {
        consistency: Consistency::Strong,
        ..SearchQuery::default()
    };
    let hits = index.search(&vector(1000), &query).await.unwrap();
    assert_eq!(hits[0].image.id, id(1000));
    assert_eq!(index.count(&Filter::All).await.unwrap(), 500);
    // A start beside it finds the same.
    let again = Index::open(&settings, &model("mini")).await.unwrap();
    assert_eq!(again.count(&Filter::All).await.unwrap(), 500);
    servers.stop().await;
}
