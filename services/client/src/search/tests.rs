use clap::Parser;

use super::output::{format_hit, format_remarks};
use super::*;

fn make_hit(score: f64, band: Option<&str>) -> Value {
    json!({ "score": score, "band": band, "library": "shop", "path": "a.jpg", "id": "3ac9" })
}

fn format_answer(answer: &Value) -> Vec<String> {
    let remarks = format_remarks(answer).into_iter().map(str::to_owned);
    let hits = answer["hits"].as_array().into_iter().flatten();
    remarks
        .chain(hits.map(|hit| format_hit(hit, None)))
        .collect()
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
    let without_bands = json!({ "band": null, "hits": [make_hit(0.5, None)] });
    assert_eq!(format_answer(&without_bands), ["0.500  shop/a.jpg  3ac9"]);
    let no_match = json!({ "band": "no_match", "hits": [make_hit(0.4, Some("no_match"))] });
    assert_eq!(
        format_answer(&no_match)[0],
        "nothing here looks much like it; nearest:"
    );
    let empty = json!({ "band": "no_match", "hits": [] });
    assert_eq!(format_answer(&empty), ["no indexed picture can match yet"]);
}

#[test]
fn pages_are_joined() {
    let mut joined = Value::Null;
    let first = make_hit(0.9, Some("similar"));
    let mut second = make_hit(0.1, Some("turned_copy"));
    second["folded"] = json!({ "count": 3, "ids": [] });
    let page = |hit: &Value, cursor: Option<&str>| json!({ "hits": [hit], "band": hit["band"], "cursor": cursor, "took_ms": 1.3 });
    join_page(&mut joined, page(&first, Some("next")));
    assert_eq!(joined, page(&first, Some("next")));
    join_page(&mut joined, page(&second, None));
    let expected = json!({
        "hits": [first, second], "band": "turned_copy", "cursor": null, "took_ms": 2.6,
    });
    assert_eq!(joined, expected);
    let lines = format_answer(&joined);
    assert!(
        lines[1].ends_with("3ac9  (+3 of the same picture)"),
        "{lines:?}"
    );
    // A page without hits changes nothing.
    let empty = json!({ "hits": [], "band": "no_match", "cursor": null, "took_ms": 0.0 });
    join_page(&mut joined, empty);
    assert_eq!(joined, expected);
}

#[tokio::test]
async fn a_request_has_all_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.jpg");
    std::fs::write(&file, [0xfb, 0xff]).unwrap();
    let args = SearchArgs {
        service: ServiceArgs {
            url: None,
            data_dir: None,
            json: false,
        },
        output: SearchOutputArgs::default(),
        image: Some(file.clone()),
        id: None,
        text: Some("red".into()),
        positive: vec![SearchExample::Id("3ac9".into())],
        negative: vec![
            SearchExample::Text("blue".into()),
            SearchExample::File(file.clone()),
        ],
        limit: 3,
        relative_score: Some(0.5),
        group: Some(HitGroupArg::Near),
        region: Some(PictureRegionArg([0.25, 0.0, 0.5, 1.0])),
        orientations: false,
        library: Some("shop".into()),
        filter: Some(json!({ "tags": "beach" })),
    };
    let expected = json!({
        "image": "+/8=", "text": "red", "relative_score": 0.5, "group": "near",
        "region": { "x": 0.25, "y": 0.0, "width": 0.5, "height": 1.0 },
        "filter": { "library": "shop", "and": [{ "tags": "beach" }] },
        "positive": [{ "id": "3ac9" }], "negative": [{ "text": "blue" }, { "image": "+/8=" }],
    });
    assert_eq!(build_request(&args).await.unwrap(), expected);
    let params = list_params(&args);
    let expected = [
        ("library", "shop"),
        ("filter", r#"{"tags":"beach"}"#),
        ("relative_score", "0.5"),
        ("group", "near"),
        ("region", "0.25,0,0.5,1"),
    ];
    assert_eq!(
        params,
        expected.map(|(name, value)| (name, value.to_owned()))
    );
    let rewritten = |message: &'static str| name_file_in_error(&args, anyhow!(message)).to_string();
    assert_eq!(
        rewritten("negative[1].image: the file is not an image"),
        format!("{}: the file is not an image", file.display())
    );
    assert_eq!(rewritten("no image"), "no image");
    let missing_file = SearchArgs {
        image: Some(dir.path().join("gone.jpg")),
        ..args
    };
    let message = build_request(&missing_file).await.unwrap_err().to_string();
    assert!(
        message.starts_with("cannot read") && message.contains("gone.jpg"),
        "{message}"
    );
}

#[derive(Debug, Parser)]
struct TestCommandLine {
    #[command(flatten)]
    search: SearchArgs,
}

