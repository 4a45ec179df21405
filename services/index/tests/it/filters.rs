//! Negations, absent values, and filters of the largest size that clients may send.

use lookalike_index::{
    FacetColumn, FacetRow, Index, IndexRow, ReadConsistency, RowFilter, SearchQuery, ValueRange,
};

use crate::{image_id, open_index, test_row, unit_vector};

const STRONG: ReadConsistency = ReadConsistency::Strong;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn not(filter: RowFilter) -> RowFilter {
    RowFilter::Not(Box::new(filter))
}

/// Eight rows; each attribute is absent from one of them.
async fn open_filled_index(test: &str) -> (Index, Vec<IndexRow>) {
    let index = open_index(test).await;
    let rows: Vec<IndexRow> = (0..8)
        .map(|n| {
            let mut row = test_row(n);
            let image = &mut row.image;
            image.path = format!("{}/{n}.jpg", if n < 4 { "shoes" } else { "hats" });
            image.width = n as i32 * 100;
            image.taken_at = (n != 1).then_some((n as i64 - 4) * 1_000 + 1);
            image.camera = match n {
                2 => String::new(),
                3 => "Canon\" or 1 == 1".into(),
                n if n % 2 == 0 => "Canon EOS R5".into(),
                _ => "NIKON Z 6".into(),
            };
            image.tags = match n {
                3 => vec![],
                4 => texts(&["a", "b\\\"]"]),
                _ => texts(&["a"]),
            };
            image.colors = match n {
                4 => vec![],
                5 => texts(&["red", "blue", "white"]),
                _ => texts(&["red"]),
            };
            row
        })
        .collect();
    index.upsert_rows(&rows).await.unwrap();
    (index, rows)
}

async fn check_filter(index: &Index, filter: RowFilter, expected: &[u64]) {
    let expected: Vec<String> = expected.iter().copied().map(image_id).collect();
    let listed = index.list_images(&filter, None, 100, STRONG).await.unwrap();
    let listed: Vec<String> = listed.into_iter().map(|image| image.id).collect();
    assert_eq!(listed, expected, "{filter:?}");
    let query = SearchQuery {
        limit: 100,
        filter: filter.clone(),
        consistency: STRONG,
        ..SearchQuery::default()
    };
    let hits = index
        .search_by_vector(&unit_vector(1), &query)
        .await
        .unwrap();
    let mut hits: Vec<String> = hits.into_iter().map(|hit| hit.image.id).collect();
    hits.sort();
    assert_eq!(hits, expected, "{filter:?}");
}

#[tokio::test]
async fn a_negation_selects_the_other_rows() {
    let (index, _) = open_filled_index("negations").await;
    let wide = RowFilter::Width(ValueRange {
        at_least: Some(300),
        at_most: Some(600),
    });
    let early = RowFilter::TakenAt(ValueRange {
        at_least: None,
        at_most: Some(0),
    });
    for (filter, expected) in [
        (not(RowFilter::All), &[][..]),
        (not(not(RowFilter::All)), &[0, 1, 2, 3, 4, 5, 6, 7]),
        (not(wide.clone()), &[0, 1, 2, 7]),
        (not(not(wide.clone())), &[3, 4, 5, 6]),
        (early.clone(), &[0, 2, 3]),
        // Also what has no time.
        (not(early.clone()), &[1, 4, 5, 6, 7]),
        (not(RowFilter::PathPrefix("shoes/".into())), &[4, 5, 6, 7]),
        (not(RowFilter::AnyTag(texts(&["a"]))), &[3]),
        (
            not(RowFilter::AllTags(texts(&["a", "b\\\"]"]))),
            &[0, 1, 2, 3, 5, 6, 7],
        ),
        (RowFilter::HasTags, &[0, 1, 2, 4, 5, 6, 7]),
        (not(RowFilter::HasTags), &[3]),
        (not(RowFilter::HasColors), &[4]),
        (RowFilter::AllColors(texts(&["blue", "red"])), &[5]),
        (not(RowFilter::HasCamera), &[2]),
        (not(RowFilter::HasTakenAt), &[1]),
        (RowFilter::CameraPrefix("Canon".into()), &[0, 3, 4, 6]),
        (RowFilter::CameraPrefix("Canon\" or".into()), &[3]),
        (RowFilter::Camera(texts(&["Canon\" or 1 == 1"])), &[3]),
        (
            RowFilter::And(vec![
                wide.clone(),
                not(RowFilter::Or(vec![
                    early,
                    RowFilter::AnyColor(texts(&["blue"])),
                ])),
            ]),
            &[4, 6],
        ),
    ] {
        check_filter(&index, filter, expected).await;
    }
}

/// The server must not refuse what the API accepts.
#[tokio::test]
async fn the_largest_filters_are_answered() {
    let (index, _) = open_filled_index("largest").await;
    for count in [64_i64, 128, 256] {
        let widths = (0..count).map(|width| {
            RowFilter::Width(ValueRange {
                at_least: Some(width * 100),
                at_most: Some(width * 100 + 1),
            })
        });
        check_filter(
            &index,
            RowFilter::Or(widths.clone().collect()),
            &[0, 1, 2, 3, 4, 5, 6, 7],
        )
        .await;
        check_filter(&index, RowFilter::And(widths.map(not).collect()), &[]).await;
    }
    let mut deep = RowFilter::Format(texts(&["jpeg"]));
    for level in 0..7 {
        let other = RowFilter::AnyTag(texts(&["none"]));
        deep = match level % 2 {
            0 => not(RowFilter::And(vec![deep, not(other)])),
            _ => not(RowFilter::Or(vec![other, deep])),
        };
    }
    let started = std::time::Instant::now();
    // An odd number of negations.
    check_filter(&index, deep, &[]).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

#[tokio::test]
async fn single_columns_of_all_rows_are_read() {
    let (index, rows) = open_filled_index("facets").await;
    // Bounded reads may miss the newest writes.
    index
        .list_images(&RowFilter::All, None, 1, STRONG)
        .await
        .unwrap();
    let columns = [
        FacetColumn::Library,
        FacetColumn::Path,
        FacetColumn::Format,
        FacetColumn::TakenAt,
        FacetColumn::Camera,
        FacetColumn::Tags,
        FacetColumn::Colors,
    ];
    let mut read: Vec<FacetRow> = Vec::new();
    loop {
        let after = read.last().map(|row| row.id.clone());
        let page = index
            .facet_rows(&RowFilter::All, &columns, after.as_deref(), 3)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    let expected: Vec<FacetRow> = rows
        .into_iter()
        .map(|row| FacetRow {
            id: row.image.id,
            library: row.image.library,
            path: row.image.path,
            format: row.image.format,
            taken_at: row.image.taken_at,
            camera: row.image.camera,
            tags: row.image.tags,
            colors: row.image.colors,
        })
        .collect();
    assert_eq!(read, expected);
    let some = index
        .facet_rows(
            &RowFilter::Id(vec![image_id(4)]),
            &[FacetColumn::Tags],
            None,
            9,
        )
        .await
        .unwrap();
    assert_eq!(some[0].tags, texts(&["a", "b\\\"]"]));
    assert_eq!(some[0].path, "");
}
