//! A hub as the Hugging Face hub behaves, and misbehaves: it answers for itself what it announces,
//! redirects to another port for the bytes, does parts by Range and If-Range, and does on command
//! what networks and mirrors do.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the bytes are sent, request by request; the last one counts for all that follow.
#[derive(Clone, Debug, Default)]
pub enum Bytes {
    /// As asked for.
    #[default]
    Well,
    /// The connection is cut after so many bytes.
    Cut(usize),
    /// All of it, whatever part was asked for.
    Whole,
    /// Nothing, for longer than anybody waits.
    Never,
    /// This status, with these headers.
    Status(u16, &'static str),
    /// A few bytes at a time, so that there is time to kill whoever takes them.
    Slowly,
    /// Another part than was asked for.
    Misplaced,
}

/// What the hub has, and how it sends it.
#[derive(Default)]
pub struct State {
    /// The one file, at every path.
    pub file: Vec<u8>,
    /// What is announced instead of the truth.
    pub announced_sha256: Option<String>,
    pub announced_bytes: Option<u64>,
    pub commit: Option<&'static str>,
    /// Announces nothing, as other servers do.
    pub announces_nothing: bool,
    /// How the hub itself answers, before the redirect.
    pub front: Vec<(u16, &'static str)>,
    pub bytes: Vec<Bytes>,
    /// Every request: `hub` or `cdn`, its first line, and its headers in small letters.
    pub requests: Vec<Request>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub at: &'static str,
    pub line: String,
    pub headers: HashMap<String, String>,
}

pub struct Hub {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub fn start(file: Vec<u8>) -> Self {
        let state = Arc::new(Mutex::new(State {
            file,
            ..State::default()
        }));
        let cdn = serve("cdn", state.clone(), None);
        let address = serve("hub", state.clone(), Some(cdn));
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The requests for bytes, by what they asked for.
    pub fn ranges(&self) -> Vec<Option<String>> {
        let state = self.state();
        let bytes = state.requests.iter().filter(|request| request.at == "cdn");
        bytes
            .map(|request| request.headers.get("range").cloned())
            .collect()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn serve(at: &'static str, state: Arc<Mutex<State>>, redirect: Option<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            std::thread::spawn(move || {
                // Whoever hangs up has what he wanted.
                let _ = answer(at, &state, redirect, stream);
            });
        }
    });
    address
}

/// Reads one request's head.
pub fn read_request(at: &'static str, stream: &TcpStream) -> std::io::Result<Option<Request>> {
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
    Ok(Some(Request { at, line, headers }))
}

fn answer(
    at: &'static str,
    state: &Mutex<State>,
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
        if !now.front.is_empty() {
            let (status, headers) = now.front.remove(0);
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
                .unwrap_or_else(|| sha256(&now.file));
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
    let how = match now.bytes.len() {
        0 => Bytes::Well,
        1 => now.bytes[0].clone(),
        _ => now.bytes.remove(0),
    };
    let file = now.file.clone();
    drop(now);
    let etag = format!("\"{}\"", &sha256(&file)[..16]);
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
    if !fits || matches!(how, Bytes::Whole) {
        from = 0;
    }
    if let Bytes::Status(status, headers) = how {
        return write!(
            stream,
            "HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    if let Bytes::Never = how {
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
    let told = match how {
        Bytes::Misplaced => from + 1,
        _ => from,
    };
    let (status, range) = match from {
        0 => (200, String::new()),
        _ => (
            206,
            format!(
                "content-range: bytes {told}-{}/{}\r\n",
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
        Bytes::Cut(after) => stream.write_all(&body[..after.min(body.len())]),
        Bytes::Slowly => {
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
