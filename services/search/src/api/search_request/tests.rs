//! Requests that are parsed, and requests that are refused.

use super::*;
use crate::api::schema::EXAMPLE_ID;
use crate::problem::Code;
use bytes::Bytes;

fn parse_question(json: &str) -> Result<ParsedQuery, Problem> {
    let settings = Settings {
        max_upload_bytes: 2,
        ..Settings::default()
    };
    let mut request = crate::api::json_body::parse_search_json(json.as_bytes())?;
    parse_query(&mut request, &settings)
}

#[track_caller]
fn expect_refusal(json: &str) -> (Code, String) {
    let problem = parse_question(json).unwrap_err();
    (problem.code, problem.param.unwrap_or_default())
}

#[test]
fn a_single_part_has_its_own_kind() {
    for (json, kind, has_bands) in [
        (r#"{"image": "+/8="}"#.to_owned(), "image", true),
        (format!(r#"{{"id": "{EXAMPLE_ID}"}}"#), "id", true),
        (r#"{"text": " a red chair "}"#.to_owned(), "text", false),
        (
            format!(r#"{{"positive": [{{"id": "{EXAMPLE_ID}", "weight": 7}}]}}"#),
            "id",
            true,
        ),
        (
            format!(r#"{{"id": "{EXAMPLE_ID}", "text": "red"}}"#),
            "combined",
            false,
        ),
        (
            format!(r#"{{"image": "+/8=", "negative": [{{"id": "{EXAMPLE_ID}"}}]}}"#),
            "combined",
            false,
        ),
    ] {
        let query = parse_question(&json).unwrap();
        assert_eq!(query.kind(), kind, "{json}");
        assert_eq!(query.is_single_image(), has_bands, "{json}");
        assert_eq!(query.has_text(), json.contains("text"), "{json}");
    }
}

#[test]
fn parts_have_their_weights() {
    let query = parse_question(
        r#"{"image": "+/8=", "text": " red ", "positive": [{"text": "blue", "weight": 0.5}],
            "negative": [{"image": "AAA="}, {"text": "green", "weight": 100}]}"#,
    )
    .unwrap();
    let text = |text| QueryInput::Text(QueryText::new(text).unwrap());
    let picture = |bytes: &'static [u8]| QueryInput::Image(Bytes::from_static(bytes));
    let expected = [
        ("image", picture(&[0xfb, 0xff]), 1.0),
        ("text", text("red"), 1.0),
        ("positive[0].text", text("blue"), 0.5),
        ("negative[0].image", picture(&[0, 0]), -1.0),
        ("negative[1].text", text("green"), -100.0),
    ];
    let expected = expected.map(|(param, input, weight)| WeightedPart {
        param: param.into(),
        input,
        weight,
        region: None,
    });
    assert_eq!(query.parts, expected);
}

#[test]
fn what_is_wrong_is_named() {
    let parameter = |param: &str| (Code::InvalidParameter, param.to_owned());
    let unreadable = |param: &str| (Code::InvalidRequest, param.to_owned());
    assert_eq!(expect_refusal("{}"), parameter("image"));
    assert_eq!(
        expect_refusal(r#"{"negative": [{"text": "x"}]}"#),
        parameter("image")
    );
    assert_eq!(
        expect_refusal(r#"{"positive": [], "negative": []}"#),
        parameter("image")
    );
    assert_eq!(expect_refusal(r#"{"id": "../x"}"#), parameter("id"));
    assert_eq!(expect_refusal(r#"{"image": "!"}"#), parameter("image"));
    assert_eq!(
        expect_refusal(r#"{"image": "AAAA"}"#),
        (Code::UploadTooLarge, "image".into())
    );
    for text in ["", "  ", r"a\u001bb", r"a\nb", &"x".repeat(1001)] {
        let json = format!(r#"{{"text": "{text}"}}"#);
        assert_eq!(expect_refusal(&json), parameter("text"), "{text}");
    }
    let positive = |part: &str| format!(r#"{{"positive": [{{"text": "x"}}, {part}]}}"#);
    for (part, expected) in [
        ("{}", parameter("positive[1]")),
        (r#"{"weight": 1}"#, parameter("positive[1]")),
        (
            r#"{"text": "x", "image": "+/8="}"#,
            parameter("positive[1]"),
        ),
        (r#"{"id": "x"}"#, parameter("positive[1].id")),
        (r#"{"text": ""}"#, parameter("positive[1].text")),
        (r#"{"image": "*"}"#, parameter("positive[1].image")),
        (
            r#"{"text": "x", "weight": 0}"#,
            unreadable("positive[1].weight"),
        ),
        (
            r#"{"text": "x", "weight": 100.5}"#,
            unreadable("positive[1].weight"),
        ),
        (
            r#"{"text": "x", "weight": "1"}"#,
            unreadable("positive[1].weight"),
        ),
        (
            r#"{"text": "x", "more": 1}"#,
            unreadable("positive[1].more"),
        ),
        (r#""text""#, unreadable("positive[1]")),
    ] {
        assert_eq!(expect_refusal(&positive(part)), expected, "{part}");
    }
    let many = |count: usize| vec![r#"{"text": "x"}"#; count].join(",");
    assert_eq!(
        expect_refusal(&format!(r#"{{"positive": [{}]}}"#, many(33))),
        unreadable("positive")
    );
    let both = |positive, negative| {
        format!(
            r#"{{"positive": [{}], "negative": [{}]}}"#,
            many(positive),
            many(negative)
        )
    };
    assert_eq!(expect_refusal(&both(1, 33)), unreadable("negative"));
    assert_eq!(parse_question(&both(32, 32)).unwrap().parts.len(), 64);
}

#[test]
fn regions_belong_to_pictures() {
    let region = r#""region": {"x": 0.25, "y": 0, "width": 0.5, "height": 1.0}"#;
    let query = parse_question(&format!(
        r#"{{"image": "+/8=", "text": "red", {region}, "positive": [{{"id": "{EXAMPLE_ID}", {region}}}]}}"#
    ));
    let regions: Vec<_> = query
        .unwrap()
        .parts
        .into_iter()
        .map(|part| {
            part.region
                .map(|region| (region.param, region.region.fractions()))
        })
        .collect();
    let fractions = [0.25, 0.0, 0.5, 1.0];
    let of = |param: &str| Some((param.to_owned(), fractions));
    assert_eq!(regions, [of("region"), None, of("positive[0].region")]);
    let parameter = |param: &str| (Code::InvalidParameter, param.to_owned());
    for (json, param) in [
        (format!(r#"{{"text": "red", {region}}}"#), "region"),
        (
            format!(r#"{{"image": "+/8=", "id": "{EXAMPLE_ID}", {region}}}"#),
            "region",
        ),
        (
            format!(r#"{{"positive": [{{"id": "{EXAMPLE_ID}"}}], {region}}}"#),
            "region",
        ),
        (
            format!(r#"{{"positive": [{{"text": "x", {region}}}]}}"#),
            "positive[0].region",
        ),
        (
            format!(r#"{{"text": "a", "negative": [{{"text": "x", {region}}}]}}"#),
            "negative[0].region",
        ),
    ] {
        assert_eq!(expect_refusal(&json), parameter(param), "{json}");
    }
    for malformed in [
        r#"{}"#,
        r#"[0, 0, 1, 1]"#,
        r#"{"x": 0, "y": 0, "width": 1}"#,
        r#"{"x": 1, "y": 0, "width": 1, "height": 1}"#,
        r#"{"x": -0.1, "y": 0, "width": 1, "height": 1}"#,
        r#"{"x": 0, "y": 0, "width": 0, "height": 1}"#,
        r#"{"x": 0, "y": 0, "width": 1, "height": 1.1}"#,
        r#"{"x": 0, "y": 0, "width": 1, "height": "1"}"#,
        r#"{"x": 0, "y": 0, "width": 1, "height": 1, "z": 1}"#,
    ] {
        let json = format!(r#"{{"image": "+/8=", "region": {malformed}}}"#);
        assert_eq!(expect_refusal(&json).1, "region", "{malformed}");
    }
}

#[test]
fn regions_in_an_address_are_four_fractions() {
    let parse = |text| parse_region_param(Some(text));
    for (text, fractions) in [
        ("0,0,1,1", [0.0, 0.0, 1.0, 1.0]),
        ("0.25,.5,.5,0.125", [0.25, 0.5, 0.5, 0.125]),
        ("0.,0.0,1.,1.0", [0.0, 0.0, 1.0, 1.0]),
        // What is beyond the edge is cut off.
        ("0.5,0.75,1,1", [0.5, 0.75, 0.5, 0.25]),
    ] {
        let region = parse(text).unwrap().unwrap();
        assert_eq!(region.region.fractions(), fractions, "{text}");
    }
    assert_eq!(parse_region_param(None), Ok(None));
    for text in [
        "",
        ",,,",
        "0,0,1",
        "0,0,1,1,1",
        "0,0,1,x",
        "1,0,1,1",
        "-1,0,1,1",
        "0,0,0,1",
        "0,0,1,2",
        "0,0,NaN,1",
        "0,0,inf,1",
        "0,0,1e0,1",
        "0, 0,1,1",
        "0,0,1,1.1.1",
        "é,0,1,1",
        "0;0;1;1",
    ] {
        let problem = parse(text).unwrap_err();
        assert_eq!(problem.code, Code::InvalidParameter, "{text}");
        assert_eq!(problem.param.as_deref(), Some("region"), "{text}");
    }
}

#[test]
fn only_single_pictures_are_turned() {
    let id = format!(r#""id": "{EXAMPLE_ID}""#);
    for (json, turned) in [
        (format!(r#"{{{id}, "orientations": true}}"#), true),
        (
            format!(r#"{{{id}, "orientations": false, "text": "red"}}"#),
            false,
        ),
        (
            r#"{"image": "+/8=", "orientations": true}"#.to_owned(),
            true,
        ),
        (format!(r#"{{{id}}}"#), false),
    ] {
        assert_eq!(
            parse_question(&json).unwrap().orientations,
            turned,
            "{json}"
        );
    }
    for json in [
        r#"{"text": "red", "orientations": true}"#.to_owned(),
        format!(r#"{{{id}, "text": "red", "orientations": true}}"#),
        format!(r#"{{{id}, "negative": [{{{id}}}], "orientations": true}}"#),
        format!(r#"{{"image": "+/8=", {id}, "orientations": true}}"#),
    ] {
        let refusal = (Code::InvalidParameter, "orientations".to_owned());
        assert_eq!(expect_refusal(&json), refusal, "{json}");
    }
}
