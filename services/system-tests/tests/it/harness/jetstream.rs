//! What is done to NATS behind everybody's back, in its own protocol over a bare connection: the
//! tests look at streams, delete them, and put old messages into them.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// The streams of one namespace.
pub struct JetStream {
    address: String,
    namespace: String,
}

impl JetStream {
    /// Those of a namespace on the server of a url.
    pub fn new(url: &str, namespace: &str) -> Self {
        Self {
            address: url.rsplit('/').next().unwrap().to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// The stream of events.
    pub fn events_stream(&self) -> String {
        format!("{}_EVENTS", self.namespace.to_ascii_uppercase())
    }

    /// The stream of outcomes.
    pub fn outcomes_stream(&self) -> String {
        format!("{}_OUTCOMES", self.namespace.to_ascii_uppercase())
    }

    /// Messages that a stream holds; 0 where there is none.
    pub async fn count_messages(&self, stream: &str) -> u64 {
        let info = self.call_api(&format!("STREAM.INFO.{stream}"), "").await;
        info["state"]["messages"].as_u64().unwrap_or(0)
    }

    /// Events in workers' hands.
    pub async fn count_in_flight(&self) -> u64 {
        let info = format!("CONSUMER.INFO.{}.embedder", self.events_stream());
        let info = self.call_api(&info, "").await;
        info["num_ack_pending"].as_u64().unwrap_or(0)
    }

    /// Deletes a stream with all that is in it.
    pub async fn delete_stream(&self, stream: &str) {
        let answer = self.call_api(&format!("STREAM.DELETE.{stream}"), "").await;
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// Deletes the workers' consumer.
    pub async fn delete_consumer(&self) {
        let consumer = format!("CONSUMER.DELETE.{}.embedder", self.events_stream());
        let answer = self.call_api(&consumer, "").await;
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// Every event that waits, in order: subject and bytes.
    pub async fn waiting_events(&self) -> Vec<(String, Vec<u8>)> {
        let stream = self.events_stream();
        let info = self.call_api(&format!("STREAM.INFO.{stream}"), "").await;
        let number = |key: &str| info["state"][key].as_u64().unwrap();
        let mut events = Vec::new();
        for sequence in number("first_seq")..=number("last_seq") {
            let request = format!("{{\"seq\":{sequence}}}");
            let reply = self
                .call_api(&format!("STREAM.MSG.GET.{stream}"), &request)
                .await;
            if let Some(data) = reply["message"]["data"].as_str() {
                let bytes = base64::prelude::BASE64_STANDARD.decode(data).unwrap();
                let subject = reply["message"]["subject"].as_str().unwrap();
                events.push((subject.to_owned(), bytes));
            }
        }
        events
    }

    /// Stores a message, as a late or doubled one.
    pub async fn publish_message(&self, subject: &str, payload: &[u8]) {
        let answer = self.send_request(subject, payload).await;
        assert!(answer["seq"].is_u64(), "{answer}");
    }

    async fn call_api(&self, operation: &str, payload: &str) -> Value {
        let subject = format!("$JS.API.{operation}");
        self.send_request(&subject, payload.as_bytes()).await
    }

    async fn send_request(&self, subject: &str, payload: &[u8]) -> Value {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let mut stream = BufReader::new(stream);
        let inbox = format!("_INBOX.{}.{}", std::process::id(), next_inbox_number());
        let mut commands = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\n\
             PUB {subject} {inbox} {}\r\n",
            payload.len()
        )
        .into_bytes();
        commands.extend(payload);
        commands.extend(b"\r\n");
        stream.get_mut().write_all(&commands).await.unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            let count = stream.read_line(&mut line).await.unwrap();
            assert!(count > 0, "NATS ended the connection");
            if line.starts_with("PING") {
                stream.get_mut().write_all(b"PONG\r\n").await.unwrap();
            } else if let Some(message) = line.strip_prefix("MSG ") {
                let length = message.split_whitespace().last().unwrap().parse().unwrap();
                let mut answer = vec![0; length];
                stream.read_exact(&mut answer).await.unwrap();
                return serde_json::from_slice(&answer).unwrap();
            } else if line.starts_with("HMSG ") {
                panic!("nobody takes {subject}");
            } else {
                assert!(!line.starts_with("-ERR"), "{line}");
            }
        }
    }
}

/// Every request has an inbox of its own.
fn next_inbox_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
