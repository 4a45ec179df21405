//! Saved searches after a change of the model.

use serde_json::{Value, json};

use super::{other_model, other_name};
use crate::harness::{SETTLE_TIMEOUT, SystemWorld, eventually, jpeg_variant, sample_pictures};

#[tokio::test]
async fn saved_searches_compare_with_the_model_in_service() {
    let mut world = SystemWorld::with_up("saved-rollover").await;
    let picture = std::fs::read(&sample_pictures()[0]).unwrap();
    world.copy_file(&sample_pictures()[0], "before.jpg");
    world.copy_file(&sample_pictures()[1], "other.jpg");
    world.wait_until_settled().await;
    let query = json!({ "id": world.read_row_at("before.jpg").await.id });
    let id_of = |search: Value| search["id"].as_str().unwrap().to_owned();
    // Of the uploaded picture, a small copy is stored: its vector is nearly that of the picture.
    let by_image = world.save_search(&picture, json!({ "min_score": 0.9 }));
    let by_image = id_of(by_image.await);
    let by_id = world.save_search(&picture, json!({ "query": query, "min_score": 0.99 }));
    let by_id = id_of(by_id.await);
    let by_band = json!({ "query": query, "min_score": null, "band": "near_duplicate" });
    let by_band = id_of(world.save_search(&picture, by_band).await);

    let model = other_model().display().to_string();
    world.roll_over_to(&[&model]).await;
    world.wait_until_served(&other_name()).await;
    let copy = world.photos.join("copy.jpg");
    std::fs::write(copy, jpeg_variant(&picture, 1)).unwrap();
    world.wait_for_matches(&by_image, &["copy.jpg"]).await;
    world.wait_for_matches(&by_id, &["copy.jpg"]).await;
    // The other model has no bands.
    eventually("the service reports why", SETTLE_TIMEOUT, || async {
        let path = format!("/v1/saved-searches/{by_band}");
        let search = world.try_get(&path).await?;
        match search["problem"].as_str() {
            Some(problem) if problem.contains("no bands") => Ok(()),
            _ => Err(search.to_string()),
        }
    })
    .await;
    // Later starts use the stored vectors.
    world.stop_up().await;
    world.start_up().await;
    let copy = world.photos.join("later.jpg");
    std::fs::write(copy, jpeg_variant(&picture, 2)).unwrap();
    let expected = ["copy.jpg", "later.jpg"];
    world.wait_for_matches(&by_image, &expected).await;
    world.wait_for_matches(&by_id, &expected).await;
    world.stop_up().await;
}
