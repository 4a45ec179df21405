//! A proxy between a role and a server whose connections can be cut, slowed, frozen or left half-open.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::chaos::plan::faults::ConnectionFault;

const CHUNK_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ProxyState {
    fault: Option<ConnectionFault>,
    /// Connections of an older generation have lost bytes and must close.
    generation: u64,
}

/// A listening proxy; it stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: watch::Sender<ProxyState>,
}

impl FaultProxy {
    /// Listens on a free loopback port and forwards connections to `target`.
    pub async fn start(target: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(ProxyState::default());
        tokio::spawn(accept_connections(listener, target.into(), states));
        Ok(Self { address, state })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault of all connections from now on; `None` ends it.
    pub fn set_fault(&self, fault: Option<ConnectionFault>) {
        self.state.send_modify(|state| {
            // Dropped bytes are lost, so clients must reconnect.
            if fault == Some(ConnectionFault::Cut) || state.fault == Some(ConnectionFault::HalfOpen)
            {
                state.generation += 1;
            }
            state.fault = fault;
        });
    }
}

async fn accept_connections(
    listener: TcpListener,
    target: Arc<str>,
    mut states: watch::Receiver<ProxyState>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                if states.borrow().fault == Some(ConnectionFault::Cut) {
                    continue;
                }
                tokio::spawn(carry_connection(client, Arc::clone(&target), states.clone()));
            }
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

/// Forwards one connection in both directions until a side closes it or a fault breaks it.
async fn carry_connection(
    client: TcpStream,
    target: Arc<str>,
    mut states: watch::Receiver<ProxyState>,
) {
    let generation = states.borrow().generation;
    let broken = {
        let mut states = states.clone();
        async move {
            let _ = states
                .wait_for(|state| state.generation != generation)
                .await;
        }
    };
    let both_ways = async {
        // If the server refuses the connection, the proxy closes the client's.
        if states.wait_for(|state| is_passing(*state)).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(&*target).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = copy_one_way(from_client, to_server, states.clone()) => {}
            () = copy_one_way(from_server, to_client, states.clone()) => {}
        }
    };
    tokio::select! {
        () = broken => {}
        () = both_ways => {}
    }
}

fn is_passing(state: ProxyState) -> bool {
    !matches!(
        state.fault,
        Some(ConnectionFault::Frozen | ConnectionFault::HalfOpen | ConnectionFault::Cut)
    )
}

async fn copy_one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut states: watch::Receiver<ProxyState>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(length @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        let fault = states.borrow_and_update().fault;
        match fault {
            Some(ConnectionFault::HalfOpen) => continue,
            Some(ConnectionFault::Slow(by)) => tokio::time::sleep(by).await,
            _ => {}
        }
        let not_frozen = |state: &ProxyState| state.fault != Some(ConnectionFault::Frozen);
        if states.wait_for(not_frozen).await.is_err() {
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

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    /// Starts an echo server and a proxy to it.
    async fn start_echo_server() -> (FaultProxy, SocketAddr) {
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
        let proxy = FaultProxy::start(target).await.unwrap();
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

            // Frozen: nothing arrives until the fault ends.
            proxy.set_fault(Some(ConnectionFault::Frozen));
            stream.write_all(&[2]).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
            assert!(early.await.is_err());
            proxy.set_fault(None);
            assert_eq!(stream.read_u8().await.unwrap(), 2);

            // Slow: data arrives after the delay.
            let by = Duration::from_millis(50);
            proxy.set_fault(Some(ConnectionFault::Slow(by)));
            let started = tokio::time::Instant::now();
            assert_eq!(echo_byte(&mut stream, 3).await, Some(3));
            assert!(started.elapsed() >= by);

            // Half-open: the connection stays open, loses data, and closes when the fault ends.
            proxy.set_fault(Some(ConnectionFault::HalfOpen));
            stream.write_all(&[4]).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
            assert!(early.await.is_err());
            proxy.set_fault(None);
            assert!(stream.read_u8().await.is_err());

            // Cut: the connection closes, and so does every new one.
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 5).await, Some(5));
            proxy.set_fault(Some(ConnectionFault::Cut));
            assert!(stream.read_u8().await.is_err());
            let mut refused = TcpStream::connect(address).await.unwrap();
            assert_eq!(echo_byte(&mut refused, 6).await, None);
            proxy.set_fault(None);
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(echo_byte(&mut stream, 7).await, Some(7));
        };
        tokio::time::timeout(TEST_TIMEOUT, test).await.unwrap();
    }
}
