//! Webhooks: every match arrives, signed, at hosts and addresses that the settings list, and nowhere
//! else.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    ReceivedRequest, Receiver, RoleProcesses, SETTLE_TIMEOUT, SystemWorld, eventually,
    jpeg_variant, product_command, sample_pictures,
};

/// A world whose webhooks may use these hosts, and retry quickly.
fn world_with_hosts(name: &str, hosts: &str) -> SystemWorld {
    let mut world = SystemWorld::new(name);
    world.set_variable("LOOKALIKE_WEBHOOKS_ALLOWED_HOSTS", hosts);
    world.set_variable("LOOKALIKE_WEBHOOKS_TIMEOUT", "10s");
    world.set_variable("LOOKALIKE_WEBHOOKS_RETRY_INTERVAL", "100ms");
    world.set_variable("LOOKALIKE_WEBHOOKS_MAX_RETRY_INTERVAL", "400ms");
    world
}

fn picture() -> Vec<u8> {
    fs::read(&sample_pictures()[0]).unwrap()
}

/// Saves a search with a webhook; returns its id and the secret.
async fn save_with_webhook(world: &SystemWorld, url: &str) -> (String, String) {
    let fields = json!({ "webhook": { "url": url } });
    let created = world.save_search(&picture(), fields).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&created["id"]), text(&created["webhook"]["secret"]))
}

/// Adds a picture that the search finds.
fn add_copy(world: &SystemWorld, path: &str, number: usize) {
    fs::write(world.photos.join(path), jpeg_variant(&picture(), number)).unwrap();
}

/// Waits until the webhook of a search is in this state.
async fn wait_for_state(world: &SystemWorld, id: &str, state: &str) -> Value {
    let what = format!("the webhook is {state}");
    eventually(&what, SETTLE_TIMEOUT, || async {
        let search = world.try_get(&format!("/v1/saved-searches/{id}")).await?;
        let webhook = &search["webhook"];
        assert!(webhook["secret"].is_null(), "only the first answer has it");
        match webhook["state"] == state {
            true => Ok(webhook.clone()),
            false => Err(search.to_string()),
        }
    })
    .await
}

/// Returns the event ids of the requests, each once, in order.
fn event_ids(requests: &[ReceivedRequest]) -> Vec<String> {
    let ids = requests
        .iter()
        .map(|request| request.header("X-Lookalike-Event-Id"));
    let mut ids: Vec<String> = ids.collect();
    ids.dedup();
    ids
}

/// Restarts a killed service.
async fn restart_service(world: &mut SystemWorld, roles: &mut RoleProcesses, log: &str) {
    roles.serve = world.start_command(world.role_command("serve"), log);
    world.url = roles.serve.read_address("address=").await;
    world.wait_until_ready().await;
}

/// Verifies a signature with another implementation, as the documentation shows it.
fn verify_with_python(secret: &str, signature: &str, body: &[u8]) -> bool {
    let program = "import hashlib, hmac, sys\n\
        secret, signature = sys.argv[1:]\n\
        fields = dict(part.split('=', 1) for part in signature.split(','))\n\
        signed = fields['t'].encode() + b'.' + sys.stdin.buffer.read()\n\
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()\n\
        sys.exit(0 if hmac.compare_digest(expected, fields['v1']) else 1)";
    let mut python = Command::new("python3")
        .args(["-c", program, secret, signature])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(python.stdin.as_mut().unwrap(), body).unwrap();
    drop(python.stdin.take());
    python.wait().unwrap().success()
}

