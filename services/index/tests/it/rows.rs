//! Rows: written, found, changed, deleted.

use std::time::{Duration, Instant};

use lookalike_index::{
    Error, ErrorClass, Index, IndexHit, IndexRow, IndexedImage, ReadConsistency, RowFilter,
    SearchQuery, ValueRange,
};

use crate::{count_images, image_id, open_index, test_row, unit_vector};

const STRONG: ReadConsistency = ReadConsistency::Strong;

fn strong_query(limit: usize) -> SearchQuery {
    SearchQuery {
        limit,
        consistency: STRONG,
        ..SearchQuery::default()
    }
}

#[tokio::test]
async fn a_row_is_found_read_and_removed() {
    let index = open_index("rows").await;
    let rows: Vec<IndexRow> = (0..20).map(test_row).collect();
    index.upsert_rows(&rows).await.unwrap();

    let hits = index
        .search_by_vector(&unit_vector(7), &strong_query(5))
        .await
        .unwrap();
    assert_eq!(hits.len(), 5);
    assert_eq!(hits[0].image, rows[7].image, "every field comes back");
    assert!(hits[0].score > 0.9999, "{}", hits[0].score);
    assert!(hits.is_sorted_by(|a, b| a.score >= b.score));

    let query = SearchQuery {
        min_score: Some(0.99),
        ..strong_query(5)
    };
    assert_eq!(
        index
            .search_by_vector(&unit_vector(7), &query)
            .await
            .unwrap()
            .len(),
        1
    );

    // In the requested order, without missing ids.
    let images = index
        .fetch_images(&[image_id(3), image_id(99), image_id(1)], STRONG)
        .await
        .unwrap();
    assert_eq!(images, [rows[3].image.clone(), rows[1].image.clone()]);
    let stored = index
        .fetch_vector(&image_id(3), STRONG)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored, rows[3].vector, "to the last bit");
    // Row 3 has no sketch.
    for n in [3, 4] {
        let row = index.fetch_row(&image_id(n), STRONG).await.unwrap();
        assert_eq!(row.as_ref(), Some(&rows[n as usize]));
    }
    assert_eq!(index.fetch_row(&image_id(99), STRONG).await.unwrap(), None);
    assert_eq!(
        index.fetch_vector(&image_id(99), STRONG).await.unwrap(),
        None
    );

    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 20);
    index.delete_ids(&[image_id(3), image_id(4)]).await.unwrap();
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 18);
    let hits = index
        .search_by_vector(&unit_vector(3), &strong_query(20))
        .await
        .unwrap();
    assert!(
        hits.iter().all(|h| h.image.id != image_id(3)),
        "the row is deleted"
    );
    index.collections().flush_in_service().await.unwrap();
    rows_become(&index, 18).await;
}

#[tokio::test]
async fn a_thousand_hits_come_in_two_steps() {
    let index = open_index("thousand").await;
    let rows: Vec<IndexRow> = (0..1200).map(test_row).collect();
    index.upsert_rows(&rows).await.unwrap();
    let hits = index
        .search_by_vector(&unit_vector(7), &strong_query(1000))
        .await
        .unwrap();
    assert_eq!(hits.len(), 1000);
    assert_eq!(hits[0].image, rows[7].image);
    assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
}

