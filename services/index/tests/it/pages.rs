//! Lists, audits and counts of more rows than one answer contains.

use lookalike_index::{HitFields, Index, IndexRow, ReadConsistency, RowFilter, SearchQuery};

use crate::{count_images, image_id, open_index, test_row, unit_vector};

const ROWS: u64 = 2500;

/// Rows in several segments, a third of them written twice: one part sealed, one growing.
#[tokio::test]
async fn pages_contain_every_row_once() {
    let index = open_index("pages").await;
    // In another order than by id.
    let rows: Vec<IndexRow> = (0..ROWS).map(|n| test_row(n * 7919 % ROWS)).collect();
    index.upsert_rows(&rows).await.unwrap();
    index.collections().flush_in_service().await.unwrap();
    let again: Vec<IndexRow> = (0..ROWS)
        .step_by(3)
        .map(|n| {
            let mut row = test_row(n);
            row.image.generation = 2;
            row.image.library = "archive".into();
            row
        })
        .collect();
    index.upsert_rows(&again).await.unwrap();
    let all: Vec<String> = (0..ROWS).map(image_id).collect();

    let mut keys = Vec::new();
    let mut reader = index.row_reader(&RowFilter::All, 1000).unwrap();
    loop {
        let page = reader.next_page().await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 1000);
        keys.extend(page);
    }
    assert_eq!(
        keys.iter().map(|k| &k.id).collect::<Vec<_>>(),
        all.iter().collect::<Vec<_>>()
    );
    for (n, key) in keys.iter().enumerate() {
        let twice = n % 3 == 0;
        assert_eq!(key.generation, if twice { 2 } else { 1 });
        assert_eq!(key.library, if twice { "archive" } else { "shop" });
        assert_eq!(key.path, format!("folder/{n}.jpg"));
        assert_eq!(key.content_hash, format!("{n:064x}"));
    }

    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), ROWS);
    let archive = RowFilter::Library(vec!["archive".into()]);
    assert_eq!(
        count_images(&index, &archive).await.unwrap(),
        again.len() as u64
    );

    windows_grow_to_every_row(&index).await;

    let mut listed = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = index
            .list_images(
                &RowFilter::All,
                after.as_deref(),
                700,
                ReadConsistency::Strong,
            )
            .await
            .unwrap();
        after = page.last().map(|image| image.id.clone());
        let more = page.len() == 700;
        listed.extend(page.into_iter().map(|image| image.id));
        if !more {
            break;
        }
    }
    assert_eq!(listed, all);
    let everything = index
        .list_images(&RowFilter::All, None, 10_000, ReadConsistency::Strong)
        .await
        .unwrap();
    assert_eq!(everything.len(), ROWS as usize);
}

/// Searches with growing limits.
async fn windows_grow_to_every_row(index: &Index) {
    let mut query = SearchQuery {
        consistency: ReadConsistency::Strong,
        ..SearchQuery::default()
    };
    for fields in [HitFields::Id, HitFields::ContentHash, HitFields::All] {
        for limit in [1, 64, 256, 1024, ROWS as usize, SearchQuery::MAX_DEPTH] {
            query.limit = limit;
            let vector = unit_vector(7);
            let found = index.find_nearest(&vector, &query, fields).await.unwrap();
            assert_eq!(found.hits.len(), limit.min(ROWS as usize), "{fields:?}");
            assert_eq!(found.may_have_more, limit <= ROWS as usize, "{limit}");
            assert_eq!(found.hits[0].image.id, image_id(7));
            assert!(found.hits.is_sorted_by(|a, b| a.score >= b.score));
            let hash = match fields {
                HitFields::Id => String::new(),
                HitFields::ContentHash | HitFields::All => format!("{:064x}", 7),
            };
            assert_eq!(found.hits[0].image.content_hash, hash);
        }
    }
    query.limit = SearchQuery::MAX_DEPTH + 1;
    let refused = index
        .find_nearest(&unit_vector(7), &query, HitFields::Id)
        .await;
    assert!(refused.is_err());

    let mut ids: Vec<String> = (0..ROWS).map(image_id).collect();
    ids.push(image_id(ROWS));
    let vectors = index
        .fetch_vectors(&ids, ReadConsistency::Strong)
        .await
        .unwrap();
    assert_eq!(vectors.len(), ROWS as usize);
    for n in 0..ROWS {
        assert_eq!(vectors[&image_id(n)], unit_vector(n));
    }
}
