//! Listening and shutting down over real sockets, and the OpenAPI document.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn send_request(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let first = bind_address("127.0.0.1:0").await.unwrap();
    let taken = first.address().to_string();
    let text = bind_address(&taken).await.unwrap_err().to_string();
    assert!(text.contains(&taken) && text.contains("--listen"), "{text}");
    for listen in ["", "8080", "nonsense:port", "127.0.0.1:99999"] {
        let text = bind_address(listen).await.unwrap_err().to_string();
        assert!(
            text.contains("--listen") && !text.contains('\n'),
            "{listen}: {text}"
        );
    }
}

#[tokio::test]
async fn health_is_served_until_shutdown() {
    let listening = bind_address("127.0.0.1:0").await.unwrap();
    let address = listening.address();
    let shutdown = CancellationToken::new();
    let ready = || async { Err("the catalog is locked".to_owned()) };
    let served = tokio::spawn(serve_metrics_only(listening, ready, shutdown.clone()));
    let alive = send_request(address, &get_request("/healthz")).await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    let ready = send_request(address, &get_request("/readyz")).await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(
        ready.contains("the catalog is locked") && ready.contains("retry-after: "),
        "{ready}"
    );
    let metrics = send_request(address, &get_request("/metrics")).await;
    assert!(metrics.contains("lookalike_http_requests_total{route=\"/readyz\",status=\"503\"}"));
    let unknown = send_request(address, &get_request("/etc/passwd")).await;
    assert!(
        unknown.starts_with("HTTP/1.1 404") && unknown.contains("no_such_route"),
        "{unknown}"
    );
    let for_other_host = |path| get_request(path).replace("localhost", "evil.example");
    let refused = send_request(address, &for_other_host("/docs")).await;
    assert!(refused.starts_with("HTTP/1.1 421"), "{refused}");
    let alive = send_request(address, &for_other_host("/healthz")).await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    // An open connection does not keep the server running.
    let _idle = tokio::net::TcpStream::connect(address).await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(15), served)
        .await
        .expect("the server stops")
        .unwrap()
        .unwrap();
}

/// Clients are built on the document, so every change of it must be intended.
#[test]
fn the_document_is_as_committed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let current = openapi_json() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &current).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == current,
        "the OpenAPI document changed; if that is intended, run\n    \
         UPDATE_OPENAPI=1 cargo test -p lookalike-search the_document\nand commit {path}"
    );
}

#[test]
fn every_operation_has_a_name_and_every_field_a_description() {
    let document: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str();
            let name = name.unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(names.insert(name.to_owned()), "{name} is used twice");
            assert!(operation["summary"].is_string(), "{name}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{name}: {parameter}");
            }
        }
    }
    assert_eq!(names.len(), 16, "{names:?}");
    for (schema, definition) in document["components"]["schemas"].as_object().unwrap() {
        assert!(definition["description"].is_string(), "{schema}");
        for (field, property) in definition["properties"].as_object().into_iter().flatten() {
            let is_described =
                property.to_string().contains("\"description\"") || property["$ref"].is_string();
            assert!(is_described, "{schema}.{field}: {property}");
        }
        let is_object = definition["type"] == "object";
        assert!(
            !is_object || !definition["example"].is_null(),
            "{schema} has no example"
        );
    }
}
