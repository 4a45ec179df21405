//! A receiver of webhooks: an HTTP server of the test's own that records every request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::eventually;
use super::world::SETTLE_TIMEOUT;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The request line and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> String {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(header, _)| header.eq_ignore_ascii_case(name));
        let (_, value) = found.unwrap_or_else(|| panic!("no {name} in {}", self.head));
        value.to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Debug, Default)]
struct ReceiverState {
    requests: Vec<ReceivedRequest>,
    /// The status and headers of the next answers. `None` never answers.
    answer: Option<String>,
}

/// The receiver; it ends with the test.
#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<Mutex<ReceiverState>>,
}

impl Receiver {
    /// Listens on a loopback address, and answers with this status.
    pub async fn start(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(ReceiverState::default()));
        let receiver = Self {
            address,
            state: Arc::clone(&state),
        };
        receiver.set_answer(Some(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_request(stream, Arc::clone(&state)));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Sets the status of the next answers, such as `500 Oops`, with headers behind `\r\n`.
    pub fn set_answer(&self, answer: Option<&str>) {
        self.state.lock().unwrap().answer = answer.map(str::to_owned);
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Waits until so many requests have arrived.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ReceivedRequest> {
        let what = format!("{count} requests arrive");
        eventually(&what, SETTLE_TIMEOUT, || async {
            let requests = self.requests();
            match requests.len() >= count {
                true => Ok(requests),
                false => Err(format!("{} arrived", requests.len())),
            }
        })
        .await
    }
}

/// Reads one request and answers it. Returns early if the client ends the connection.
async fn serve_request(mut stream: TcpStream, state: Arc<Mutex<ReceiverState>>) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.parse::<usize>().unwrap())
            });
            bytes.drain(..end + 4);
            break (head, length.unwrap_or(0));
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = ReceivedRequest { head, body: bytes };
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push(request);
        state.answer.clone()
    };
    match answer {
        Some(answer) => {
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        // Holds the connection until the client ends it.
        None => while stream.read_buf(&mut Vec::<u8>::new()).await.unwrap_or(0) > 0 {},
    }
}
