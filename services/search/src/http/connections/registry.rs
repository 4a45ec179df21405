//! What each connection does, and which of them must make place for a new one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use poem::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// The limits of the connections of one listener.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct ConnectionLimits {
    pub max_connections: usize,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// Without a request, or without progress of a response.
    pub idle_timeout: Duration,
}

impl ConnectionLimits {
    /// Takes the limits from the settings. Connections use at most half of the descriptors of this
    /// process, because requests open files, and the other roles need descriptors as well.
    pub(in crate::http) fn new(settings: &Settings, descriptors: Option<u64>) -> Self {
        let half = descriptors.map_or(usize::MAX, |limit| {
            usize::try_from(limit / 2).unwrap_or(usize::MAX)
        });
        Self {
            max_connections: settings
                .max_connections
                .min(half)
                .clamp(1, Semaphore::MAX_PERMITS),
            header_timeout: settings.header_timeout,
            idle_timeout: settings.idle_timeout,
        }
    }
}

/// Both ends of a connection identify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConnectionEnds {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// All connections of one listener.
#[derive(Debug)]
pub(in crate::http) struct ConnectionRegistry {
    pub(super) limits: ConnectionLimits,
    connections: Mutex<HashMap<ConnectionEnds, Arc<ConnectionState>>>,
    places: Arc<Semaphore>,
}

impl ConnectionRegistry {
    pub(in crate::http) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            connections: Mutex::default(),
            places: Arc::new(Semaphore::new(limits.max_connections)),
        }
    }

    /// Returns a place for one connection, unless all are taken.
    pub(super) fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits for a place.
    pub(super) async fn wait_for_place(&self) -> OwnedSemaphorePermit {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.expect("the semaphore is never closed")
    }

    pub(super) fn add_connection(
        self: &Arc<Self>,
        ends: ConnectionEnds,
        place: OwnedSemaphorePermit,
    ) -> ConnectionEntry {
        let state = Arc::new(ConnectionState::new(self.limits, Instant::now()));
        self.lock_connections().insert(ends, Arc::clone(&state));
        ConnectionEntry {
            registry: Arc::clone(self),
            ends,
            state,
            _place: place,
        }
    }

    /// Asks the connection that has done nothing for the longest time to end. Connections with a
    /// request in progress stay; one that waits for its client to take more of a response ends only
    /// if there is no other. Returns whether there was one.
    pub(super) fn end_longest_idle(&self) -> bool {
        let connections = self.lock_connections();
        let idle = connections
            .values()
            .filter_map(|state| Some((state.end_order()?, state)));
        let longest = idle.min_by_key(|(order, _)| *order);
        longest.is_some_and(|((is_download, _), state)| {
            // An idle connection that is about to end makes place soon enough.
            let is_one_ending = || connections.values().any(|state| state.is_idle_and_ending());
            (is_download && is_one_ending()) || state.ask_to_end()
        })
    }

    /// Marks the connection of a request as busy until the guard is dropped.
    pub(in crate::http) fn begin_request(&self, request: &Request) -> Option<RequestGuard> {
        let ends = ConnectionEnds {
            local: *request.local_addr().as_socket_addr()?,
            remote: *request.remote_addr().as_socket_addr()?,
        };
        let state = Arc::clone(self.lock_connections().get(&ends)?);
        state.lock_activity().begin_request();
        Some(RequestGuard(state))
    }

    fn lock_connections(&self) -> MutexGuard<'_, HashMap<ConnectionEnds, Arc<ConnectionState>>> {
        self.connections
            .lock()
            .expect("no holder of this lock panics")
    }
}

/// Belongs to a connection; dropping it removes the connection from the registry.
#[derive(Debug)]
pub(super) struct ConnectionEntry {
    registry: Arc<ConnectionRegistry>,
    ends: ConnectionEnds,
    pub state: Arc<ConnectionState>,
    _place: OwnedSemaphorePermit,
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        let mut connections = self.registry.lock_connections();
        // The same ends may have connected again already.
        if connections
            .get(&self.ends)
            .is_some_and(|state| Arc::ptr_eq(state, &self.state))
        {
            connections.remove(&self.ends);
        }
    }
}

