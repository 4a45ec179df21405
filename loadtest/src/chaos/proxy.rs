//! A wire between a role and a server that can be cut, slowed, frozen or left half-open.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::faults::Trouble;

/// The most that is read at once.
const PIECE: usize = 64 << 10;

/// What the wire is like now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    trouble: Option<Trouble>,
    /// Connections of an older one lost bytes, and can't go on.
    generation: u64,
}

/// A listening proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Proxy {
    /// Listens on a free port of loopback for connections to `target`.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start(target: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(State::default());
        tokio::spawn(accept(listener, target.into(), seen));
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        self.state.send_modify(|state| {
            // What was swallowed is gone, so what goes on after must be a new connection.
            if trouble == Some(Trouble::Cut) || state.trouble == Some(Trouble::HalfOpen) {
                state.generation += 1;
            }
            state.trouble = trouble;
        });
    }
}

async fn accept(listener: TcpListener, target: Arc<str>, mut seen: watch::Receiver<State>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                if seen.borrow().trouble == Some(Trouble::Cut) {
                    continue;
                }
                tokio::spawn(carry(client, Arc::clone(&target), seen.clone()));
            }
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

/// Carries one connection both ways until either side ends it or the wire's trouble does.
async fn carry(client: TcpStream, target: Arc<str>, mut seen: watch::Receiver<State>) {
    let generation = seen.borrow().generation;
    let over = {
        let mut seen = seen.clone();
        async move {
            let _ = seen.wait_for(|state| state.generation != generation).await;
        }
    };
    let both_ways = async {
        // A server that is down refuses, and so does the proxy by closing.
        if seen.wait_for(|state| moves(*state)).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(&*target).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = one_way(from_client, to_server, seen.clone()) => {}
            () = one_way(from_server, to_client, seen.clone()) => {}
        }
    };
    tokio::select! {
        () = over => {}
        () = both_ways => {}
    }
}

fn moves(state: State) -> bool {
    !matches!(
        state.trouble,
        Some(Trouble::Frozen | Trouble::HalfOpen | Trouble::Cut)
    )
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut seen: watch::Receiver<State>,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else {
            return;
        };
        let state = *seen.borrow_and_update();
        match state.trouble {
            Some(Trouble::HalfOpen) => continue,
            Some(Trouble::Slow(by)) => tokio::time::sleep(by).await,
            _ => {}
        }
        let frozen = |state: &State| state.trouble != Some(Trouble::Frozen);
        if seen.wait_for(frozen).await.is_err() {
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long all of the test may take.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that says back what it is told, and a client of it through a proxy.
    async fn echo() -> (Proxy, SocketAddr) {
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
        let proxy = Proxy::start(target).await.unwrap();
        let address = proxy.address();
        (proxy, address)
    }

    async fn said_back(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        stream.write_all(&[byte]).await.ok()?;
        stream.read_u8().await.ok()
    }

    #[tokio::test]
    async fn each_trouble_and_its_end() {
        let (proxy, address) = echo().await;
        let test = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(said_back(&mut stream, 1).await, Some(1));

            // Frozen: nothing comes, and all of it later.
            proxy.trouble(Some(Trouble::Frozen));
            stream.write_all(&[2]).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
            assert!(early.await.is_err());
            proxy.trouble(None);
            assert_eq!(stream.read_u8().await.unwrap(), 2);

            // Slow: later, but it comes.
            let by = Duration::from_millis(50);
            proxy.trouble(Some(Trouble::Slow(by)));
            let begun = tokio::time::Instant::now();
            assert_eq!(said_back(&mut stream, 3).await, Some(3));
            assert!(begun.elapsed() >= by);

            // Half-open: it stands, loses what is sent, and is closed when the wire works again.
            proxy.trouble(Some(Trouble::HalfOpen));
            stream.write_all(&[4]).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(200), stream.read_u8());
            assert!(early.await.is_err());
            proxy.trouble(None);
            assert!(stream.read_u8().await.is_err());

            // Cut: it is closed, and so is every new one.
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(said_back(&mut stream, 5).await, Some(5));
            proxy.trouble(Some(Trouble::Cut));
            assert!(stream.read_u8().await.is_err());
            let mut refused = TcpStream::connect(address).await.unwrap();
            assert_eq!(said_back(&mut refused, 6).await, None);
            proxy.trouble(None);
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(said_back(&mut stream, 7).await, Some(7));
        };
        tokio::time::timeout(PATIENCE, test).await.unwrap();
    }
}