#[tokio::test]
async fn answers_above_four_mebibytes_come_in_parts() {
    let index = open_index("large").await;
    // 1,500 paths of 4 kB are 6 MB.
    let rows: Vec<IndexRow> = (0..1500)
        .map(|n| {
            let mut row = test_row(n);
            row.image.path = format!("{n:04}/{}", "p".repeat(4000));
            row.image.content_hash = "one".into();
            row
        })
        .collect();
    index.upsert_rows(&rows).await.unwrap();
    let ids: Vec<String> = (0..1500).map(image_id).collect();
    assert_eq!(index.fetch_images(&ids, STRONG).await.unwrap().len(), 1500);
    let listed = index
        .list_images(&RowFilter::All, None, 2000, STRONG)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1500);
    assert_eq!(
        index
            .search_by_vector(&unit_vector(1), &strong_query(500))
            .await
            .unwrap()
            .len(),
        500
    );
    assert_eq!(
        index
            .search_by_vector(&unit_vector(1), &strong_query(1000))
            .await
            .unwrap()
            .len(),
        1000
    );
    assert_eq!(
        index
            .find_rows_by_content(&["one".into()], &RowFilter::All)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_at_the_same_time_get_their_own_hits() {
    let index = open_index("joined").await;
    let rows: Vec<IndexRow> = (0..40).map(test_row).collect();
    index.upsert_rows(&rows).await.unwrap();
    let nothing = SearchQuery {
        filter: RowFilter::Library(vec!["none".into()]),
        ..strong_query(5)
    };
    let spawn = |n: u64, query: &SearchQuery| {
        let (index, query) = (index.clone(), query.clone());
        tokio::spawn(async move { index.search_by_vector(&unit_vector(n), &query).await })
    };
    let pairs: Vec<_> = (0..40)
        .map(|n| (spawn(n, &strong_query(5)), spawn(n, &nothing)))
        .collect();
    for (n, (search, empty)) in (0..).zip(pairs) {
        let hits = search.await.unwrap().unwrap();
        let alone = index
            .search_by_vector(&unit_vector(n), &strong_query(5))
            .await
            .unwrap();
        let images =
            |hits: Vec<IndexHit>| hits.into_iter().map(|hit| hit.image).collect::<Vec<_>>();
        let hits = images(hits);
        assert_eq!(hits, images(alone));
        assert_eq!(hits[0], rows[n as usize].image);
        assert_eq!(empty.await.unwrap().unwrap(), []);
    }
}

#[tokio::test]
async fn a_delete_spares_newer_generations() {
    let index = open_index("generations").await;
    let at = |n, generation| {
        let mut row = test_row(n);
        row.image.generation = generation;
        row
    };
    index
        .upsert_rows(&[at(1, 5), at(2, 5), at(3, 5)])
        .await
        .unwrap();
    index
        .delete_up_to_generation(&[
            (image_id(1), 4),
            (image_id(2), 5),
            (image_id(3), 6),
            (image_id(4), 9),
        ])
        .await
        .unwrap();
    let left = index
        .list_images(&RowFilter::All, None, 10, STRONG)
        .await
        .unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, image_id(1));
    // A delete sees every earlier upsert without a wait.
    for generation in 10..20 {
        index.upsert_rows(&[at(9, generation)]).await.unwrap();
        index
            .delete_up_to_generation(&[(image_id(9), generation - 1)])
            .await
            .unwrap();
        assert_eq!(
            index
                .fetch_images(&[image_id(9)], STRONG)
                .await
                .unwrap()
                .len(),
            1
        );
        index
            .delete_up_to_generation(&[(image_id(9), generation)])
            .await
            .unwrap();
        assert_eq!(
            index
                .fetch_images(&[image_id(9)], STRONG)
                .await
                .unwrap()
                .len(),
            0
        );
    }
    // Many deletes in one call.
    let many: Vec<IndexRow> = (100..400).map(|n| at(n, 3)).collect();
    index.upsert_rows(&many).await.unwrap();
    let gone: Vec<(String, i64)> = (100..400)
        .map(|n| (image_id(n), 2 + (n % 2) as i64))
        .collect();
    index.delete_up_to_generation(&gone).await.unwrap();
    assert_eq!(
        count_images(&index, &RowFilter::All).await.unwrap(),
        1 + 150
    );
}

#[tokio::test]
async fn one_id_has_one_row() {
    let index = open_index("unique").await;
    let mut newer = test_row(1);
    newer.image.generation = 2;
    newer.image.path = "newer.jpg".into();
    // Within one batch …
    index
        .upsert_rows(&[newer.clone(), test_row(1)])
        .await
        .unwrap();
    let images = index.fetch_images(&[image_id(1)], STRONG).await.unwrap();
    assert_eq!(images[0].path, "newer.jpg");
    rows_become(&index, 1).await;
    // … and when the partition key changes.
    newer.image.library = "archive".into();
    newer.image.generation = 3;
    index.upsert_rows(&[newer.clone()]).await.unwrap();
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 1);
    rows_become(&index, 1).await;
    let in_library = |name: &str| RowFilter::Library(vec![name.into()]);
    assert_eq!(count_images(&index, &in_library("shop")).await.unwrap(), 0);
    assert_eq!(
        count_images(&index, &in_library("archive")).await.unwrap(),
        1
    );
    let hits = index
        .search_by_vector(&unit_vector(1), &strong_query(10))
        .await
        .unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].image, newer.image);
}

#[tokio::test]
async fn known_content_is_found_among_many_copies() {
    let index = open_index("known").await;
    // 1,500 copies of one content, and nine single ones.
    let copies: Vec<IndexRow> = (0..1500)
        .map(|n| {
            let mut row = test_row(n);
            row.image.content_hash = "copies".into();
            row.vector = unit_vector(1);
            row
        })
        .collect();
    index.upsert_rows(&copies).await.unwrap();
    let singles: Vec<IndexRow> = (2000..2009).map(test_row).collect();
    index.upsert_rows(&singles).await.unwrap();
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 1509);
    index.collections().flush_in_service().await.unwrap();

    let mut hashes: Vec<String> = singles
        .iter()
        .map(|r| r.image.content_hash.clone())
        .collect();
    hashes.extend(["copies".into(), "unknown".into(), String::new()]);
    let known = index
        .find_rows_by_content(&hashes, &RowFilter::All)
        .await
        .unwrap();
    assert_eq!(known.len(), 10);
    assert_eq!(known["copies"].vector, unit_vector(1));
    for single in &singles {
        assert_eq!(&known[&single.image.content_hash], single);
    }
}

