//! A TCP proxy in front of NATS or Milvus whose wire can be slowed, frozen, half-open or cut.
//!
//! A connection that lost bytes is closed when the wire changes, because a real peer would notice
//! the loss. The proxy has a thread and a runtime of its own, so that it also works
//! while the test blocks.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the wire does with connections and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Forwards everything.
    Intact,
    /// Forwards everything with this delay.
    Slow(Duration),
    /// Forwards nothing, and everything later: no byte is lost.
    Frozen,
    /// Closes connections, and new ones at once.
    Cut,
    /// Accepts and keeps connections, and drops all bytes.
    HalfOpen,
    /// Forwards requests and drops replies.
    Answerless,
}

/// A listening proxy; dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on a free port of loopback and forwards to the server of `url`, given with or without a
    /// scheme. The wire is intact.
    ///
    /// # Errors
    /// No port is free.
    pub fn in_front_of(url: &str) -> io::Result<Self> {
        let target = url.rsplit('/').next().unwrap_or(url).to_owned();
        let (wire, wire_changes) = watch::channel(Wire::Intact);
        let lost = Arc::new(AtomicU64::new(0));
        let connection = ProxiedConnection {
            wire: wire_changes,
            lost: lost.clone(),
        };
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime on this thread can be built");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await;
                let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
                match bound {
                    Ok((address, listener)) => {
                        let _ = sender.send(Ok(address));
                        accept_clients(listener, connection, target).await;
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                    }
                }
            });
        });
        let address = receiver
            .recv()
            .map_err(|_| io::Error::other("the proxy's thread has ended"))??;
        Ok(Self {
            address,
            wire,
            lost,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the proxy with the given scheme.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    pub fn set_wire(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// Number of lost bytes, plus the number of connections accepted on a half-open wire.
    pub fn lost_count(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Accepts connections until the proxy is dropped.
async fn accept_clients(listener: TcpListener, connection: ProxiedConnection, target: String) {
    let mut wire = connection.wire.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                tokio::spawn(connection.clone().serve_client(client, target.clone()));
            }
            () = async { while wire.changed().await.is_ok() {} } => return,
        }
    }
}

#[derive(Clone)]
struct ProxiedConnection {
    wire: watch::Receiver<Wire>,
    lost: Arc<AtomicU64>,
}

impl ProxiedConnection {
    async fn serve_client(mut self, mut client: TcpStream, target: String) {
        // The server is not contacted while nothing passes; the client may wait or write.
        let mut buffer = vec![0; 16 << 10];
        loop {
            let wire = *self.wire.borrow_and_update();
            match wire {
                Wire::Cut => return,
                Wire::Frozen => {
                    if self.wire.changed().await.is_err() {
                        return;
                    }
                }
                Wire::HalfOpen => {
                    // The server's greeting is lost.
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    tokio::select! {
                        read = client.read(&mut buffer) => match read {
                            Ok(count) if count > 0 => {
                                self.lost.fetch_add(count as u64, Ordering::Relaxed);
                            }
                            _ => return,
                        },
                        // The client's bytes are lost, so the connection ends.
                        _ = self.wire.changed() => return,
                    }
                }
                Wire::Intact | Wire::Slow(_) | Wire::Answerless => break,
            }
        }
        let Ok(server) = TcpStream::connect(target).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let lossy_wire = Arc::new(OnceLock::new());
        tokio::select! {
            () = self.clone().forward_bytes(from_client, to_server, false, lossy_wire.clone()) => {}
            () = self.forward_bytes(from_server, to_client, true, lossy_wire) => {}
        }
    }

    /// Forwards one direction of a connection; `lossy_wire` is the wire that lost bytes of either.
    async fn forward_bytes(
        mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_reply: bool,
        lossy_wire: Arc<OnceLock<Wire>>,
    ) {
        // The other direction may have lost bytes before this one hears of the lossy wire.
        let is_broken =
            |wire| wire == Wire::Cut || lossy_wire.get().is_some_and(|lossy| *lossy != wire);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = tokio::select! {
                biased;
                changed = self.wire.changed() => {
                    if changed.is_err() || is_broken(*self.wire.borrow()) {
                        return;
                    }
                    continue;
                }
                read = from.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => count,
                    _ => return,
                },
            };
            let thawed = self.wire.wait_for(|wire| *wire != Wire::Frozen).await;
            let Ok(wire) = thawed.map(|wire| *wire) else {
                return;
            };
            if is_broken(wire) {
                return;
            }
            if wire == Wire::HalfOpen || wire == Wire::Answerless && is_reply {
                lossy_wire.get_or_init(|| wire);
                self.lost.fetch_add(count as u64, Ordering::Relaxed);
                continue;
            }
            if let Wire::Slow(delay) = wire {
                tokio::time::sleep(delay).await;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    /// Starts a server that sends back what it receives, and a proxy in front of it.
    async fn echo_server() -> Proxy {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Proxy::in_front_of(&target).unwrap()
    }

    async fn echo_byte(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        stream.write_all(&[byte]).await.ok()?;
        stream.read_u8().await.ok()
    }

    async fn assert_silent(stream: &mut TcpStream) {
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
        assert!(read.await.is_err());
    }

    #[tokio::test]
    async fn each_fault_and_its_end() {
        let proxy = echo_server().await;
        let test = async {
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 1).await, Some(1));

            // Frozen: nothing arrives, and all of it later.
            proxy.set_wire(Wire::Frozen);
            stream.write_all(&[2]).await.unwrap();
            assert_silent(&mut stream).await;
            proxy.set_wire(Wire::Intact);
            assert_eq!(stream.read_u8().await.unwrap(), 2);

            // Slow: it arrives later.
            let delay = Duration::from_millis(50);
            proxy.set_wire(Wire::Slow(delay));
            let begun = tokio::time::Instant::now();
            assert_eq!(echo_byte(&mut stream, 3).await, Some(3));
            assert!(begun.elapsed() >= delay);

            // Half-open: the connection stays, loses bytes, and is closed when the wire works again.
            proxy.set_wire(Wire::HalfOpen);
            stream.write_all(&[4]).await.unwrap();
            assert_silent(&mut stream).await;
            assert_eq!(proxy.lost_count(), 1);
            proxy.set_wire(Wire::Intact);
            assert!(stream.read_u8().await.is_err());

            // Answerless: the request arrives, the reply is lost, and then the connection.
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 5).await, Some(5));
            proxy.set_wire(Wire::Answerless);
            stream.write_all(&[6]).await.unwrap();
            assert_silent(&mut stream).await;
            assert_eq!(proxy.lost_count(), 2);
            proxy.set_wire(Wire::Intact);
            assert!(stream.read_u8().await.is_err());

            // Cut: the connection is closed, and so is every new one.
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 7).await, Some(7));
            proxy.set_wire(Wire::Cut);
            assert!(stream.read_u8().await.is_err());
            let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(echo_byte(&mut refused, 8).await, None);
            proxy.set_wire(Wire::Intact);
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 9).await, Some(9));
        };
        tokio::time::timeout(TEST_TIMEOUT, test).await.unwrap();
    }
}
