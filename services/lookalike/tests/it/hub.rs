//! A fake Hugging Face hub. It announces checksum, length and commit itself, redirects to another
//! port for the bytes, supports Range and If-Range, and misbehaves on request like networks and
//! mirrors do.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the bytes are sent, request by request; the last mode applies to all further requests.
#[derive(Clone, Debug, Default)]
pub enum BodyMode {
    #[default]
    Normal,
    /// Closes the connection after this many bytes.
    Cut(usize),
    /// Sends the whole file, even if a part was requested.
    Whole,
    /// Sends nothing for longer than any timeout.
    Silent,
    /// Answers with this status and these headers.
    Status(u16, &'static str),
    /// Sends small chunks with pauses, so that a test can kill the client meanwhile.
    Slow,
    /// Sends another part than was requested.
    WrongRange,
}

#[derive(Default)]
pub struct FakeHubState {
    /// Served at every path.
    pub file: Vec<u8>,
    /// Announced instead of the true values.
    pub announced_sha256: Option<String>,
    pub announced_bytes: Option<u64>,
    pub commit: Option<&'static str>,
    /// Announces nothing, like servers that are not hubs.
    pub announces_nothing: bool,
    /// Answers of the hub before its redirect: status and headers.
    pub hub_responses: Vec<(u16, &'static str)>,
    pub body_modes: Vec<BodyMode>,
    pub requests: Vec<HubRequest>,
}

#[derive(Clone, Debug)]
pub struct HubRequest {
    pub server: &'static str,
    pub line: String,
    pub headers: HashMap<String, String>,
}

pub struct FakeHub {
    pub address: SocketAddr,
    state: Arc<Mutex<FakeHubState>>,
}

impl FakeHub {
    pub fn start(file: Vec<u8>) -> Self {
        let state = Arc::new(Mutex::new(FakeHubState {
            file,
            ..FakeHubState::default()
        }));
        let cdn = spawn_server("cdn", state.clone(), None);
        let address = spawn_server("hub", state.clone(), Some(cdn));
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, FakeHubState> {
        self.state.lock().unwrap()
    }

    /// The Range headers of all requests for bytes.
    pub fn requested_ranges(&self) -> Vec<Option<String>> {
        let state = self.state();
        let bytes = state
            .requests
            .iter()
            .filter(|request| request.server == "cdn");
        bytes
            .map(|request| request.headers.get("range").cloned())
            .collect()
    }
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn spawn_server(
    at: &'static str,
    state: Arc<Mutex<FakeHubState>>,
    redirect: Option<SocketAddr>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            std::thread::spawn(move || {
                // A client that closes the connection has all it wants.
                let _ = answer_request(at, &state, redirect, stream);
            });
        }
    });
    address
}

/// Reads the request line and the headers.
pub fn read_request(at: &'static str, stream: &TcpStream) -> std::io::Result<Option<HubRequest>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    let line = line?;
    let mut headers = HashMap::new();
    for header in lines {
        let header = header?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(HubRequest {
        server: at,
        line,
        headers,
    }))
}

fn answer_request(
    at: &'static str,
    state: &Mutex<FakeHubState>,
    redirect: Option<SocketAddr>,
    mut stream: TcpStream,
) -> std::io::Result<()> {
    let Some(request) = read_request(at, &stream)? else {
        return Ok(());
    };
    let mut words = request.line.split(' ');
    let is_head = words.next() == Some("HEAD");
    let path = words.next().unwrap_or("/").to_owned();
    let mut now = state.lock().unwrap();
    now.requests.push(request.clone());
    if let Some(cdn) = redirect {
        if !now.hub_responses.is_empty() {
            let (status, headers) = now.hub_responses.remove(0);
            return write!(
                stream,
                "HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
        let mut announced = String::new();
        if !now.announces_nothing {
            let sha256 = now
                .announced_sha256
                .clone()
                .unwrap_or_else(|| sha256_hex(&now.file));
            let bytes = now.announced_bytes.unwrap_or(now.file.len() as u64);
            let commit = now.commit.unwrap_or(COMMIT);
            announced = format!(
                "x-repo-commit: {commit}\r\nx-linked-etag: \"{sha256}\"\r\nx-linked-size: {bytes}\r\n"
            );
        }
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: http://{cdn}{path}\r\n{announced}\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let how = match now.body_modes.len() {
        0 => BodyMode::Normal,
        1 => now.body_modes[0].clone(),
        _ => now.body_modes.remove(0),
    };
    let file = now.file.clone();
    drop(now);
    let etag = format!("\"{}\"", &sha256_hex(&file)[..16]);
    let mut from = request
        .headers
        .get("range")
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .unwrap_or(0_usize);
    let fits = request
        .headers
        .get("if-range")
        .is_none_or(|tag| *tag == etag);
    if !fits || matches!(how, BodyMode::Whole) {
        from = 0;
    }
    if let BodyMode::Status(status, headers) = how {
        return write!(
            stream,
            "HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    if let BodyMode::Silent = how {
        std::thread::sleep(Duration::from_secs(600));
        return Ok(());
    }
    if from > file.len() {
        return write!(
            stream,
            "HTTP/1.1 416 X\r\ncontent-range: bytes */{}\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n",
            file.len()
        );
    }
    let first_byte = match how {
        BodyMode::WrongRange => from + 1,
        _ => from,
    };
    let (status, range) = match from {
        0 => (200, String::new()),
        _ => (
            206,
            format!(
                "content-range: bytes {first_byte}-{}/{}\r\n",
                file.len() - 1,
                file.len()
            ),
        ),
    };
    let body = &file[from..];
    write!(
        stream,
        "HTTP/1.1 {status} X\r\netag: {etag}\r\naccept-ranges: bytes\r\n{range}\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    if is_head {
        return Ok(());
    }
    match how {
        BodyMode::Cut(after) => stream.write_all(&body[..after.min(body.len())]),
        BodyMode::Slow => {
            for chunk in body.chunks(4096) {
                stream.write_all(chunk)?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
        _ => stream.write_all(body),
    }
}
