//! Requests as clients of all kinds write them: understood, or refused with the way out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{SystemWorld, eventually, sample_pictures};

/// Time limit of one small step on a busy machine.
const STEP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

async fn post_body(
    world: &SystemWorld,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> (u16, Value) {
    let client = reqwest::Client::new();
    let request = client.post(format!("{}{path}", world.url));
    let response = request
        .header("content-type", content_type)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

async fn post_search(world: &SystemWorld, body: Vec<u8>) -> (u16, Value) {
    post_body(world, "/v1/search", "application/json", body).await
}

/// Breaks a text into lines of 76 characters, as mail programs and `base64` do.
fn wrap_lines(text: &str) -> String {
    let lines: Vec<&str> = (0..text.len())
        .step_by(76)
        .map(|start| &text[start..(start + 76).min(text.len())])
        .collect();
    lines.join("\r\n")
}

#[tokio::test]
async fn images_are_read_in_every_usual_form() {
    let mut world = SystemWorld::with_up("habits").await;
    world.copy_file(&sample_pictures()[0], "a.jpg");
    world.copy_file(&sample_pictures()[1], "b.jpg");
    world.assert_index_equals_folder().await;
    let picture = std::fs::read(&sample_pictures()[0]).unwrap();
    let base64 = STANDARD.encode(&picture);
    let url_safe = base64.replace('+', "-").replace('/', "_");
    let percent_encoded = base64
        .replace('+', "%2B")
        .replace('/', "%2f")
        .replace('=', "%3D");
    for image in [
        base64.clone(),
        wrap_lines(&base64),
        url_safe.trim_end_matches('=').to_owned(),
        wrap_lines(&url_safe),
        format!("data:image/jpeg;base64,{base64}"),
        format!("DATA:IMAGE/JPEG;BASE64,{base64}"),
        format!("data:image/jpeg;base64,{percent_encoded}"),
    ] {
        let body = json!({ "image": image, "limit": 1, "filter": {"format": {"in": ["JPG"]}} });
        let mut text = b"\xef\xbb\xbf".to_vec();
        text.extend(body.to_string().into_bytes());
        for text in [text.clone(), text[3..].to_vec()] {
            let (status, answer) = post_search(&world, text).await;
            assert_eq!(status, 200, "{}…: {answer}", &image[..30]);
            assert_eq!(answer["hits"][0]["path"], "a.jpg", "{answer}");
        }
    }
    for headers in [
        &b"Content-Disposition: form-data; name=\"image\""[..],
        b"Content-Disposition: form-data; name=\"x\"; filename*=UTF-8''%e2%82%ac.jpg",
        b"Content-Disposition: form-data; name=\"x\"; filename=\"caf\xe9.jpg\"",
        b"Content-Disposition: form-data; name=\"x\"\r\nContent-Type: image/jpeg",
        b"Content-Type: image/jpeg",
    ] {
        let shown = String::from_utf8_lossy(headers).into_owned();
        let form = [
            b"--xyz\r\n",
            headers,
            b"\r\n\r\n",
            &picture,
            b"\r\n--xyz--\r\n",
        ]
        .concat();
        let content_type = "multipart/form-data; boundary=xyz";
        let (status, answer) =
            post_body(&world, "/v1/search/image?limit=1", content_type, form).await;
        assert_eq!(status, 200, "{shown}: {answer}");
        assert_eq!(answer["hits"][0]["path"], "a.jpg", "{answer}");
    }
    for (filter, words) in [
        (json!({"format": "mp4"}), "jpeg, png"),
        (json!({"format": {"in": []}}), "an empty list"),
        (json!({"colors": ["bleu"]}), "black, white"),
        (
            json!({"taken_at": {"gte": "2026-02-01", "lt": "2026-01-01"}}),
            "2026-02-01",
        ),
        (json!({"folder": "/photos"}), "relative"),
    ] {
        let body = json!({ "image": base64, "filter": filter });
        let (status, problem) = post_search(&world, body.to_string().into_bytes()).await;
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("invalid_parameter"))
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "{problem}"
        );
    }
    for (color, same) in [("Grey", "gray"), ("BLUE", "blue")] {
        let search = async |color: &str| {
            let body = json!({ "image": base64, "filter": {"colors": [color]} });
            let (status, answer) = post_search(&world, body.to_string().into_bytes()).await;
            assert_eq!(status, 200, "{answer}");
            answer["hits"].clone()
        };
        assert_eq!(search(color).await, search(same).await);
    }
    world.stop_up().await;
}

#[tokio::test]
async fn an_upload_above_the_limit_names_the_limit_and_the_way_around() {
    let mut world = SystemWorld::new("upload_limit");
    world.set_variable("LOOKALIKE_HTTP_MAX_UPLOAD_BYTES", "64KiB");
    world.start_up().await;
    let large = vec![b'x'; 70 << 10];
    let in_json = json!({ "image": STANDARD.encode(&large) }).to_string();
    for (status, problem) in [
        world.post_bytes("/v1/search/image", large).await,
        post_search(&world, in_json.into_bytes()).await,
    ] {
        assert_eq!(status, 413, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        for words in ["64KiB", "http.max_upload_bytes", "--id"] {
            assert!(detail.contains(words), "{problem}");
        }
    }
    world.stop_up().await;
}

#[tokio::test]
async fn counts_without_a_watcher_are_unknown() {
    let mut world = SystemWorld::new("unknown_counts");
    world.add_pictures("", 2);
    let embed = world.start_role("embed");
    let serve = world.start_role("serve");
    world.url = serve.read_address("address=").await;
    world.wait_until_ready().await;
    let stats = world.try_stats().await.unwrap();
    for counts in [&stats, &stats["libraries"][0]] {
        for count in ["on_disk", "indexed", "failed", "ignored", "in_flight"] {
            assert!(counts[count].is_null(), "{count}: {stats}");
        }
    }
    assert_eq!(stats["libraries"][0]["name"], "photos", "{stats}");
    let watch = world.start_role("watch");
    eventually("the watcher reports", STEP_TIMEOUT, || async {
        let stats = world.try_stats().await?;
        match stats["indexed"] == 2 && stats["in_flight"] == 0 {
            true => Ok(()),
            false => Err(stats.to_string()),
        }
    })
    .await;
    for mut role in [serve, embed, watch] {
        let status = role.interrupt_process().await;
        assert!(status.success(), "{status}\n{}", role.log());
    }
}