#[tokio::test]
async fn a_match_is_sent_until_the_receiver_accepts_it() {
    let receiver = Receiver::start("500 Oops").await;
    let hosts = format!("http://{}", receiver.address);
    let mut world = world_with_hosts("webhook", &hosts);
    world.start_up().await;
    let (id, secret) = save_with_webhook(&world, &receiver.url()).await;
    let shown = world.get_json(&format!("/v1/saved-searches/{id}")).await;
    assert_eq!(shown["webhook"]["state"], "waiting");
    add_copy(&world, "a.jpg", 1);
    receiver.wait_for_requests(2).await;
    let webhook = wait_for_state(&world, &id, "retrying").await;
    assert!(webhook["failures"].as_u64().unwrap() >= 1, "{webhook}");
    let error = webhook["error"].as_str().unwrap();
    assert!(error.contains("500"), "{error}");
    receiver.set_answer(Some("200 OK"));
    let webhook = wait_for_state(&world, &id, "working").await;
    assert_eq!(
        (&webhook["failures"], &webhook["error"]),
        (&json!(0), &Value::Null)
    );
    let requests = receiver.requests();
    let count = requests.len();
    assert_eq!(
        event_ids(&requests).len(),
        1,
        "every attempt has the same id"
    );
    let request = requests.last().unwrap();
    assert!(
        request.head.starts_with("POST /hook HTTP/1.1"),
        "{}",
        request.head
    );
    assert_eq!(request.header("content-type"), "application/json");
    let signature = request.header("X-Lookalike-Signature");
    assert!(verify_with_python(&secret, &signature, &request.body));
    assert!(!verify_with_python("other", &signature, &request.body));
    let event = request.json();
    let row = world.read_row_at("a.jpg").await;
    assert_eq!(event["type"], "match");
    assert_eq!(event["event_id"], request.header("X-Lookalike-Event-Id"));
    assert_eq!(event["id"], row.id.as_str());
    assert_eq!(event["saved_search"], id.as_str());
    let matches = world.wait_for_matches(&id, &["a.jpg"]).await;
    assert_eq!(matches[0]["event_id"], event["event_id"]);

    // The next matches follow in order, and nothing is sent twice.
    add_copy(&world, "b.jpg", 2);
    world.wait_for_matches(&id, &["a.jpg", "b.jpg"]).await;
    add_copy(&world, "c.jpg", 3);
    let requests = receiver.wait_for_requests(count + 2).await;
    assert_eq!(event_ids(&requests).len(), 3);
    assert_eq!(requests.len(), count + 2);
    let paths = requests[count..]
        .iter()
        .map(|request| request.json()["path"].clone());
    assert_eq!(paths.collect::<Vec<_>>(), ["b.jpg", "c.jpg"]);
    // A deleted search sends nothing more.
    let url = format!("{}/v1/saved-searches/{id}", world.url);
    let deleted = reqwest::Client::new().delete(&url).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    add_copy(&world, "d.jpg", 4);
    world.wait_until_settled().await;
    world.stop_up().await;
    assert_eq!(receiver.requests().len(), count + 2);
}

#[tokio::test]
async fn a_killed_service_sends_the_match_after_its_next_start() {
    let receiver = Receiver::start("503 Later").await;
    let hosts = format!("http://{}", receiver.address);
    let mut world = world_with_hosts("webhook-killed", &hosts);
    let mut roles = world.start_roles().await;
    world.wait_until_ready().await;
    let (id, secret) = save_with_webhook(&world, &receiver.url()).await;
    add_copy(&world, "a.jpg", 1);
    // Between the match and its delivery, while the receiver refuses it.
    receiver.wait_for_requests(1).await;
    roles.serve.kill_process();
    receiver.set_answer(None);
    restart_service(&mut world, &mut roles, "serve-2").await;
    let count = receiver.requests().len();
    // While a request is in progress.
    receiver.wait_for_requests(count + 1).await;
    roles.serve.kill_process();
    receiver.set_answer(Some("204 No Content"));
    restart_service(&mut world, &mut roles, "serve-3").await;
    wait_for_state(&world, &id, "working").await;
    let requests = receiver.requests();
    assert_eq!(event_ids(&requests).len(), 1);
    let request = requests.last().unwrap();
    let signature = request.header("X-Lookalike-Signature");
    assert!(verify_with_python(&secret, &signature, &request.body));
    world.wait_for_matches(&id, &["a.jpg"]).await;
    roles.stop_roles().await;
}