#[tokio::test]
async fn filters_select_rows() {
    let index = open_index("filters").await;
    let rows: Vec<IndexRow> = (0..12)
        .map(|n| {
            let mut row = test_row(n);
            let i = n as i32;
            row.image = IndexedImage {
                library: if n < 6 { "shop" } else { "archive" }.into(),
                path: format!("{}/{n}.jpg", if n % 2 == 0 { "even" } else { "odd" }),
                width: 100 * i,
                bytes: i64::from(i) * 1000,
                format: if n % 3 == 0 { "png" } else { "jpeg" }.into(),
                taken_at: (n % 4 != 0).then_some(i64::from(i) - 6),
                tags: if n == 5 {
                    vec!["a".into(), "b".into()]
                } else {
                    vec!["a".into()]
                },
                colors: if n < 3 { vec![] } else { vec!["red".into()] },
                generation: i64::from(i),
                ..row.image
            };
            row
        })
        .collect();
    index.upsert_rows(&rows).await.unwrap();
    let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let from_to = |at_least, at_most| ValueRange { at_least, at_most };
    let cases: Vec<(RowFilter, Vec<u64>)> = vec![
        (RowFilter::All, (0..12).collect()),
        (RowFilter::Library(texts(&["shop"])), (0..6).collect()),
        (
            RowFilter::Library(texts(&["shop", "archive"])),
            (0..12).collect(),
        ),
        (RowFilter::Library(vec![]), vec![]),
        (
            RowFilter::PathPrefix("even/".into()),
            vec![0, 2, 4, 6, 8, 10],
        ),
        (RowFilter::PathPrefix("odd/1".into()), vec![1, 11]),
        (RowFilter::Path(texts(&["odd/3.jpg"])), vec![3]),
        (RowFilter::Id(vec![image_id(4), image_id(77)]), vec![4]),
        (
            RowFilter::NotId((0..10).map(image_id).collect()),
            vec![10, 11],
        ),
        (RowFilter::ContentHash(vec![format!("{:064x}", 8)]), vec![8]),
        (RowFilter::GenerationAtMost(2), vec![0, 1, 2]),
        (
            RowFilter::Width(from_to(Some(300), Some(500))),
            vec![3, 4, 5],
        ),
        (RowFilter::Height(from_to(None, Some(599))), vec![]),
        (RowFilter::Bytes(from_to(Some(10_000), None)), vec![10, 11]),
        // Images 4 and 8 have no time; image 6 has 0, which means unknown.
        (
            RowFilter::TakenAt(from_to(Some(-3), Some(3))),
            vec![3, 5, 7, 9],
        ),
        (RowFilter::TakenAt(from_to(None, Some(-5))), vec![1]),
        (RowFilter::Format(texts(&["png"])), vec![0, 3, 6, 9]),
        (
            RowFilter::Camera(texts(&["Maker Model"])),
            (0..12).collect(),
        ),
        (RowFilter::AnyTag(texts(&["b", "c"])), vec![5]),
        (RowFilter::AllTags(texts(&["a", "b"])), vec![5]),
        (RowFilter::AllTags(texts(&["a", "c"])), vec![]),
        (RowFilter::AnyColor(texts(&["red"])), (3..12).collect()),
        (
            RowFilter::And(vec![
                RowFilter::Library(texts(&["shop"])),
                RowFilter::PathPrefix("odd/".into()),
                RowFilter::Or(vec![
                    RowFilter::Format(texts(&["png"])),
                    RowFilter::AnyTag(texts(&["b"])),
                ]),
            ]),
            vec![3, 5],
        ),
    ];
    for (filter, expected) in cases {
        let expected: Vec<String> = expected.into_iter().map(image_id).collect();
        let listed = index.list_images(&filter, None, 100, STRONG).await.unwrap();
        let listed: Vec<String> = listed.into_iter().map(|i| i.id).collect();
        assert_eq!(listed, expected, "{filter:?}");
        let query = SearchQuery {
            filter: filter.clone(),
            ..strong_query(100)
        };
        let hits = index
            .search_by_vector(&unit_vector(1), &query)
            .await
            .unwrap();
        let mut found: Vec<String> = hits.into_iter().map(|h| h.image.id).collect();
        found.sort();
        assert_eq!(found, expected, "{filter:?}");
        let count = count_images(&index, &filter).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{filter:?}");
    }
}

#[tokio::test]
async fn invalid_rows_are_refused_before_they_are_sent() {
    let index = open_index("refused").await;
    let mut long = test_row(1);
    long.image.path = "x".repeat(4097);
    let mut short = test_row(2);
    short.vector = vec![0.1; 8];
    let mut other = test_row(3);
    other.vector = vec![1.0; 3];
    for bad in [long, short, other] {
        let error = index.upsert_rows(&[test_row(9), bad]).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Reject, "{error}");
    }
    let error = index
        .search_by_vector(&[0.5; 8], &strong_query(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InvalidVector { .. }), "{error}");
    for limit in [0, 1001] {
        let error = index
            .search_by_vector(&unit_vector(1), &strong_query(limit))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::InvalidQuery { .. }), "{error}");
    }
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), 0);
}

/// Waits until the server's own count, which includes duplicates, reaches `rows`.
async fn rows_become(index: &Index, rows: u64) {
    let started = Instant::now();
    loop {
        let count = index.approximate_count(&RowFilter::All).await.unwrap();
        if count == rows {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{count} rows, not {rows}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
