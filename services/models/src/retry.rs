//! When a request to the hub is repeated, and when the fetch fails.

use std::time::Duration;

use lookalike_chassis::Backoff;
use reqwest::Url;

use crate::error::Error;
use crate::hub::HubFailure;
use crate::settings::Settings;

const MAX_BACKOFF: Duration = Duration::from_secs(20);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

pub(crate) struct FetchRetry<'a> {
    settings: &'a Settings,
    url: &'a Url,
    backoff: Backoff,
    /// Consecutive attempts without progress.
    failed_attempts: u32,
    /// Whether bytes on disk allow a later fetch to resume.
    pub(crate) has_part: bool,
}

impl<'a> FetchRetry<'a> {
    pub(crate) fn new(settings: &'a Settings, url: &'a Url) -> Self {
        let longest = settings.max_retry_interval.min(MAX_BACKOFF);
        Self {
            settings,
            url,
            backoff: Backoff::new(longest.min(FIRST_BACKOFF), longest),
            failed_attempts: 0,
            has_part: false,
        }
    }

    /// Waits before the next attempt. An attempt that made progress resets the count.
    ///
    /// # Errors
    /// If the failure is permanent, the attempts are used up, or the hub asks for a longer pause
    /// than the settings allow.
    pub(crate) async fn wait_or_give_up(
        &mut self,
        failure: HubFailure,
        made_progress: bool,
        print_line: impl FnOnce(&str),
    ) -> Result<(), Error> {
        let (reason, retry_after) = match failure {
            HubFailure::Permanent(error) => return Err(error),
            HubFailure::Transient {
                reason,
                retry_after,
            } => (reason, retry_after),
        };
        if made_progress {
            self.failed_attempts = 0;
            self.backoff.reset_attempts();
        }
        self.failed_attempts += 1;
        if self.failed_attempts >= self.settings.max_attempts.max(1) {
            return Err(Error::GaveUp {
                url: self.url.to_string(),
                attempts: self.failed_attempts,
                reason,
                resume_hint: if self.has_part {
                    " The downloaded part is kept: the same command resumes it."
                } else {
                    ""
                },
            });
        }
        if let Some(retry_after) =
            retry_after.filter(|pause| *pause > self.settings.max_retry_interval)
        {
            return Err(Error::RateLimited {
                url: self.url.to_string(),
                retry_after,
            });
        }
        let delay = self
            .backoff
            .next_delay()
            .max(retry_after.unwrap_or_default());
        print_line(&format!(
            "{reason}; trying again in {:.1} s",
            delay.as_secs_f64()
        ));
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
