//! `run_search`: by a picture, an id, words, or several of them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cli::{SearchArgs, SearchExample};
use crate::client::{self, ServiceClient};
use crate::failure::Failure;
use crate::named::looks_like_image_id;
use crate::settings::Settings;
use crate::shown;

/// `run_search`.
///
/// # Errors
/// When nothing is looked for, a picture can't be read, or the service does not answer or refuses.
pub async fn run_search(settings: &Settings, args: &SearchArgs) -> Result<(), Failure> {
    if let Some(lacks) = args.missing_query() {
        return Err(Failure::usage(lacks));
    }
    let service = ServiceClient::from_settings(settings)?;
    let found = send_search(&service, args).await?;
    if args.service.json {
        client::print_json(&found);
        return Ok(());
    }
    for line in format_answer(&found) {
        println!("{}", shown::escape_line(&line));
    }
    Ok(())
}

/// One thing alone goes the way that is made for it; several go together.
async fn send_search(service: &ServiceClient, args: &SearchArgs) -> Result<Value, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.library.clone().map(|library| ("library", library)));
    let is_alone = args.text.is_none() && args.positive.is_empty() && args.negative.is_empty();
    match (&args.image, &args.id) {
        (Some(path), None) if is_alone => {
            let path = path.as_path();
            let bytes = read_picture(path).await?;
            service.post_bytes("/v1/search/image", &query, bytes).await
        }
        (None, Some(id)) if is_alone => {
            let path = format!("/v1/images/{id}/similar");
            service.get_json(&path, &query).await
        }
        _ => {
            let found = service
                .post_json("/v1/search", &build_request(args).await?)
                .await;
            found.map_err(|failure| name_file_in_error(args, failure))
        }
    }
}

/// The service names a picture of a list by its place, and people by its file.
fn name_file_in_error(args: &SearchArgs, failure: Failure) -> Failure {
    let Failure::Failed(said) = failure else {
        return failure;
    };
    for (list, examples) in [("positive", &args.positive), ("negative", &args.negative)] {
        for (at, example) in examples.iter().enumerate() {
            if let SearchExample::File(path) = example
                && let Some(rest) = said.strip_prefix(&format!("{list}[{at}].image: "))
            {
                return Failure::Failed(format!("{}: {rest}", path.display()));
            }
        }
    }
    Failure::Failed(said)
}

async fn read_picture(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|error| {
        let word = path.to_str().unwrap_or_default();
        let hint = match looks_like_image_id(&word.to_ascii_lowercase()) {
            true => format!("; an id goes as --id {word}"),
            false => String::new(),
        };
        Failure::usage(format!("{} can't be read: {error}{hint}", path.display()))
    })
}

async fn read_base64(path: &Path) -> Result<String, Failure> {
    Ok(STANDARD.encode(read_picture(path).await?))
}

/// The body of `POST /v1/search`.
async fn build_request(args: &SearchArgs) -> Result<Value, Failure> {
    let mut question = json!({ "limit": args.limit });
    if let Some(path) = &args.image {
        question["image"] = read_base64(path).await?.into();
    }
    for (name, value) in [("id", &args.id), ("text", &args.text)] {
        if let Some(value) = value {
            question[name] = value.clone().into();
        }
    }
    for (name, examples) in [("positive", &args.positive), ("negative", &args.negative)] {
        let mut parts = Vec::with_capacity(examples.len());
        for example in examples {
            parts.push(match example {
                SearchExample::Id(id) => json!({ "id": id }),
                SearchExample::Text(text) => json!({ "text": text }),
                SearchExample::File(path) => json!({ "image": read_base64(path).await? }),
            });
        }
        if !parts.is_empty() {
            question[name] = parts.into();
        }
    }
    if let Some(library) = &args.library {
        question["filter"] = json!({ "library": library });
    }
    Ok(question)
}

/// What a band is called.
fn describe_band(band: &str) -> &str {
    match band {
        "same_picture" => "same picture",
        "near_duplicate" => "near-duplicate",
        "very_similar" => "very similar",
        "similar" => "similar",
        "no_match" => "no good match",
        other => other,
    }
}

/// The answer, line by line.
fn format_answer(found: &Value) -> Vec<String> {
    let no_hits = Vec::new();
    let hits = found["hits"].as_array().unwrap_or(&no_hits);
    if hits.is_empty() {
        return vec!["nothing is indexed yet that could match".to_owned()];
    }
    let mut lines = Vec::with_capacity(hits.len() + 1);
    if found["band"] == "no_match" {
        lines.push("nothing here looks much like it; nearest:".to_owned());
    }
    for hit in hits {
        let text = |key: &str| hit[key].as_str().unwrap_or("?");
        let band = match hit["band"].as_str() {
            Some(band) => format!("{:<14}  ", describe_band(band)),
            None => String::new(),
        };
        lines.push(format!(
            "{:.3}  {band}{}/{}  {}",
            hit["score"].as_f64().unwrap_or(0.0),
            text("library"),
            text("path"),
            text("id"),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_hit(score: f64, band: Option<&str>) -> Value {
        json!({ "score": score, "band": band, "library": "shop", "path": "a.jpg", "id": "3ac9" })
    }

    #[test]
    fn an_answer_says_what_its_scores_mean() {
        let with_bands = json!({ "band": "same_picture",
            "hits": [make_hit(0.9996, Some("same_picture")), make_hit(0.4, Some("no_match"))] });
        assert_eq!(
            format_answer(&with_bands),
            [
                "1.000  same picture    shop/a.jpg  3ac9",
                "0.400  no good match   shop/a.jpg  3ac9"
            ]
        );
        let without = json!({ "band": null, "hits": [make_hit(0.5, None)] });
        assert_eq!(format_answer(&without), ["0.500  shop/a.jpg  3ac9"]);
        let nothing = json!({ "band": "no_match", "hits": [make_hit(0.4, Some("no_match"))] });
        assert_eq!(
            format_answer(&nothing)[0],
            "nothing here looks much like it; nearest:"
        );
        let empty = json!({ "band": "no_match", "hits": [] });
        assert_eq!(
            format_answer(&empty),
            ["nothing is indexed yet that could match"]
        );
    }

    #[tokio::test]
    async fn a_question_has_all_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.jpg");
        std::fs::write(&file, [0xfb, 0xff]).unwrap();
        let args = SearchArgs {
            service: crate::cli::ServiceArgs {
                url: None,
                data_dir: None,
                json: false,
            },
            image: Some(file.clone()),
            id: None,
            text: Some("red".into()),
            positive: vec![SearchExample::Id("3ac9".into())],
            negative: vec![
                SearchExample::Text("blue".into()),
                SearchExample::File(file.clone()),
            ],
            limit: 3,
            library: Some("shop".into()),
        };
        let expected = json!({
            "image": "+/8=", "text": "red", "limit": 3, "filter": { "library": "shop" },
            "positive": [{ "id": "3ac9" }], "negative": [{ "text": "blue" }, { "image": "+/8=" }],
        });
        assert_eq!(build_request(&args).await.unwrap(), expected);
        let refused = |said: &str| name_file_in_error(&args, Failure::failed(said)).to_string();
        assert_eq!(
            refused("negative[1].image: the file is not an image"),
            format!("{}: the file is not an image", file.display())
        );
        assert_eq!(refused("no image"), "no image");
        let gone = SearchArgs {
            image: Some(dir.path().join("gone.jpg")),
            ..args
        };
        let said = build_request(&gone).await.unwrap_err().to_string();
        assert!(said.contains("gone.jpg can't be read"), "{said}");
    }
}
