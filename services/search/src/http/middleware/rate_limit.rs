//! Limits the requests of each client: of an API key, or without one, of an address.
//!
//! The generic cell rate algorithm (ITU-T I.371) needs one time stamp for each client: the time at
//! which all its requests so far would have arrived at the permitted rate. A request is refused if
//! that time is further in the future than a burst may take.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use poem::{Addr, Endpoint, IntoResponse as _, Request, Response};

use crate::keys::RequestKey;
use crate::problem::{Code, Problem};
use crate::settings::Settings;

/// Clients that are remembered. A forgotten one may send a burst again.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// The rates of all clients.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    /// Between two requests at the permitted rate.
    interval: Duration,
    /// How far ahead of the permitted rate a client may be.
    tolerance: Duration,
    due_times: Mutex<LruCache<String, Instant>>,
}

impl RateLimiter {
    /// Returns `None` if the settings set no limit.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        let rate = settings.max_requests_per_second;
        if rate == 0 {
            return None;
        }
        let interval = Duration::from_secs(1) / rate;
        Some(Self {
            interval,
            tolerance: interval * settings.max_request_burst.saturating_sub(1),
            due_times: Mutex::new(LruCache::new(MAX_CLIENTS)),
        })
    }

    /// Counts a request for its client.
    ///
    /// # Errors
    /// If the client sends too many requests.
    pub(super) fn check_rate(&self, request: &Request) -> Result<(), Problem> {
        let counted = self.count_request(client_of(request), Instant::now());
        counted.map_err(too_many_requests)
    }

    /// Counts a request. Returns how long the client must wait if it sent too many.
    fn count_request(&self, client: String, now: Instant) -> Result<(), Duration> {
        let mut due_times = self
            .due_times
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let due = due_times.get(&client).copied().unwrap_or(now).max(now);
        let ahead = due - now;
        if ahead > self.tolerance {
            return Err(ahead - self.tolerance);
        }
        due_times.put(client, due + self.interval);
        Ok(())
    }
}

pub(super) async fn limit_rate<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    limiter: Option<Arc<RateLimiter>>,
) -> poem::Result<Response> {
    // Probes must not fail because a client is busy.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    if let Some(limiter) = limiter.filter(|_| !is_probe) {
        limiter.check_rate(&request)?;
    }
    Ok(next.call(request).await?.into_response())
}

fn client_of(request: &Request) -> String {
    if let Some(RequestKey(key)) = request.data() {
        return format!("key {}", key.id);
    }
    match &request.remote_addr().0 {
        Addr::SocketAddr(address) => client_network(address.ip()),
        other => other.to_string(),
    }
}

/// Returns an IPv4 address, or the network of an IPv6 address: a host may use all addresses of its
/// network of 64 bits.
fn client_network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            format!("{}/64", Ipv6Addr::from_bits(network))
        }
    }
}

fn too_many_requests(wait: Duration) -> Problem {
    let seconds = u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let mut problem = Problem::new(
        Code::TooManyRequests,
        format!(
            "this client sends more requests than http.max_requests_per_second permits; wait \
             {seconds} s"
        ),
    );
    problem.retry_after = Some(seconds);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: u32, burst: u32) -> Option<RateLimiter> {
        RateLimiter::new(&Settings {
            max_requests_per_second: rate,
            max_request_burst: burst,
            ..Settings::default()
        })
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limiter = limiter(10, 3).unwrap();
        let start = Instant::now();
        let count = |client: &str, ms| {
            limiter.count_request(client.to_owned(), start + Duration::from_millis(ms))
        };
        for _ in 0..3 {
            assert_eq!(count("a", 0), Ok(()));
        }
        assert_eq!(count("a", 0), Err(Duration::from_millis(100)));
        assert_eq!(count("b", 0), Ok(()), "another client");
        assert_eq!(count("a", 99), Err(Duration::from_millis(1)));
        assert_eq!(count("a", 100), Ok(()));
        assert_eq!(count("a", 100), Err(Duration::from_millis(100)));
        for _ in 0..3 {
            assert_eq!(count("a", 10_000), Ok(()), "a pause does not add up");
        }
        assert!(count("a", 10_000).is_err());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ] {
            assert_eq!(client_network(address.parse().unwrap()), network);
        }
    }

    #[test]
    fn zero_sets_no_limit() {
        assert!(limiter(0, 1).is_none());
    }

    #[test]
    fn the_wait_is_whole_seconds() {
        assert_eq!(
            too_many_requests(Duration::from_millis(1)).retry_after,
            Some(1)
        );
        assert_eq!(
            too_many_requests(Duration::from_millis(2500)).retry_after,
            Some(3)
        );
    }
}
