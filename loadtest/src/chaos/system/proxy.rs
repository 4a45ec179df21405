//! A wire between a role and a server that can be cut, slowed, frozen or left half-open.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::chaos::plan::faults::WireTrouble;

/// The most that is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What the wire is like now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct WireState {
    trouble: Option<WireTrouble>,
    /// Connections of an older one lost bytes, and can't go on.
    generation: u64,
}

/// A listening proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct WireProxy {
    address: SocketAddr,
    state: watch::Sender<WireState>,
}

impl WireProxy {
    /// Listens on a free port of loopback for connections to `target`.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start(target: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(WireState::default());
        tokio::spawn(accept_connections(listener, target.into(), seen));
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set_trouble(&self, trouble: Option<WireTrouble>) {
        self.state.send_modify(|state| {
            // What was swallowed is gone, so what goes on after must be a new connection.
            if trouble == Some(WireTrouble::Cut) || state.trouble == Some(WireTrouble::HalfOpen) {
                state.generation += 1;
            }
            state.trouble = trouble;
        });
    }
}

async fn accept_connections(
    listener: TcpListener,
    target: Arc<str>,
    mut wire_state: watch::Receiver<WireState>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                if wire_state.borrow().trouble == Some(WireTrouble::Cut) {
                    continue;
                }
                tokio::spawn(carry_connection(client, Arc::clone(&target), wire_state.clone()));
            }
            changed = wire_state.changed() => if changed.is_err() { return },
        }
    }
}

/// Carries one connection both ways until either side ends it or the wire's trouble does.
async fn carry_connection(
    client: TcpStream,
    target: Arc<str>,
    mut wire_state: watch::Receiver<WireState>,
) {
    let generation = wire_state.borrow().generation;
    let broken = {
        let mut seen = wire_state.clone();
        async move {
            let _ = seen.wait_for(|state| state.generation != generation).await;
        }
    };
    let both_ways = async {
        // A server that is down refuses, and so does the proxy by closing.
        if wire_state
            .wait_for(|state| is_passing(*state))
            .await
            .is_err()
        {
            return;
        }
        let Ok(server) = TcpStream::connect(&*target).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = copy_one_way(from_client, to_server, wire_state.clone()) => {}
            () = copy_one_way(from_server, to_client, wire_state.clone()) => {}
        }
    };
    tokio::select! {
        () = broken => {}
        () = both_ways => {}
    }
}

fn is_passing(state: WireState) -> bool {
    !matches!(
        state.trouble,
        Some(WireTrouble::Frozen | WireTrouble::HalfOpen | WireTrouble::Cut)
    )
}

async fn copy_one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut wire_state: watch::Receiver<WireState>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(length @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        let state = *wire_state.borrow_and_update();
        match state.trouble {
            Some(WireTrouble::HalfOpen) => continue,
            Some(WireTrouble::Slow(by)) => tokio::time::sleep(by).await,
            _ => {}
        }
        let frozen = |state: &WireState| state.trouble != Some(WireTrouble::Frozen);
        if wire_state.wait_for(frozen).await.is_err() {
            return;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long all of the test may take.
    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    /// A server that says back what it is told, and a client of it through a proxy.
    async fn start_echo_server() -> (WireProxy, SocketAddr) {
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
        let proxy = WireProxy::start(target).await.unwrap();
        let address = proxy.address();
        (proxy, address)
    }

    async fn echo_byte(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        stream.write_all(&[byte]).await.ok()?;
        stream.read_u8().await.ok()
    }

    #[tokio::test]
    async fn each_trouble_and_its_end() {
        let (proxy, address) = start_echo_server().await;
        let test = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 1).await, Some(1));

            // Frozen: nothing comes, and all of it later.
            proxy.set_trouble(Some(WireTrouble::Frozen));
            stream.write_all(&[2]).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
            assert!(early.await.is_err());
            proxy.set_trouble(None);
            assert_eq!(stream.read_u8().await.unwrap(), 2);

            // Slow: later, but it comes.
            let by = Duration::from_millis(50);
            proxy.set_trouble(Some(WireTrouble::Slow(by)));
            let begun = tokio::time::Instant::now();
            assert_eq!(echo_byte(&mut stream, 3).await, Some(3));
            assert!(begun.elapsed() >= by);

            // Half-open: it stands, loses what is sent, and is closed when the wire works again.
            proxy.set_trouble(Some(WireTrouble::HalfOpen));
            stream.write_all(&[4]).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
            assert!(early.await.is_err());
            proxy.set_trouble(None);
            assert!(stream.read_u8().await.is_err());

            // Cut: it is closed, and so is every new one.
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 5).await, Some(5));
            proxy.set_trouble(Some(WireTrouble::Cut));
            assert!(stream.read_u8().await.is_err());
            let mut refused = TcpStream::connect(address).await.unwrap();
            assert_eq!(echo_byte(&mut refused, 6).await, None);
            proxy.set_trouble(None);
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 7).await, Some(7));
        };
        tokio::time::timeout(TEST_TIMEOUT, test).await.unwrap();
    }
}
