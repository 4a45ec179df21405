//! The state of a webhook, which NATS stores: all services and later starts know it.

use std::time::Duration;

use lookalike_chassis::Backoff;
use serde::{Deserialize, Serialize};

use super::settings::WebhookSettings;

/// What happened to the requests of one webhook. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WebhookState {
    /// Failed requests since the last one that succeeded.
    pub failures: u32,
    /// Matches that are not sent again although no request succeeded.
    pub given_up: u64,
    /// Whether the newest of the failed requests gave a match up.
    pub has_given_up: bool,
    pub delivered_at_ms: Option<i64>,
    pub failed_at_ms: Option<i64>,
    /// Why the last failed request failed.
    pub error: Option<String>,
    /// No request is sent before this time.
    pub next_attempt_ms: i64,
}

/// The state of a webhook for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebhookHealth {
    /// No request was sent yet.
    Waiting,
    /// The last request succeeded.
    Working,
    /// The last request failed, and is repeated.
    Retrying,
    /// The last request failed for so long that its match was given up. Newer matches are still sent.
    GivenUp,
}

impl WebhookHealth {
    pub(crate) const ALL: [Self; 4] = [Self::Waiting, Self::Working, Self::Retrying, Self::GivenUp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Retrying => "retrying",
            Self::GivenUp => "given_up",
        }
    }
}

/// What becomes of a match after a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    RetryAfter(Duration),
    GiveUp,
}

impl WebhookState {
    /// Reads a stored state; one of another version counts as none.
    pub(crate) fn decode(bytes: Option<&[u8]>) -> Self {
        let state = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok());
        state.unwrap_or_default()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has texts and numbers only")
    }

    pub(crate) fn health(&self) -> WebhookHealth {
        match (self.failures, self.delivered_at_ms) {
            (0, None) => WebhookHealth::Waiting,
            (0, Some(_)) => WebhookHealth::Working,
            _ if self.has_given_up => WebhookHealth::GivenUp,
            _ => WebhookHealth::Retrying,
        }
    }

    /// Returns how long no request may be sent.
    pub(super) fn remaining_wait(&self, now_ms: i64) -> Option<Duration> {
        let millis = u64::try_from(self.next_attempt_ms - now_ms).ok()?;
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    pub(super) fn record_success(&mut self, now_ms: i64) {
        self.failures = 0;
        self.has_given_up = false;
        self.error = None;
        self.delivered_at_ms = Some(now_ms);
        self.next_attempt_ms = 0;
    }

    /// Records a failed request for a match that was found at `found_ms`.
    pub(super) fn record_failure(
        &mut self,
        error: &str,
        found_ms: i64,
        now_ms: i64,
        settings: &WebhookSettings,
    ) -> AfterFailure {
        let mut backoff = Backoff::new(settings.retry_interval, settings.max_retry_interval);
        for _ in 0..self.failures.min(20) {
            backoff.next_delay();
        }
        let wait = backoff.next_delay();
        let to_ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.failures = self.failures.saturating_add(1);
        self.failed_at_ms = Some(now_ms);
        self.error = Some(error.chars().take(500).collect());
        self.next_attempt_ms = now_ms.saturating_add(to_ms(wait));
        self.has_given_up = now_ms.saturating_sub(found_ms) >= to_ms(settings.give_up_after);
        if self.has_given_up {
            self.given_up += 1;
            AfterFailure::GiveUp
        } else {
            AfterFailure::RetryAfter(wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> WebhookSettings {
        WebhookSettings {
            retry_interval: Duration::from_secs(1),
            max_retry_interval: Duration::from_secs(8),
            give_up_after: Duration::from_secs(60),
            ..WebhookSettings::default()
        }
    }

    #[test]
    fn waits_double_up_to_their_limit() {
        let mut state = WebhookState::default();
        assert_eq!(state.health(), WebhookHealth::Waiting);
        for max_ms in [1000, 2000, 4000, 8000, 8000, 8000] {
            let AfterFailure::RetryAfter(wait) = state.record_failure("x", 0, 10, &settings())
            else {
                panic!("it is too early to give up");
            };
            let wait_ms = wait.as_millis();
            assert!(
                (max_ms / 2..=max_ms).contains(&wait_ms),
                "{wait_ms} {max_ms}"
            );
            assert_eq!(
                state.remaining_wait(10),
                Some(Duration::from_millis(wait_ms as u64))
            );
            assert_eq!(state.health(), WebhookHealth::Retrying);
        }
        assert_eq!(state.remaining_wait(i64::MAX), None);
        state.record_success(20);
        assert_eq!(
            (state.failures, state.health()),
            (0, WebhookHealth::Working)
        );
        assert_eq!(state.remaining_wait(20), None);
    }

    #[test]
    fn old_matches_are_given_up_but_waits_stay() {
        let mut state = WebhookState::default();
        let after = state.record_failure("x", 0, 59_999, &settings());
        assert!(matches!(after, AfterFailure::RetryAfter(_)));
        let after = state.record_failure("x", 0, 60_000, &settings());
        assert_eq!(after, AfterFailure::GiveUp);
        assert_eq!(
            (state.given_up, state.health()),
            (1, WebhookHealth::GivenUp)
        );
        assert!(state.remaining_wait(60_000).is_some());
        let read = WebhookState::decode(Some(&state.encode()));
        assert_eq!(read, state);
        assert_eq!(WebhookState::decode(Some(b"x")), WebhookState::default());
    }
}