#[test]
fn a_query_is_required() {
    let parse = |words: &[&str]| {
        TestCommandLine::try_parse_from(["search"].iter().chain(words)).map(|parsed| parsed.search)
    };
    let id = "9f8a41c25d7e03b6f4a1c2d3e4f50617";
    for words in [&[][..], &["--limit", "3"]] {
        let message = parse(words).unwrap().missing_query().unwrap();
        assert!(message.starts_with("nothing to search for"), "{message}");
    }
    let message = parse(&["--negative", "a.jpg"])
        .unwrap()
        .missing_query()
        .unwrap();
    assert!(message.starts_with("--negative alone"), "{message}");
    for (words, part) in [
        (
            &["--text", "red", "--region", "0,0,1,1"][..],
            "--region needs",
        ),
        (
            &["a.jpg", "--id", id, "--region", "0,0,1,1"],
            "--region needs",
        ),
        (
            &["a.jpg", "--text", "red", "--orientations"],
            "--orientations needs",
        ),
        (
            &["--positive", id, "--orientations"],
            "--orientations needs",
        ),
        (
            &["a.jpg", "--id", id, "--orientations"],
            "--orientations needs",
        ),
    ] {
        let message = parse(words).unwrap().missing_query().unwrap();
        assert!(message.starts_with(part), "{message}");
    }
    for (words, part) in [
        (&["--positive", ""][..], "give an id"),
        (&["--id", "a.jpg"], "an id has 32"),
        (&["a.jpg", "--filter", "{format: jpeg}"], "this is not JSON"),
        (&["a.jpg", "--filter", "[]"], "a filter is an object"),
        (&["a.jpg", "--relative-score", "1.1"], "from 0 to 1"),
        (&["a.jpg", "--relative-score", "NaN"], "from 0 to 1"),
        (&["a.jpg", "--group", "all"], "content, near"),
        (&["a.jpg", "--region", "0,0,1"], "four fractions"),
        (&["a.jpg", "--region", "0,0,0,1"], "four fractions"),
        (&["a.jpg", "--region", "1,0,1,1"], "four fractions"),
        (&["a.jpg", "--region", "0,0,inf,NaN"], "four fractions"),
        (&["a.jpg", "--limit", "16385"], "16384"),
    ] {
        let message = parse(words).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    for words in [
        &["a.jpg"][..],
        &["--id", id],
        &["--text", "red"],
        &["--positive", "a.jpg"],
        &[
            "a.jpg",
            "--orientations",
            "--region",
            "0.5,0,0.5,1",
            "--limit",
            "5000",
        ],
        &["a.jpg", "--text", "red", "--id", id],
    ] {
        assert_eq!(parse(words).unwrap().missing_query(), None, "{words:?}");
    }
    let filter = r#"{"width": {"gte": 1000}}"#;
    let args = parse(&["a.jpg", "--filter", filter]).unwrap();
    assert_eq!(args.filter, Some(json!({ "width": { "gte": 1000 } })));
    let upper = id.to_ascii_uppercase();
    let args = parse(&["--id", &upper, "--positive", &upper]).unwrap();
    assert_eq!(args.id.as_deref(), Some(id));
    assert_eq!(args.positive, [SearchExample::Id(id.into())]);
    let args = parse(&[
        "--positive",
        id,
        "--positive",
        "text:a red chair",
        "--negative",
        "b.jpg",
    ]);
    let args = args.unwrap();
    let text = SearchExample::Text("a red chair".into());
    assert_eq!(args.positive, [SearchExample::Id(id.into()), text]);
    assert_eq!(args.negative, [SearchExample::File("b.jpg".into())]);
}

#[test]
fn the_page_gets_the_parts_that_it_can_show() {
    let id = "9f8a41c25d7e03b6f4a1c2d3e4f50617";
    let best = "3ac9aecf0ebba98faed9a9884f264d9d";
    let fragment = |words: &[&str]| {
        let words = ["search"].iter().chain(words);
        page_fragment(&TestCommandLine::parse_from(words).search, Some(best))
    };
    assert_eq!(fragment(&["--id", id]), (format!("/like/{id}"), true));
    assert_eq!(fragment(&["a.jpg"]), (format!("/like/{best}"), false));
    assert_eq!(
        fragment(&["--text", "a red & blue", "--negative", id]),
        (format!("/find?text=a+red+%26+blue&less={id}"), true)
    );
    assert_eq!(
        fragment(&["--positive", "text:snow"]),
        ("/find?text=snow".to_owned(), true)
    );
    assert_eq!(
        fragment(&["--id", id, "--negative", "b.jpg"]),
        (format!("/find?more={id}&more={best}"), false)
    );
}
