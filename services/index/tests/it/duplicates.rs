//! Duplicate rows of one id, as Milvus restores them after a kill: how they are found and removed.
//! Also tests the server behaviour that this relies on, so that changes in other versions show.

use lookalike_index::{ErrorClass, Index, IndexRow, RowFilter};

use crate::{count_images, image_id, open_index, test_row};

const ROWS: u64 = 1500;

fn row_at(n: u64, generation: i64) -> IndexRow {
    let mut row = test_row(n);
    row.image.generation = generation;
    row
}

async fn insert_rows(index: &Index, rows: &[IndexRow]) {
    let rows: Vec<&IndexRow> = rows.iter().collect();
    index.insert_duplicates(&rows).await.unwrap();
}

async fn duplicate_ids(index: &Index) -> Vec<String> {
    let all: Vec<String> = (0..ROWS).map(image_id).collect();
    index.find_duplicate_ids(&all).await.unwrap()
}

#[tokio::test]
async fn duplicate_rows_are_found_and_an_upsert_removes_them() {
    let index = open_index("doubles").await;
    let rows: Vec<IndexRow> = (0..ROWS).map(|n| row_at(n, 5)).collect();
    index.upsert_rows(&rows).await.unwrap();
    index.collections().flush_in_service().await.unwrap();
    assert_eq!(duplicate_ids(&index).await, [""; 0]);

    // Older, newer and equal generations; in sealed and growing segments; up to three rows.
    insert_rows(
        &index,
        &[
            row_at(7, 3),
            row_at(8, 9),
            row_at(ROWS - 1, 5),
            row_at(700, 2),
        ],
    )
    .await;
    index.collections().flush_in_service().await.unwrap();
    insert_rows(&index, &[row_at(700, 2), row_at(0, 1)]).await;
    let wanted = [0, 7, 8, 700, ROWS - 1].map(image_id);
    assert_eq!(duplicate_ids(&index).await, wanted);
    let few = [image_id(6), image_id(7), image_id(9)];
    assert_eq!(index.find_duplicate_ids(&few).await.unwrap(), [image_id(7)]);
    assert_eq!(count_images(&index, &RowFilter::All).await.unwrap(), ROWS);
    assert_eq!(
        index.approximate_count(&RowFilter::All).await.unwrap(),
        ROWS + 6
    );

    // Every id is read at least once, with a page size that does not divide the rows evenly.
    let mut reader = index.row_reader(&RowFilter::All, 400).unwrap();
    let mut read = Vec::new();
    loop {
        let page = reader.next_page().await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.is_sorted_by(|a, b| a.id <= b.id));
        read.extend(page.into_iter().map(|key| key.id));
    }
    assert!(read.is_sorted());
    read.dedup();
    assert_eq!(read, (0..ROWS).map(image_id).collect::<Vec<_>>());

    // One upsert replaces all rows of the id, of all generations.
    let again: Vec<IndexRow> = [0, 7, 8, 700].map(|n| row_at(n, 10)).into();
    index.upsert_rows(&again).await.unwrap();
    assert_eq!(duplicate_ids(&index).await, [image_id(ROWS - 1)]);
    let keys = index
        .fetch_keys(&[image_id(700), image_id(0), image_id(ROWS + 5)])
        .await;
    let keys: Vec<_> = keys.unwrap().into_iter().collect();
    assert_eq!(
        keys.iter()
            .map(|key| (key.id.clone(), key.generation))
            .collect::<Vec<_>>(),
        [(image_id(0), 10), (image_id(700), 10)]
    );
    index.delete_ids(&[image_id(ROWS - 1)]).await.unwrap();
    assert_eq!(duplicate_ids(&index).await, [""; 0]);
    let left = index.approximate_count(&RowFilter::All);
    assert!(left.await.unwrap() >= ROWS - 1);
    assert_eq!(
        count_images(&index, &RowFilter::All).await.unwrap(),
        ROWS - 1
    );
}

/// A delete by generation removes all rows of the id if one of them is old enough, so the repair of a
/// duplicate id must write the row again.
#[tokio::test]
async fn a_delete_by_generation_removes_all_rows_of_an_id() {
    let index = open_index("doubles_delete").await;
    insert_rows(&index, &[row_at(1, 1), row_at(2, 1)]).await;
    insert_rows(&index, &[row_at(1, 5), row_at(2, 5)]).await;
    index
        .delete_up_to_generation(&[(image_id(1), 4)])
        .await
        .unwrap();
    let keys = index.fetch_keys(&[image_id(1), image_id(2)]).await.unwrap();
    assert_eq!(
        keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>(),
        [image_id(2)]
    );
    assert_eq!(
        index.find_duplicate_ids(&[image_id(2)]).await.unwrap(),
        [image_id(2)],
        "an id that was not named keeps its rows"
    );
}

/// Measures the time and memory that an audit needs to read many rows. Run it manually:
/// `LOOKALIKE_ROWS=100000 cargo test -p lookalike-index --test it many_keys -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn many_keys() {
    let rows: u64 = std::env::var("LOOKALIKE_ROWS").map_or(20_000, |rows| rows.parse().unwrap());
    let index = open_index("many_keys").await;
    let begun = std::time::Instant::now();
    for from in (0..rows).step_by(2000) {
        // Ids in random order, like generated ones.
        let part: Vec<IndexRow> = (from..rows.min(from + 2000))
            .map(|n| {
                let mut row = test_row(n);
                row.image.id = format!(
                    "{:032x}",
                    u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
                );
                row.image.path = format!("2024/holidays by the sea/{:03}/IMG_{n:08}.jpg", n / 1000);
                row
            })
            .collect();
        index.upsert_rows(&part).await.unwrap();
    }
    eprintln!("{rows} rows written in {:?}", begun.elapsed());
    index.collections().flush_in_service().await.unwrap();
    for page_rows in [1000, 4000, 8000] {
        let before = peak_memory();
        let begun = std::time::Instant::now();
        let mut reader = index.row_reader(&RowFilter::All, page_rows).unwrap();
        let mut retries = 0;
        let (mut read, mut window, mut counting) = (0, Vec::new(), std::time::Duration::ZERO);
        loop {
            // After so many writes the server is busy for a while.
            let page = loop {
                match reader.next_page().await {
                    Ok(page) => break page,
                    Err(error) => assert_eq!(error.class(), ErrorClass::Retry, "{error}"),
                }
                retries += 1;
            };
            let end = page.is_empty();
            read += page.len();
            window.extend(page.into_iter().map(|key| key.id));
            if end || window.len() >= 8192 {
                let counted = std::time::Instant::now();
                assert!(index.find_duplicate_ids(&window).await.unwrap().is_empty());
                counting += counted.elapsed();
                window.clear();
            }
            if end {
                break;
            }
        }
        assert_eq!(read as u64, rows);
        eprintln!(
            "pages of {page_rows}: {read} keys in {:?} ({retries} retries), of which counting {counting:?}; peak {} MiB before, {} MiB after",
            begun.elapsed(),
            before >> 10,
            peak_memory() >> 10
        );
    }
    let begun = std::time::Instant::now();
    index
        .approximate_count(&RowFilter::Library(vec!["shop".into()]))
        .await
        .unwrap();
    eprintln!("approximate count of a library in {:?}", begun.elapsed());
}

/// Peak memory of this process in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
