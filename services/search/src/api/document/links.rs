//! Links: which field of a response is a parameter of another operation.

use serde_json::{Value, json};

use super::walk::operations_mut;

/// A link from the response 200 of operations, and from 202 if they have it.
struct Link {
    from: &'static [&'static str],
    name: &'static str,
    to: &'static str,
    parameter: &'static str,
    /// A JSON pointer into the response.
    field: &'static str,
}

const SEARCHES: &[&str] = &["search", "searchByImage", "similarImages"];
const LIST: &[&str] = &["listImages"];
const DUPLICATES: &[&str] = &["findDuplicates"];
const COMPARISON: &[&str] = &["compareImages"];
const IMAGE: &[&str] = &["getImage"];
const FAILURES: &[&str] = &["listFailures"];
const HISTORY: &[&str] = &["explainFile"];
const SAVED: &[&str] = &["listSavedSearches"];
const UPLOAD: &[&str] = &["uploadImage"];
const LIBRARIES: &[&str] = &["listLibraries", "getStats"];

const LINKS: &[Link] = &[
    link(SEARCHES, "firstHit", "getImage", "id", "/hits/0/id"),
    link(
        SEARCHES,
        "similarToFirstHit",
        "similarImages",
        "id",
        "/hits/0/id",
    ),
    link(
        SEARCHES,
        "contentOfFirstHit",
        "getContent",
        "id",
        "/hits/0/id",
    ),
    link(
        SEARCHES,
        "thumbnailOfFirstHit",
        "getThumbnail",
        "id",
        "/hits/0/id",
    ),
    link(
        &["similarImages"],
        "nextPage",
        "similarImages",
        "cursor",
        "/cursor",
    ),
    link(
        &["searchByImage"],
        "nextPage",
        "searchByImage",
        "cursor",
        "/cursor",
    ),
    link(LIST, "nextPage", "listImages", "cursor", "/cursor"),
    link(LIST, "firstImage", "getImage", "id", "/images/0/id"),
    link(
        LIST,
        "similarToFirst",
        "similarImages",
        "id",
        "/images/0/id",
    ),
    link(LIST, "contentOfFirst", "getContent", "id", "/images/0/id"),
    link(
        LIST,
        "thumbnailOfFirst",
        "getThumbnail",
        "id",
        "/images/0/id",
    ),
    link(
        DUPLICATES,
        "nextPage",
        "findDuplicates",
        "cursor",
        "/cursor",
    ),
    link(
        DUPLICATES,
        "firstImage",
        "getImage",
        "id",
        "/groups/0/images/0/id",
    ),
    link(IMAGE, "compare", "compareImages", "a", "/id"),
    link(COMPARISON, "first", "getImage", "id", "/a/id"),
    link(COMPARISON, "second", "getImage", "id", "/b/id"),
    link(IMAGE, "similarImages", "similarImages", "id", "/id"),
    link(IMAGE, "content", "getContent", "id", "/id"),
    link(IMAGE, "thumbnail", "getThumbnail", "id", "/id"),
    link(IMAGE, "history", "explainFile", "id", "/id"),
    link(FAILURES, "nextPage", "listFailures", "cursor", "/cursor"),
    link(
        FAILURES,
        "historyOfFirst",
        "explainFile",
        "id",
        "/failures/0/id",
    ),
    link(
        FAILURES,
        "previewOfFirst",
        "previewFailure",
        "id",
        "/failures/0/id",
    ),
    link(
        SAVED,
        "firstSavedSearch",
        "getSavedSearch",
        "id",
        "/saved_searches/0/id",
    ),
    link(
        SAVED,
        "deleteFirst",
        "deleteSavedSearch",
        "id",
        "/saved_searches/0/id",
    ),
    link(
        SAVED,
        "matchesOfFirst",
        "listMatches",
        "id",
        "/saved_searches/0/id",
    ),
    link(HISTORY, "image", "getImage", "id", "/id"),
    link(IMAGE, "remove", "removeImage", "id", "/id"),
    link(UPLOAD, "state", "getUpload", "id", "/id"),
    link(&["getUpload"], "image", "getImage", "id", "/image_id"),
    link(
        LIBRARIES,
        "scanFirst",
        "scanLibrary",
        "name",
        "/libraries/0/name",
    ),
    link(
        LIBRARIES,
        "confirmFirst",
        "confirmLibrary",
        "name",
        "/libraries/0/name",
    ),
    link(
        LIBRARIES,
        "imagesOfFirst",
        "listImages",
        "library",
        "/libraries/0/name",
    ),
    link(
        LIBRARIES,
        "failuresOfFirst",
        "listFailures",
        "library",
        "/libraries/0/name",
    ),
];

const fn link(
    from: &'static [&'static str],
    name: &'static str,
    to: &'static str,
    parameter: &'static str,
    field: &'static str,
) -> Link {
    Link {
        from,
        name,
        to,
        parameter,
        field,
    }
}

pub(super) fn add_links(document: &mut Value) {
    for operation in operations_mut(document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let id = id.to_owned();
        for link in LINKS.iter().filter(|link| link.from.contains(&id.as_str())) {
            let link_object = json!({
                "operationId": link.to,
                "parameters": { (link.parameter): format!("$response.body#{}", link.field) },
            });
            for status in ["200", "202"] {
                if let Some(response) = operation["responses"].get_mut(status) {
                    response["links"][link.name] = link_object.clone();
                }
            }
        }
    }
}
