//! Proxies of the environment are used for the hub, and not for local services.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::hub::{FakeHub, read_request};
use crate::{Machine, random_bytes};

/// Starts a proxy that records requests and forwards plain HTTP.
fn spawn_proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let noted = noted.clone();
            std::thread::spawn(move || {
                let _ = pass_on(stream, &noted);
            });
        }
    });
    (address, seen)
}

fn pass_on(mut stream: TcpStream, noted: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let Some(request) = read_request("proxy", &stream)? else {
        return Ok(());
    };
    noted.lock().unwrap().push(request.line.clone());
    let mut words = request.line.split(' ');
    let (method, url) = (words.next().unwrap(), words.next().unwrap());
    let Some((host, path)) = url
        .strip_prefix("http://")
        .and_then(|url| url.split_once('/'))
    else {
        // CONNECT: no server behind this proxy supports TLS.
        return write!(stream, "HTTP/1.1 502 X\r\ncontent-length: 0\r\n\r\n");
    };
    let mut server = TcpStream::connect(host)?;
    write!(server, "{method} /{path} HTTP/1.1\r\nhost: {host}\r\n")?;
    for (name, value) in &request.headers {
        if name != "host" {
            write!(server, "{name}: {value}\r\n")?;
        }
    }
    write!(server, "\r\n")?;
    std::io::copy(&mut server, &mut stream).map(|_| ())
}

#[test]
fn the_hub_is_reached_through_the_proxy() {
    let hub = FakeHub::start(random_bytes(1 << 20, 1));
    let (address, seen) = spawn_proxy();
    let machine = Machine::new(&hub).with_env("HTTP_PROXY", &format!("http://{address}"));
    // Programs that are not CGI scripts honour HTTP_PROXY; both spellings are in use.
    machine.run_ok(&["models", "fetch", "resnet34"]);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[0].starts_with("HEAD http://127.0.0.1:"), "{seen:?}");
    assert_eq!(hub.state().requests.len(), 3);
}

#[test]
fn exceptions_and_https_are_honoured() {
    let hub = FakeHub::start(random_bytes(1 << 20, 2));
    let (address, seen) = spawn_proxy();
    let machine = Machine::new(&hub)
        .with_env("http_proxy", &format!("http://{address}"))
        .with_env("NO_PROXY", "localhost,127.0.0.1");
    machine.run_ok(&["models", "fetch", "resnet34"]);
    assert!(seen.lock().unwrap().is_empty());

    // HTTPS, as on the real hub, goes through a tunnel.
    let mut machine = Machine::new(&hub)
        .with_env("HTTPS_PROXY", &format!("http://{address}"))
        .with_env("LOOKALIKE_MODELS_MAX_ATTEMPTS", "2");
    machine.hub = "https://hub.invalid".to_owned();
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert!(message.contains("after 2 attempts"), "{message}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..], vec!["CONNECT hub.invalid:443 HTTP/1.1"; 2][..]);
}

/// A configured proxy is not used for a lookalike on this machine.
#[test]
fn a_local_service_is_reached_directly() {
    let hub = FakeHub::start(Vec::new());
    let (address, seen) = spawn_proxy();
    let machine = Machine::new(&hub).with_env("HTTP_PROXY", &format!("http://{address}"));
    let url = hub.url();
    machine.run_err(1, &["status", "--url", &url]);
    assert!(seen.lock().unwrap().is_empty());
    assert!(!hub.state().requests.is_empty());
}
