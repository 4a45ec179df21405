//! A wire that can be cut: a TCP proxy that stands before NATS or Milvus.
//!
//! It has a thread and a runtime of its own, so that it works whatever its test waits for. What
//! passed a broken wire is broken: connections that lost bytes are closed when the wire is
//! mended, as a real peer would be found out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Everything passes.
    Intact,
    /// Everything passes this much later.
    Slow(Duration),
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stand and are accepted, and nothing passes.
    HalfOpen,
    /// Requests arrive; answers don't.
    Answerless,
}

/// The proxy; its wire breaks for good when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    /// Stands before the server of a url; the wire is whole.
    pub fn in_front_of(url: &str) -> Self {
        let target = url.rsplit('/').next().unwrap().to_owned();
        let (wire, wired) = watch::channel(Wire::Intact);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                let mut ended = wired.clone();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (client, _) = accepted.unwrap();
                            let line = ProxiedConnection {
                                wire: wired.clone(),
                                lost: counted.clone(),
                            };
                            tokio::spawn(line.serve_client(client, target.clone()));
                        }
                        () = async { while ended.changed().await.is_ok() {} } => return,
                    }
                }
            });
        });
        Self {
            address: receiver.recv().unwrap(),
            wire,
            lost,
        }
    }

    /// Its own address in the form of `url`'s.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// From now on the wire does this.
    pub fn set_wire(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// How much was swallowed so far: bytes, and greetings.
    pub fn lost_count(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct ProxiedConnection {
    wire: watch::Receiver<Wire>,
    lost: Arc<AtomicU64>,
}

impl ProxiedConnection {
    async fn serve_client(mut self, client: TcpStream, target: String) {
        // Nobody is asked while the wire is half-open; the client may wait or write.
        let mut client = client;
        let mut buffer = vec![0; 16 << 10];
        loop {
            let wire = *self.wire.borrow_and_update();
            match wire {
                Wire::Cut => return,
                Wire::HalfOpen => {
                    // Its greeting is lost.
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    tokio::select! {
                        read = client.read(&mut buffer) => match read {
                            Ok(count) if count > 0 => {
                                self.lost.fetch_add(count as u64, Ordering::Relaxed);
                            }
                            _ => return,
                        },
                        // Whatever it wrote is lost, so it is told that the connection is.
                        _ = self.wire.changed() => return,
                    }
                }
                _ => break,
            }
        }
        let Ok(server) = TcpStream::connect(target).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let is_tainted = Arc::new(AtomicBool::new(false));
        tokio::select! {
            () = self.clone().forward_bytes(from_client, to_server, false, is_tainted.clone()) => {}
            () = self.forward_bytes(from_server, to_client, true, is_tainted) => {}
        }
    }

    async fn forward_bytes(
        mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_answer: bool,
        is_tainted: Arc<AtomicBool>,
    ) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = tokio::select! {
                biased;
                changed = self.wire.changed() => {
                    let is_broken = changed.is_err()
                        || *self.wire.borrow() == Wire::Cut
                        || is_tainted.load(Ordering::Relaxed);
                    if is_broken {
                        return;
                    }
                    continue;
                }
                read = from.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => count,
                    _ => return,
                },
            };
            let wire = *self.wire.borrow();
            if wire == Wire::HalfOpen || wire == Wire::Answerless && is_answer {
                is_tainted.store(true, Ordering::Relaxed);
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
