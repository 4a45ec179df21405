//! Access to NATS without lookalike's knowledge, in its own protocol: the tests read streams, delete
//! them, and publish old messages.

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
    pub fn new(url: &str, namespace: &str) -> Self {
        Self {
            address: url.rsplit('/').next().unwrap().to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    pub fn events_stream(&self) -> String {
        format!("{}_EVENTS", self.namespace.to_ascii_uppercase())
    }

    pub fn outcomes_stream(&self) -> String {
        format!("{}_OUTCOMES", self.namespace.to_ascii_uppercase())
    }

    /// Returns the number of messages in a stream; 0 if it does not exist.
    pub async fn count_messages(&self, stream: &str) -> u64 {
        let info = self.call_api(&format!("STREAM.INFO.{stream}"), "").await;
        info["state"]["messages"].as_u64().unwrap_or(0)
    }

    /// Returns the number of events in flight.
    pub async fn count_in_flight(&self) -> u64 {
        let info = format!("CONSUMER.INFO.{}.embedder", self.events_stream());
        let info = self.call_api(&info, "").await;
        info["num_ack_pending"].as_u64().unwrap_or(0)
    }

    /// Deletes a stream with all its messages.
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

    /// Returns the subject and the bytes of every waiting event, in order.
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

    /// Stores a message, as a late or duplicate one would be.
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
                panic!("{subject} has no subscriber");
            } else {
                assert!(!line.starts_with("-ERR"), "{line}");
            }
        }
    }
}

/// Returns a number for the inbox of one request.
fn next_inbox_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
