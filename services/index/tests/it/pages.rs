//! Lists, audits and counts of more rows than one answer contains.

use lookalike_index::{IndexRow, ReadConsistency, RowFilter};

use crate::{count_images, image_id, open_index, test_row};

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
