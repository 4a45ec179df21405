//! `search`: by a picture, an id, words, or several of them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cli::{Example, SearchArgs};
use crate::client::{self, Service};
use crate::failure::Failure;
use crate::named::is_id;
use crate::settings::Settings;
use crate::shown;

/// `search`.
///
/// # Errors
/// When nothing is looked for, a picture can't be read, or the service does not answer or refuses.
pub async fn search(settings: &Settings, args: &SearchArgs) -> Result<(), Failure> {
    if let Some(lacks) = args.lacks() {
        return Err(Failure::usage(lacks));
    }
    let service = Service::find(settings)?;
    let found = ask(&service, args).await?;
    if args.service.json {
        client::print_json(&found);
        return Ok(());
    }
    for line in said(&found) {
        println!("{}", shown::plain(&line));
    }
    Ok(())
}

/// One thing alone goes the way that is made for it; several go together.
async fn ask(service: &Service, args: &SearchArgs) -> Result<Value, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.library.clone().map(|library| ("library", library)));
    let is_alone = args.text.is_none() && args.positive.is_empty() && args.negative.is_empty();
    match (&args.image, &args.id) {
        (Some(path), None) if is_alone => {
            let path = path.as_path();
            let bytes = bytes(path).await?;
            service.post_bytes("/v1/search/image", &query, bytes).await
        }
        (None, Some(id)) if is_alone => {
            let path = format!("/v1/images/{id}/similar");
            service.get(&path, &query).await
        }
        _ => {
            let found = service.post("/v1/search", &question(args).await?).await;
            found.map_err(|failure| in_words_of(args, failure))
        }
    }
}

/// The service names a picture of a list by its place, and people by its file.
fn in_words_of(args: &SearchArgs, failure: Failure) -> Failure {
    let Failure::Failed(said) = failure else {
        return failure;
    };
    for (list, examples) in [("positive", &args.positive), ("negative", &args.negative)] {
        for (at, example) in examples.iter().enumerate() {
            if let Example::File(path) = example
                && let Some(rest) = said.strip_prefix(&format!("{list}[{at}].image: "))
            {
                return Failure::Failed(format!("{}: {rest}", path.display()));
            }
        }
    }
    Failure::Failed(said)
}

async fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|error| {
        let word = path.to_str().unwrap_or_default();
        let hint = match is_id(&word.to_ascii_lowercase()) {
            true => format!("; an id goes as --id {word}"),
            false => String::new(),
        };
        Failure::usage(format!("{} can't be read: {error}{hint}", path.display()))
    })
}

async fn base64(path: &Path) -> Result<String, Failure> {
    Ok(STANDARD.encode(bytes(path).await?))
}

/// The body of `POST /v1/search`.
async fn question(args: &SearchArgs) -> Result<Value, Failure> {
    let mut question = json!({ "limit": args.limit });
    if let Some(path) = &args.image {
        question["image"] = base64(path).await?.into();
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
                Example::Id(id) => json!({ "id": id }),
                Example::Text(text) => json!({ "text": text }),
                Example::File(path) => json!({ "image": base64(path).await? }),
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
fn words(band: &str) -> &str {
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
fn said(found: &Value) -> Vec<String> {
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
            Some(band) => format!("{:<14}  ", words(band)),
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

    fn hit(score: f64, band: Option<&str>) -> Value {
        json!({ "score": score, "band": band, "library": "shop", "path": "a.jpg", "id": "3ac9" })
    }

    #[test]
    fn an_answer_says_what_its_scores_mean() {
        let with_bands = json!({ "band": "same_picture",
            "hits": [hit(0.9996, Some("same_picture")), hit(0.4, Some("no_match"))] });
        assert_eq!(
            said(&with_bands),
            [
                "1.000  same picture    shop/a.jpg  3ac9",
                "0.400  no good match   shop/a.jpg  3ac9"
            ]
        );
        let without = json!({ "band": null, "hits": [hit(0.5, None)] });
        assert_eq!(said(&without), ["0.500  shop/a.jpg  3ac9"]);
        let nothing = json!({ "band": "no_match", "hits": [hit(0.4, Some("no_match"))] });
        assert_eq!(
            said(&nothing)[0],
            "nothing here looks much like it; nearest:"
        );
        let empty = json!({ "band": "no_match", "hits": [] });
        assert_eq!(said(&empty), ["nothing is indexed yet that could match"]);
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
            positive: vec![Example::Id("3ac9".into())],
            negative: vec![Example::Text("blue".into()), Example::File(file.clone())],
            limit: 3,
            library: Some("shop".into()),
        };
        let expected = json!({
            "image": "+/8=", "text": "red", "limit": 3, "filter": { "library": "shop" },
            "positive": [{ "id": "3ac9" }], "negative": [{ "text": "blue" }, { "image": "+/8=" }],
        });
        assert_eq!(question(&args).await.unwrap(), expected);
        let refused = |said: &str| in_words_of(&args, Failure::failed(said)).to_string();
        assert_eq!(
            refused("negative[1].image: the file is not an image"),
            format!("{}: the file is not an image", file.display())
        );
        assert_eq!(refused("no image"), "no image");
        let gone = SearchArgs {
            image: Some(dir.path().join("gone.jpg")),
            ..args
        };
        let said = question(&gone).await.unwrap_err().to_string();
        assert!(said.contains("gone.jpg can't be read"), "{said}");
    }
}
