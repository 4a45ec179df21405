//! Which images have which content, range by range.

use lookalike_index::{ContentKey, ContentRange, IndexRow, RowFilter};

use crate::{image_id, open_index, test_row};

const ROWS: u64 = 1500;

/// Every seventh row has the content of row 0, the others have contents spread over all hashes.
fn spread_row(n: u64) -> IndexRow {
    let mut row = test_row(n);
    let content = if n.is_multiple_of(7) { 0 } else { n };
    let start = content.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    row.image.content_hash = format!("{start:016x}{content:048x}");
    if n.is_multiple_of(2) {
        row.image.library = "archive".into();
    }
    row
}

/// Some rows are in a sealed segment with an index of the hashes, and some in a growing one.
#[tokio::test]
async fn ranges_contain_every_image_of_their_contents_once() {
    let index = open_index("content_keys").await;
    let rows: Vec<IndexRow> = (0..ROWS).map(spread_row).collect();
    let (sealed, growing) = rows.split_at(1100);
    index.upsert_rows(sealed).await.unwrap();
    index.collections().flush_in_service().await.unwrap();
    index.upsert_rows(growing).await.unwrap();
    // A strong read, so that the bounded ones below see all rows.
    assert_eq!(
        crate::count_images(&index, &RowFilter::All).await.unwrap(),
        ROWS
    );

    for (filter, keep) in [
        (RowFilter::All, 1),
        (RowFilter::Library(vec!["archive".into()]), 2),
    ] {
        let mut expected: Vec<ContentKey> = rows
            .iter()
            .filter(|row| {
                u64::from_str_radix(&row.image.id, 16)
                    .unwrap()
                    .is_multiple_of(keep)
            })
            .map(|row| ContentKey {
                content_hash: row.image.content_hash.clone(),
                id: row.image.id.clone(),
            })
            .collect();
        expected.sort();
        let starts = ["", "1", "40", "bfffffffffffffff"];
        let mut read = Vec::new();
        for (at, after) in starts.iter().enumerate() {
            let range = ContentRange {
                after: (*after).into(),
                before: starts.get(at + 1).map(|start| (*start).to_owned()),
            };
            let part = index
                .read_content_keys(&filter, &range, 5000)
                .await
                .unwrap();
            assert!(part.is_complete && part.keys.is_sorted(), "{range:?}");
            read.extend(part.keys);
        }
        assert_eq!(read, expected);
    }

    let range = ContentRange {
        after: String::new(),
        before: Some("0000000000000001".into()),
    };
    let part = index
        .read_content_keys(&RowFilter::All, &range, 10)
        .await
        .unwrap();
    assert!(!part.is_complete);
    let ids: Vec<String> = (0..10).map(|n| image_id(n * 7)).collect();
    assert_eq!(
        part.keys.iter().map(|key| &key.id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
}
