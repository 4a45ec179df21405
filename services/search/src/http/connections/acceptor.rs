//! Accepts connections. While no descriptor is left, it waits; poem's own acceptor would repeat the
//! failing call without a pause and use a whole core.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use lookalike_chassis::descriptors::{descriptor_limit, is_out_of_descriptors};
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::registry::{ConnectionEnds, ConnectionRegistry};
use super::stream::ServedStream;

/// The pause after a failed call.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// The pause after a failed call if a connection was asked to end, which frees a descriptor.
const SHORT_RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// How long a connection that was asked to end may take before another one is asked.
const PLACE_INTERVAL: Duration = Duration::from_millis(200);
/// The least time between two log lines about the same trouble.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

pub(in crate::http) struct BoundedAcceptor {
    listener: TcpListener,
    registry: Arc<ConnectionRegistry>,
    failure_warning: WarningLimit,
    full_warning: WarningLimit,
}

impl BoundedAcceptor {
    pub(in crate::http) fn new(
        listener: std::net::TcpListener,
        registry: Arc<ConnectionRegistry>,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            registry,
            failure_warning: WarningLimit::default(),
            full_warning: WarningLimit::default(),
        })
    }

    /// Accepts a connection, however long it takes.
    async fn accept_stream(&mut self) -> (TcpStream, ConnectionEnds) {
        loop {
            let accepted = self.listener.accept().await;
            let identified = accepted.and_then(|(stream, remote)| {
                let local = stream.local_addr()?;
                Ok((stream, ConnectionEnds { local, remote }))
            });
            match identified {
                Ok(identified) => return identified,
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => self.recover_from(&error).await,
            }
        }
    }

    /// Waits before the next try. New connections wait in the queue of the listener meanwhile.
    async fn recover_from(&mut self, error: &io::Error) {
        let is_due = self.failure_warning.is_due(Instant::now());
        let is_out = is_out_of_descriptors(error);
        if is_due && is_out {
            tracing::error!(
                %error,
                limit = descriptor_limit(),
                "no file descriptor is left, so new connections wait: raise the limit \
                 (LimitNOFILE= of systemd, --ulimit nofile= of Docker, ulimit -n), or lower \
                 http.max_connections"
            );
        } else if is_due {
            tracing::warn!(%error, "cannot accept connections; trying again");
        }
        let pause = match is_out && self.registry.end_longest_idle() {
            true => SHORT_RETRY_INTERVAL,
            false => RETRY_INTERVAL,
        };
        tokio::time::sleep(pause).await;
    }

    /// Returns a place for one more connection. If there is none, connections without a request
    /// end, the longest idle one first; if all have requests, the new one waits.
    async fn reserve_place(&mut self) -> OwnedSemaphorePermit {
        loop {
            if let Some(place) = self.registry.take_place() {
                return place;
            }
            let has_ended_one = self.registry.end_longest_idle();
            if !has_ended_one && self.full_warning.is_due(Instant::now()) {
                tracing::warn!(
                    max_connections = self.registry.limits.max_connections,
                    "every connection has a request in progress, so new ones wait \
                     (http.max_connections)"
                );
            }
            let waiting = self.registry.wait_for_place();
            if let Ok(place) = tokio::time::timeout(PLACE_INTERVAL, waiting).await {
                return place;
            }
        }
    }
}

impl Acceptor for BoundedAcceptor {
    type Io = ServedStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        let address = self.listener.local_addr();
        address
            .into_iter()
            .map(|address| LocalAddr(address.into()))
            .collect()
    }

    async fn accept(&mut self) -> io::Result<(ServedStream, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, ends) = self.accept_stream().await;
        let place = self.reserve_place().await;
        let entry = self.registry.add_connection(ends, place);
        Ok((
            ServedStream::new(stream, entry),
            LocalAddr(ends.local.into()),
            RemoteAddr(ends.remote.into()),
            Scheme::HTTP,
        ))
    }
}

/// Whether the error is that of a connection which its client gave up before it was accepted. The
/// next call returns the next connection.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::NotConnected
            | ErrorKind::Interrupted
    )
}

/// Limits how often a warning is logged.
#[derive(Debug, Default)]
pub(super) struct WarningLimit {
    last: Option<Instant>,
}

impl WarningLimit {
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|last| now - last >= WARNING_INTERVAL);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}
