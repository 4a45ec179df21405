//! Listening, limits of connections and shutting down over real sockets, and the OpenAPI document.

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

/// Serves `/` with these settings: its response is the body of the request.
async fn serve_echo(settings: Settings) -> (SocketAddr, CancellationToken) {
    let echo = make(|request: Request| async move {
        let body = request.into_body().into_bytes().await?;
        Ok::<_, poem::Error>(Response::builder().body(body))
    });
    serve_routes(Route::new().at("/", echo), settings).await
}

async fn serve_routes(routes: Route, settings: Settings) -> (SocketAddr, CancellationToken) {
    let listening = bind_address("127.0.0.1:0").await.unwrap();
    let address = listening.address();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move { run_server(listening, routes.boxed(), &settings, None, stop).await });
    (address, shutdown)
}

/// Waits until the server closes the connection, and returns what it sent before.
async fn read_to_close(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
    // A connection that is closed with unread bytes is reset.
    let _ = read.expect("the server closes the connection");
    answer
}

#[tokio::test]
async fn headers_that_arrive_slowly_time_out() {
    let (address, _stop) = serve_echo(Settings {
        header_timeout: Duration::from_millis(400),
        ..Settings::default()
    })
    .await;
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    let started = std::time::Instant::now();
    let mut sent = 0;
    for byte in "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1"
        .bytes()
        .cycle()
    {
        if slow.write_all(&[byte]).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(
            sent < 100,
            "the server still reads after {:?}",
            started.elapsed()
        );
    }
    assert!(started.elapsed() >= Duration::from_millis(400));
    // A body has a time limit of its own, and so has a connection between two requests.
    let mut upload = tokio::net::TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n";
        upload.write_all(head.as_bytes()).await.unwrap();
        for byte in *b"abc" {
            tokio::time::sleep(Duration::from_millis(200)).await;
            upload.write_all(&[byte]).await.unwrap();
        }
        let mut answer = vec![0; 4096];
        let length = upload.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("abc"),
            "{answer}"
        );
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

#[tokio::test]
async fn idle_connections_make_place_for_new_ones() {
    let (address, _stop) = serve_echo(Settings {
        max_connections: 4,
        ..Settings::default()
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let request = get_request("/");
    let answering = send_request(address, &request);
    let answer = tokio::time::timeout(Duration::from_secs(10), answering).await;
    let answer = answer.expect("idle connections keep no one out");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for stream in &mut idle[..16] {
        assert!(read_to_close(stream).await.is_empty());
    }
    // The last ones are still served.
    let last = idle.last_mut().unwrap();
    last.write_all(get_request("/").as_bytes()).await.unwrap();
    assert!(read_to_close(last).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_ends_when_its_client_is_gone() {
    let running = Arc::new(tokio::sync::Semaphore::new(1));
    let (begun, mut begins) = tokio::sync::mpsc::channel(1);
    let held = Arc::clone(&running);
    let endless = make(move |_: Request| {
        let (held, begun) = (Arc::clone(&held), begun.clone());
        async move {
            let _permit = held.acquire().await.unwrap();
            begun.send(()).await.unwrap();
            std::future::pending::<poem::Result<Response>>().await
        }
    });
    let routes = Route::new().at("/", endless);
    let (address, _stop) = serve_routes(routes, Settings::default()).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(get_request("/").as_bytes()).await.unwrap();
    begins.recv().await.unwrap();
    drop(stream);
    let ending = tokio::time::timeout(Duration::from_secs(10), running.acquire()).await;
    let _permit = ending.expect("the request ends").unwrap();
}

#[tokio::test]
async fn connections_without_traffic_are_closed() {
    let (address, _stop) = serve_echo(Settings {
        idle_timeout: Duration::from_millis(300),
        ..Settings::default()
    })
    .await;
    let started = std::time::Instant::now();
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    assert!(read_to_close(&mut idle).await.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(300));
}

/// Sends a request with a body of `length` bytes, which the response repeats.
async fn send_large_body(address: SocketAddr, length: usize) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_accepts_no_bytes_is_disconnected() {
    const LENGTH: usize = 30_000_000;
    let (address, _stop) = serve_echo(Settings {
        idle_timeout: Duration::from_millis(500),
        ..Settings::default()
    })
    .await;
    let mut blocked = send_large_body(address, LENGTH).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(read_to_close(&mut blocked).await.len() < LENGTH);
}

#[tokio::test]
async fn a_slow_download_is_completed() {
    const LENGTH: usize = 20_000_000;
    let (address, _stop) = serve_echo(Settings {
        idle_timeout: Duration::from_secs(20),
        header_timeout: Duration::from_millis(300),
        ..Settings::default()
    })
    .await;
    let mut slow = send_large_body(address, LENGTH).await;
    let mut chunk = vec![0; 2_000_000];
    let mut received = 0;
    while received < LENGTH {
        let length = slow.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the connection ended after {received} bytes");
        received += length;
        if received % 4 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn idle_connections_make_place_before_a_slow_download() {
    const LENGTH: usize = 30_000_000;
    let (address, _stop) = serve_echo(Settings {
        max_connections: 2,
        ..Settings::default()
    })
    .await;
    let mut slow = send_large_body(address, LENGTH).await;
    let mut chunk = vec![0; 1000];
    slow.read_exact(&mut chunk).await.unwrap();
    // The buffers of the connection are full by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    for stream in &mut idle[..5] {
        assert!(read_to_close(stream).await.is_empty());
    }
    let mut rest = vec![0; LENGTH - chunk.len()];
    let reading = tokio::time::timeout(Duration::from_secs(10), slow.read_exact(&mut rest)).await;
    let read = reading.expect("the response continues");
    read.expect("the response is complete");
}

#[tokio::test]
async fn a_connection_of_http_2_has_a_limited_number_of_streams() {
    let (address, _stop) = serve_echo(Settings::default()).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    // The preface, and a frame of settings without entries.
    let opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(opening).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame has the settings");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut entries = vec![0; length as usize];
    stream.read_exact(&mut entries).await.unwrap();
    // SETTINGS_MAX_CONCURRENT_STREAMS has the number 3.
    let mut entries = entries.chunks_exact(6);
    let limit = entries.find(|entry| entry[..2] == [0, 3]);
    assert_eq!(limit.unwrap()[2..], MAX_HTTP2_STREAMS.to_be_bytes());
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
    assert_eq!(names.len(), 31, "{names:?}");
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
