//! Readiness probes: requests that a client would send.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Limit of one answer; nats-server's greeting has about 500 bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Checks that nats-server has JetStream enabled and answers a PING.
pub(crate) async fn check_nats(port: u16) -> Result<(), String> {
    with_timeout(async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let (read, mut write) = stream.into_split();
        let mut answers = BufReader::new(read.take(MAX_ANSWER_BYTES));
        let mut line = String::new();
        answers.read_line(&mut line).await?;
        let info: serde_json::Value = line
            .strip_prefix("INFO ")
            .and_then(|info| serde_json::from_str(info).ok())
            .ok_or_else(|| not_ready(format!("unexpected greeting {:?}", truncate_text(&line))))?;
        if info["jetstream"] != true {
            return Err(not_ready("JetStream is not enabled yet".to_owned()));
        }
        let hello = r#"CONNECT {"verbose":false,"pedantic":false,"name":"lookalike readiness","lang":"rust","version":"1"}"#;
        write
            .write_all(format!("{hello}\r\nPING\r\n").as_bytes())
            .await?;
        line.clear();
        answers.read_line(&mut line).await?;
        match line.trim_end() {
            "PONG" => Ok(()),
            answer => Err(not_ready(format!("unexpected answer {:?} to a PING", truncate_text(answer)))),
        }
    })
    .await
}

/// Checks that nats-server's streams accept writes. After a failed write (a full disk) a stream
/// rejects writes until the server restarts, even if space is free again. An unreachable server is
/// not an error here.
pub(crate) async fn check_nats_store(
    client: &reqwest::Client,
    health_port: u16,
) -> Result<(), String> {
    let url = format!("http://127.0.0.1:{health_port}/healthz");
    let Ok(answer) = client.get(url).timeout(PROBE_TIMEOUT).send().await else {
        return Ok(());
    };
    match answer.text().await {
        Ok(text) if text.contains("write error") || text.contains("not enabled") => {
            Err(text.trim().chars().take(300).collect())
        }
        _ => Ok(()),
    }
}

/// Checks Milvus' health endpoint, and that its gRPC port speaks HTTP/2.
pub(crate) async fn check_milvus(
    client: &reqwest::Client,
    metrics_port: u16,
    grpc_port: u16,
) -> Result<(), String> {
    let health = async {
        let url = format!("http://127.0.0.1:{metrics_port}/healthz");
        let answer = client.get(url).send().await.map_err(io::Error::other)?;
        let text = answer.text().await.map_err(io::Error::other)?;
        match text.trim() {
            "OK" => Ok(()),
            _ => Err(not_ready(format!(
                "its health is {:?}",
                truncate_text(&text)
            ))),
        }
    };
    with_timeout(health).await?;
    with_timeout(async {
        // The client preface of HTTP/2, then an empty SETTINGS frame (type 4) from each side.
        let mut greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        greeting.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, grpc_port)).await?;
        stream.write_all(&greeting).await?;
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await?;
        match frame[3] {
            4 => Ok(()),
            _ => Err(not_ready("its gRPC port does not speak HTTP/2".to_owned())),
        }
    })
    .await
}

async fn with_timeout(probe: impl Future<Output = io::Result<()>>) -> Result<(), String> {
    match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it accepts connections but sends no answer".to_owned()),
    }
}

fn not_ready(message: String) -> io::Error {
    io::Error::other(message)
}

fn truncate_text(text: &str) -> String {
    text.trim().chars().take(100).collect()
}