#[tokio::test]
async fn requests_go_only_where_the_settings_allow() {
    let (listed, private) = (
        Receiver::start("302 Found").await,
        Receiver::start("200 OK").await,
    );
    listed.set_answer(Some(&format!("302 Found\r\nlocation: {}", private.url())));
    let hosts = format!(
        "http://{},http://localhost:{},http://[::ffff:127.0.0.1]:1",
        listed.address,
        private.address.port()
    );
    let mut world = world_with_hosts("webhook-targets", &hosts);
    world.start_up().await;
    // A proxy of the environment would hide the address.
    let (redirected, _) = save_with_webhook(&world, &listed.url()).await;
    // Names are checked when they are resolved.
    let by_name = format!("http://localhost:{}/hook", private.address.port());
    let (named, _) = save_with_webhook(&world, &by_name).await;
    for url in [
        private.url(),
        "https://example.com/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "ftp://localhost/".to_owned(),
        format!("http://user@{}/", listed.address),
        String::new(),
    ] {
        let fields = json!({
            "name": "x",
            "query": { "id": "0".repeat(32) },
            "min_score": 0.5,
            "webhook": { "url": url },
        });
        let (status, body) = world.post_saved_search(&fields).await;
        assert_eq!(
            (status, body["param"].as_str()),
            (400, Some("webhook.url")),
            "{url}: {body}"
        );
    }
    add_copy(&world, "a.jpg", 1);
    let webhook = wait_for_state(&world, &redirected, "retrying").await;
    let error = webhook["error"].as_str().unwrap();
    assert!(error.contains("redirects are not followed"), "{error}");
    let webhook = wait_for_state(&world, &named, "retrying").await;
    let error = webhook["error"].as_str().unwrap();
    assert!(error.contains("webhooks.allowed_addresses"), "{error}");
    listed.wait_for_requests(2).await;
    assert!(private.requests().is_empty(), "{:?}", private.requests());
    world.stop_up().await;

    // The same webhook works once the address is listed.
    world.set_variable("LOOKALIKE_WEBHOOKS_ALLOWED_ADDRESSES", "127.0.0.0/8,::1");
    world.start_up().await;
    private.wait_for_requests(1).await;
    wait_for_state(&world, &named, "working").await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_match_that_is_refused_for_too_long_is_given_up() {
    let receiver = Receiver::start("410 Gone").await;
    let hosts = format!("http://{}", receiver.address);
    let mut world = world_with_hosts("webhook-given-up", &hosts);
    world.set_variable("LOOKALIKE_WEBHOOKS_GIVE_UP_AFTER", "1s");
    world.start_up().await;
    let (id, _) = save_with_webhook(&world, &receiver.url()).await;
    add_copy(&world, "a.jpg", 1);
    let webhook = wait_for_state(&world, &id, "given_up").await;
    assert_eq!(webhook["given_up"], 1, "{webhook}");
    // A restart does not send it again.
    world.stop_up().await;
    receiver.set_answer(Some("200 OK"));
    let count = receiver.requests().len();
    world.start_up().await;
    add_copy(&world, "b.jpg", 2);
    wait_for_state(&world, &id, "working").await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), count + 1);
    assert_eq!(requests[count].json()["path"], "b.jpg");
    // Both are matches nevertheless.
    world.wait_for_matches(&id, &["a.jpg", "b.jpg"]).await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_webhook_needs_the_scope_admin() {
    let receiver = Receiver::start("200 OK").await;
    let mut world = world_with_hosts("webhook-keys", &format!("http://{}", receiver.address));
    world.set_variable("LOOKALIKE_HTTP_REQUIRE_KEYS", "always");
    let key = |name: &str| {
        let output = product_command()
            .args(["keys", "add", name, "--scope", name, "--json", "--data-dir"])
            .arg(world.data_dir())
            .output()
            .unwrap();
        let new: Value = serde_json::from_slice(&output.stdout).unwrap();
        new["key"].as_str().unwrap().to_owned()
    };
    let (search, admin) = (key("search"), key("admin"));
    world.start_up().await;
    let send = |method: reqwest::Method, path: &str, key: &str, body: Value| {
        let request = reqwest::Client::new().request(method, format!("{}{path}", world.url));
        let request = request
            .bearer_auth(key)
            .json(&body)
            .timeout(Duration::from_secs(30));
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (status, response.json::<Value>().await.unwrap_or_default())
        }
    };
    use base64::Engine as _;
    let image = base64::engine::general_purpose::STANDARD.encode(picture());
    let plain = json!({ "name": "x", "query": { "image": image }, "min_score": 0.9 });
    let mut with_webhook = plain.clone();
    with_webhook["webhook"] = json!({ "url": receiver.url() });
    let post = |key: &str, body: &Value| {
        send(
            reqwest::Method::POST,
            "/v1/saved-searches",
            key,
            body.clone(),
        )
    };
    let (status, body) = post(&search, &with_webhook).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (403, Some("insufficient_scope")),
        "{body}"
    );
    let (status, own) = post(&search, &plain).await;
    assert_eq!(status, 201, "{own}");
    let (status, hooked) = post(&admin, &with_webhook).await;
    assert_eq!(status, 201, "{hooked}");
    let delete = |key: &str, body: &Value| {
        let path = format!("/v1/saved-searches/{}", body["id"].as_str().unwrap());
        let key = key.to_owned();
        let send = &send;
        async move {
            send(reqwest::Method::DELETE, &path, &key, json!({}))
                .await
                .0
        }
    };
    assert_eq!(delete(&search, &hooked).await, 403);
    assert_eq!(delete(&search, &own).await, 204);
    assert_eq!(delete(&admin, &hooked).await, 204);
    world.stop_up().await;
}
