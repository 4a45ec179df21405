//! Texts that try to break out of an expression.

use lookalike_index::{IndexRow, ReadConsistency, RowFilter, SearchQuery};

use crate::{count_images, image_id, open_index, test_row, unit_vector};

const HOSTILE: &[&str] = &[
    "a\"b\\c' or 1==1",
    "\" or id != \"",
    "line\nfeed",
    "carriage\rreturn\tand tab",
    "emoji 😀/é/日本語",
    "e\u{301} is not é",
    "100%_x",
    "100a_x",
    "100%bx",
    "back\\%slash\\",
    "\\",
    "\"",
    "'",
    "\u{1}\u{1f}\u{7f}",
    "\u{2028}\u{feff}",
    "{template} $meta[\"a\"]",
    "0x\\x41\\u0041\\n",
    "nul\0l",
    " ",
    "//* comment */ #",
];

#[tokio::test]
async fn hostile_texts_stay_texts() {
    let index = open_index("hostile").await;
    let rows: Vec<IndexRow> = HOSTILE
        .iter()
        .enumerate()
        .map(|(n, text)| {
            let mut row = test_row(n as u64);
            row.image.path = (*text).into();
            row.image.library = (*text).into();
            row.image.camera = (*text).into();
            row.image.content_hash = (*text).into();
            row.image.format = (*text).into();
            row.image.tags = vec![(*text).into()];
            row.image.colors = vec![(*text).into()];
            row
        })
        .collect();
    index.upsert_rows(&rows).await.unwrap();

    for (n, text) in HOSTILE.iter().enumerate() {
        let one = vec![(*text).to_owned()];
        let two = vec![(*text).to_owned(), "nothing like it".to_owned()];
        for filter in [
            RowFilter::Library(one.clone()),
            RowFilter::Library(two.clone()),
            RowFilter::Path(one.clone()),
            RowFilter::Path(two),
            RowFilter::Camera(one.clone()),
            RowFilter::ContentHash(one.clone()),
            RowFilter::Format(one.clone()),
            RowFilter::AnyTag(one.clone()),
            RowFilter::AllTags(one.clone()),
            RowFilter::AnyColor(one.clone()),
        ] {
            let found = index
                .list_images(&filter, None, 100, ReadConsistency::Strong)
                .await
                .unwrap();
            assert_eq!(found, [rows[n].image.clone()], "{filter:?}");
        }
        let prefixed: Vec<String> = (0..HOSTILE.len())
            .filter(|m| HOSTILE[*m].starts_with(text))
            .map(|m| image_id(m as u64))
            .collect();
        let found = index
            .list_images(
                &RowFilter::PathPrefix((*text).into()),
                None,
                100,
                ReadConsistency::Strong,
            )
            .await
            .unwrap();
        let found: Vec<String> = found.into_iter().map(|image| image.id).collect();
        assert_eq!(found, prefixed, "prefix {text:?}");

        let query = SearchQuery {
            filter: RowFilter::Library(one),
            consistency: ReadConsistency::Strong,
            ..SearchQuery::default()
        };
        let hits = index
            .search_by_vector(&unit_vector(0), &query)
            .await
            .unwrap();
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].image, rows[n].image);
    }
    // `%` and `_` are ordinary characters.
    let found = index
        .list_images(
            &RowFilter::PathPrefix("100%".into()),
            None,
            100,
            ReadConsistency::Strong,
        )
        .await
        .unwrap();
    assert_eq!(found.len(), 2);

    // Ids also come from clients.
    let ids: Vec<String> = HOSTILE.iter().map(|t| (*t).to_owned()).collect();
    assert!(
        index
            .fetch_images(&ids, ReadConsistency::Strong)
            .await
            .unwrap()
            .is_empty()
    );
    for text in HOSTILE {
        let none = index
            .fetch_vector(text, ReadConsistency::Bounded)
            .await
            .unwrap();
        assert_eq!(none, None);
        index
            .list_images(&RowFilter::All, Some(text), 10, ReadConsistency::Bounded)
            .await
            .unwrap();
        index
            .delete_up_to_generation(&[((*text).into(), i64::MAX)])
            .await
            .unwrap();
    }
    index.delete_ids(&ids).await.unwrap();
    assert_eq!(
        count_images(&index, &RowFilter::All).await.unwrap(),
        HOSTILE.len() as u64,
        "a hostile id deletes nothing"
    );
}
