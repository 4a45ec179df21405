//! Questions that are understood, those that are not, and what becomes of their parts.

use super::*;
use crate::api::schema::EXAMPLE_ID;

fn parse_question(json: &str) -> Result<ParsedQuery, Problem> {
    let settings = Settings {
        max_upload_bytes: 2,
        ..Settings::default()
    };
    let mut request = crate::api::body::parse_search_json(json.as_bytes())?;
    parse_query(&mut request, &settings)
}

#[track_caller]
fn expect_refusal(json: &str) -> (Code, String) {
    let problem = parse_question(json).unwrap_err();
    (problem.code, problem.param.unwrap_or_default())
}

#[test]
fn base64_of_every_kind() {
    for text in [
        "+/8=",
        "+/8",
        "-_8",
        "-_8=",
        "data:image/jpeg;base64,+/8=",
        " +/8= ",
    ] {
        assert_eq!(
            decode_base64("image", text).unwrap(),
            [0xfb, 0xff],
            "{text}"
        );
    }
    for text in ["!", "data:image/jpeg,hello", "+/8=+/8="] {
        assert_eq!(
            decode_base64("image", text).unwrap_err().param.unwrap(),
            "image"
        );
    }
}

#[test]
fn one_thing_is_looked_for_by_itself() {
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
    let expected = expected.map(|(param, what, weight)| WeightedInput {
        param: param.into(),
        input: what,
        weight,
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
    assert_eq!(expect_refusal(&both(30, 3)), parameter("positive"));
    assert_eq!(parse_question(&both(30, 2)).unwrap().parts.len(), 32);
}

#[test]
fn parts_are_summed_by_weight() {
    let close = |found: &[f32], expected: &[f64]| {
        let far = found.iter().zip(expected);
        let far = far.map(|(found, expected)| (f64::from(*found) - expected).abs());
        assert!(far.fold(0.0, f64::max) < 1e-6, "{found:?} {expected:?}");
    };
    let (x, y) = (vec![1.0_f32, 0.0], vec![0.0_f32, 1.0]);
    // One alone is what it is, whatever its weight.
    assert_eq!(combine_vectors(&[(x.clone(), 7.0)]).unwrap(), x);
    let half = 0.5_f64.sqrt();
    let sum = combine_vectors(&[(x.clone(), 1.0), (y.clone(), 1.0)]).unwrap();
    close(&sum, &[half, half]);
    let less = combine_vectors(&[(x.clone(), 3.0), (y.clone(), -4.0)]).unwrap();
    close(&less, &[0.6, -0.8]);
    // A vector's own length does not count.
    let long = combine_vectors(&[(vec![5.0, 0.0], 3.0), (y.clone(), 4.0)]).unwrap();
    close(&long, &[0.6, 0.8]);
    let almost = vec![1.0_f32, 1e-4];
    for nothing in [
        [(x.clone(), 1.0), (x.clone(), -1.0)],
        [(x.clone(), 50.0), (almost, -50.0)],
        [(x.clone(), 2.0), (vec![-1.0, 0.0], 2.0)],
        [(x.clone(), 1.0), (vec![0.0, 0.0], 1.0)],
    ] {
        assert_eq!(
            combine_vectors(&nothing).unwrap_err().code,
            Code::CancelsOut
        );
    }
    assert!(combine_vectors(&[(x.clone(), 1.0), (x, -0.5)]).is_ok());
}