/// Keeps a connection busy while a request is in progress.
#[derive(Debug)]
pub(in crate::http) struct RequestGuard(Arc<ConnectionState>);

impl RequestGuard {
    /// Waits until the client has closed its end of the connection.
    pub(in crate::http) async fn wait_for_close(&self) {
        self.0.closed.cancelled().await;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.lock_activity().end_request(Instant::now());
    }
}

/// One connection, as its stream, its requests and the acceptor see it.
#[derive(Debug)]
pub(super) struct ConnectionState {
    pub limits: ConnectionLimits,
    activity: Mutex<ConnectionActivity>,
    /// Wakes the task that reads from the connection.
    pub reader: AtomicWaker,
    /// Cancelled when the client has closed its end.
    pub closed: CancellationToken,
}

impl ConnectionState {
    fn new(limits: ConnectionLimits, now: Instant) -> Self {
        Self {
            limits,
            activity: Mutex::new(ConnectionActivity::new(now)),
            reader: AtomicWaker::new(),
            closed: CancellationToken::new(),
        }
    }

    pub(super) fn lock_activity(&self) -> MutexGuard<'_, ConnectionActivity> {
        self.activity.lock().expect("no holder of this lock panics")
    }

    /// Returns what orders the connections that may be asked to end: idle ones come before running
    /// downloads.
    fn end_order(&self) -> Option<(bool, Instant)> {
        let activity = self.lock_activity();
        let may_end = activity.requests == 0 && !activity.must_end;
        may_end.then_some((activity.is_write_blocked, activity.last_progress))
    }

    fn is_idle_and_ending(&self) -> bool {
        let activity = self.lock_activity();
        activity.must_end && !activity.is_write_blocked
    }

    fn ask_to_end(&self) -> bool {
        let mut activity = self.lock_activity();
        activity.must_end = activity.requests == 0;
        self.reader.wake();
        activity.must_end
    }
}

/// What happened on a connection so far.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    /// Requests whose response is not ready; several only with HTTP/2.
    requests: usize,
    /// When the first byte after the last request arrived: the headers of the next one.
    headers_since: Option<Instant>,
    last_progress: Instant,
    /// The client accepts no more bytes of a response now.
    is_write_blocked: bool,
    must_end: bool,
}

impl ConnectionActivity {
    fn new(now: Instant) -> Self {
        Self {
            requests: 0,
            headers_since: None,
            last_progress: now,
            is_write_blocked: false,
            must_end: false,
        }
    }

    pub(super) fn record_read(&mut self, now: Instant) {
        self.last_progress = now;
        if self.requests == 0 {
            self.headers_since.get_or_insert(now);
        }
    }

    /// A client that only sends headers causes no writes. So while a response is written, what
    /// arrives is not the slow start of a request, but for example a frame of HTTP/2.
    pub(super) fn record_write(&mut self, now: Instant) {
        self.last_progress = now;
        self.headers_since = None;
        self.is_write_blocked = false;
    }

    /// Records that a write waits for the client; true if the one before did not.
    pub(super) fn block_write(&mut self) -> bool {
        !std::mem::replace(&mut self.is_write_blocked, true)
    }

    fn begin_request(&mut self) {
        self.requests += 1;
        self.headers_since = None;
        self.must_end = false;
    }

    fn end_request(&mut self, now: Instant) {
        self.requests = self.requests.saturating_sub(1);
        self.last_progress = now;
    }

