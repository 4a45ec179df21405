//! API keys and the base path: who may use the service, and where a proxy serves it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::harness::{SystemWorld, eventually, product_command, sample_pictures};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs `lookalike keys` and returns its JSON.
pub fn run_keys(world: &SystemWorld, arguments: &[&str]) -> Value {
    let output = product_command()
        .arg("keys")
        .args(arguments)
        .arg("--json")
        .arg("--data-dir")
        .arg(world.data_dir())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Sends a request with a header.
async fn send(world: &SystemWorld, method: Method, path: &str, header: (&str, &str)) -> Response {
    let request = Client::new().request(method, format!("{}{path}", world.url));
    let request = request.header(header.0, header.1).timeout(TIMEOUT);
    request.send().await.unwrap()
}

/// Sends a request with a key and returns status and code.
async fn status_with_key(
    world: &SystemWorld,
    method: Method,
    path: &str,
    key: &str,
) -> (u16, String) {
    let bearer = format!("Bearer {key}");
    let response = send(world, method, path, (AUTHORIZATION.as_str(), &bearer)).await;
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn only_valid_keys_open_the_service() {
    let mut world = SystemWorld::new("keys");
    world.set_variable("LOOKALIKE_HTTP_REQUIRE_KEYS", "always");
    world.start_up().await;
    let new = run_keys(&world, &["add", "phone"]);
    let (key, id) = (new["key"].as_str().unwrap(), new["id"].as_str().unwrap());
    let refused = send(&world, Method::GET, "/v1/stats", ("accept", "*/*")).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["code"], "key_required");
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains("lookalike keys add"),
        "{body}"
    );
    eventually("the new key is accepted", TIMEOUT, || async {
        match status_with_key(&world, Method::GET, "/v1/stats", key).await {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let post = |path| status_with_key(&world, Method::POST, path, key);
    assert_eq!(
        post("/v1/failures/retry").await,
        (403, "insufficient_scope".into())
    );
    let page = send(&world, Method::GET, "/", ("accept", "*/*")).await;
    assert!(page.status().is_success(), "the page can ask for a key");

    // A browser signs in, and its cookie carries thumbnails as well.
    let url = format!("{}/v1/session", world.url);
    let wrong = Client::new().post(&url).json(&json!({"key": "lk_0_0"}));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let signed_in = Client::new().post(&url).json(&json!({"key": key}));
    let signed_in = signed_in.send().await.unwrap();
    assert_eq!(signed_in.status(), 204);
    let cookie = signed_in.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let with_cookie = send(&world, Method::GET, "/v1/images", (COOKIE.as_str(), cookie)).await;
    assert_eq!(with_cookie.status(), 200);

    let listed = run_keys(&world, &["list"]);
    assert_eq!(listed["keys"][0]["id"], id);
    assert!(!listed.to_string().contains(key), "secrets are not listed");
    run_keys(&world, &["revoke", "phone"]);
    eventually("the revoked key is refused", TIMEOUT, || async {
        match status_with_key(&world, Method::GET, "/v1/stats", key).await {
            (401, code) if code == "invalid_key" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_events() {
    let mut world = SystemWorld::new("key-events");
    world.set_variable("LOOKALIKE_HTTP_REQUIRE_KEYS", "always");
    let new = run_keys(&world, &["add", "watcher"]);
    world.start_up().await;
    let bearer = format!("Bearer {}", new["key"].as_str().unwrap());
    let header = (AUTHORIZATION.as_str(), bearer.as_str());
    // Without a time limit for the whole response.
    let request = Client::new().get(format!("{}/v1/events", world.url));
    let mut events = request.header(header.0, header.1).send().await.unwrap();
    assert_eq!(events.status(), 200);
    // Another key changes the file, but not this key.
    let other = run_keys(&world, &["add", "other"]);
    let other = other["key"].as_str().unwrap();
    eventually("the other key is accepted", TIMEOUT, || async {
        match status_with_key(&world, Method::GET, "/v1/stats", other).await {
            (200, _) => Ok(()),
            status => Err(format!("{status:?}")),
        }
    })
    .await;
    let pause = Duration::from_millis(300);
    while let Ok(chunk) = tokio::time::timeout(pause, events.chunk()).await {
        assert!(chunk.unwrap().is_some(), "the stream ended too early");
    }
    run_keys(&world, &["revoke", "watcher"]);
    let ended = async { while events.chunk().await.unwrap().is_some() {} };
    let ended = tokio::time::timeout(TIMEOUT, ended).await;
    ended.expect("the stream ends with its key");
    let again = send(&world, Method::GET, "/v1/events", header).await;
    assert_eq!(again.status(), 401);
}

#[tokio::test]
async fn only_admins_see_whole_addresses_of_webhooks() {
    const URL: &str = "https://hooks.example.com/services/s3cret";
    let mut world = SystemWorld::new("key-webhooks");
    world.set_variable("LOOKALIKE_HTTP_REQUIRE_KEYS", "always");
    world.set_variable("LOOKALIKE_WEBHOOKS_ALLOWED_HOSTS", "hooks.example.com");
    let [search, admin] = ["search", "admin"].map(|scope| {
        let new = run_keys(&world, &["add", scope, "--scope", scope]);
        format!("Bearer {}", new["key"].as_str().unwrap())
    });
    world.start_up().await;
    let picture = std::fs::read(&sample_pictures()[0]).unwrap();
    let request = Client::new().post(format!("{}/v1/saved-searches", world.url));
    let request = request.header(AUTHORIZATION, &admin).json(&json!({
        "name": "copies",
        "query": { "image": STANDARD.encode(picture) },
        "min_score": 0.95,
        "webhook": { "url": URL },
    }));
    let created = request.timeout(TIMEOUT).send().await.unwrap();
    let created: Value = created.json().await.unwrap();
    assert_eq!(created["webhook"]["url"], URL, "{created}");
    let id = created["id"].as_str().unwrap();
    for (bearer, shown) in [(&admin, URL), (&search, "https://hooks.example.com/...")] {
        let header = (AUTHORIZATION.as_str(), bearer.as_str());
        let path = format!("/v1/saved-searches/{id}");
        let one = send(&world, Method::GET, &path, header).await;
        let one: Value = one.json().await.unwrap();
        assert_eq!(one["webhook"]["url"], shown, "{one}");
        let all = send(&world, Method::GET, "/v1/saved-searches", header).await;
        let all: Value = all.json().await.unwrap();
        assert_eq!(all["saved_searches"][0], one);
    }
}

#[tokio::test]
async fn commands_send_their_key() {
    let mut world = SystemWorld::new("key-of-commands");
    world.set_variable("LOOKALIKE_HTTP_REQUIRE_KEYS", "always");
    let new = run_keys(&world, &["add", "cli", "--scope", "search"]);
    world.start_up().await;
    let status = |key: &str| {
        let mut command = product_command();
        command.arg("status").arg("--url").arg(&world.url);
        command.env("LOOKALIKE_API_KEY", key).output().unwrap()
    };
    let refused = status("");
    assert_eq!(refused.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("LOOKALIKE_API_KEY"), "{errors}");
    let accepted = status(new["key"].as_str().unwrap());
    assert!(
        accepted.status.success(),
        "{}",
        String::from_utf8_lossy(&accepted.stderr)
    );
}

#[tokio::test]
async fn a_proxy_may_serve_it_below_a_path() {
    let mut world = SystemWorld::new("base-path");
    world.set_variable("LOOKALIKE_HTTP_BASE_PATH", "/pictures");
    world.start_up().await;
    world.add_pictures("", 1);
    world.wait_until_settled().await;
    for path in ["/pictures/v1/images", "/v1/images"] {
        let images = world.get_json(path).await;
        let thumbnail = images["images"][0]["thumbnail_url"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(thumbnail.starts_with("/pictures/v1/images/"), "{thumbnail}");
        let response = world.get_response(&thumbnail).await;
        assert_eq!(response.headers()["content-type"], "image/jpeg");
    }
    let page = world.get_response("/pictures").await;
    assert_eq!(
        page.url().path(),
        "/pictures/",
        "relative links need the slash"
    );
    assert!(page.text().await.unwrap().contains("src=\"app.js\""));
    let script = world.get_response("/pictures/app.js").await;
    assert!(script.status().is_success());
}