    /// Returns when the connection must end if nothing more arrives. `None`: a request or a response
    /// is in progress, which have time limits of their own.
    pub(super) fn read_deadline(&self, limits: &ConnectionLimits) -> Option<Instant> {
        if self.requests > 0 {
            return None;
        }
        if self.must_end {
            return Some(self.last_progress);
        }
        if self.is_write_blocked {
            return None;
        }
        let idle = self.last_progress + limits.idle_timeout;
        let headers = self
            .headers_since
            .map(|since| since + limits.header_timeout);
        Some(headers.map_or(idle, |headers| headers.min(idle)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        max_connections: 2,
        header_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(180),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn headers_have_one_deadline_from_their_first_byte() {
        let start = Instant::now();
        let mut activity = ConnectionActivity::new(start);
        let deadline = |activity: &ConnectionActivity| {
            let deadline = activity.read_deadline(&LIMITS);
            deadline.map(|deadline| (deadline - start).as_secs())
        };
        assert_eq!(deadline(&activity), Some(180));
        // A byte from time to time gains nothing.
        for second in [10, 20, 35] {
            activity.record_read(start + seconds(second));
            assert_eq!(deadline(&activity), Some(40));
        }
        // A request in progress has time limits of its own.
        activity.begin_request();
        assert_eq!(deadline(&activity), None);
        activity.record_read(start + seconds(50));
        activity.end_request(start + seconds(60));
        activity.record_write(start + seconds(60));
        assert_eq!(deadline(&activity), Some(240));
        activity.record_read(start + seconds(100));
        assert_eq!(deadline(&activity), Some(130));
        // A client that takes a response slowly may send nothing meanwhile.
        activity.record_write(start + seconds(100));
        assert!(activity.block_write() && !activity.block_write());
        assert_eq!(deadline(&activity), None);
        activity.record_write(start + seconds(400));
        assert_eq!(deadline(&activity), Some(580));
    }

    #[test]
    fn the_longest_idle_connection_makes_place() {
        let registry = Arc::new(ConnectionRegistry::new(LIMITS));
        let ends = |port| ConnectionEnds {
            local: SocketAddr::from(([127, 0, 0, 1], 8080)),
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let [first, second] = [1, 2].map(|port| {
            let place = registry.take_place().unwrap();
            registry.add_connection(ends(port), place)
        });
        assert!(registry.take_place().is_none());
        first.state.lock_activity().begin_request();
        assert!(registry.end_longest_idle());
        assert!(second.state.lock_activity().must_end && !first.state.lock_activity().must_end);
        // The other one is busy, and this one was asked already.
        assert!(!registry.end_longest_idle());
        drop(second);
        assert!(registry.take_place().is_some());
        first.state.lock_activity().end_request(Instant::now());
        assert!(registry.end_longest_idle());
    }

    #[test]
    fn a_running_download_outlives_idle_connections() {
        let registry = Arc::new(ConnectionRegistry::new(LIMITS));
        let ends = |port| ConnectionEnds {
            local: SocketAddr::from(([127, 0, 0, 1], 8080)),
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let [download, idle] = [1, 2].map(|port| {
            let place = registry.take_place().unwrap();
            registry.add_connection(ends(port), place)
        });
        assert!(download.state.lock_activity().block_write());
        let later = Instant::now() + seconds(1);
        idle.state.lock_activity().record_write(later);
        assert!(registry.end_longest_idle());
        assert!(idle.state.lock_activity().must_end && !download.state.lock_activity().must_end);
        assert!(registry.end_longest_idle(), "it is about to end");
        assert!(!download.state.lock_activity().must_end);
        // Clients that take nothing cannot keep all places.
        drop(idle);
        assert!(registry.end_longest_idle());
        assert!(download.state.lock_activity().must_end);
    }

    #[test]
    fn connections_leave_half_of_the_descriptors_to_others() {
        let limit = |max_connections, descriptors| {
            let settings = Settings {
                max_connections,
                ..Settings::default()
            };
            ConnectionLimits::new(&settings, descriptors).max_connections
        };
        assert_eq!(limit(1024, Some(1 << 20)), 1024);
        assert_eq!(limit(1024, Some(256)), 128);
        assert_eq!(limit(1024, None), 1024);
        assert_eq!(limit(0, Some(1)), 1);
    }
}
