//! Sends one request to a webhook, to an address that was checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::StoredMatch;
use lookalike_chassis::clock::now_nanos;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::address::AddressRules;
use super::settings::WebhookSettings;
use super::signature::{SIGNATURE_HEADER, sign_request};
use super::target::TargetRules;
use crate::core::event_feed::format_position;
use crate::time::format_time;

/// Resolves names to addresses that webhooks may connect to.
struct CheckedResolver(AddressRules);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // The client replaces port 0 by that of the URL.
            let resolved = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let (mut allowed, mut refusal) = (Vec::<SocketAddr>::new(), None);
            for address in resolved {
                match rules.check_address(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(reason) => refusal = Some(reason),
                }
            }
            match (allowed.is_empty(), refusal) {
                (false, _) => Ok(Box::new(allowed.into_iter()) as Addrs),
                (true, Some(reason)) => Err(format!("{host} resolves to {reason}").into()),
                (true, None) => Err(format!("{host} resolves to no address").into()),
            }
        })
    }
}

/// Sends matches to webhooks.
pub(crate) struct WebhookSender {
    rules: TargetRules,
    client: reqwest::Client,
}

impl WebhookSender {
    pub(crate) fn new(settings: &WebhookSettings) -> Self {
        let rules = TargetRules::new(settings);
        let resolver = CheckedResolver(rules.addresses.clone());
        let client = reqwest::Client::builder()
            .user_agent(concat!("lookalike/", env!("CARGO_PKG_VERSION")))
            // A redirect or a proxy would lead to an address that is not checked.
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(resolver))
            // Each request opens a connection, whose address is checked with the rules of now.
            .pool_max_idle_per_host(0)
            .timeout(settings.timeout.max(Duration::from_millis(1)))
            .build()
            .expect("the client needs nothing of the system but its certificates");
        Self { rules, client }
    }

    pub(crate) fn rules(&self) -> &TargetRules {
        &self.rules
    }

    /// Sends a match and waits for the status of the response. The body of the response is not read.
    ///
    /// # Errors
    /// Why the receiver does not have the match, in one sentence.
    pub(super) async fn send_match(
        &self,
        url: &str,
        secret: &str,
        found: &StoredMatch,
    ) -> Result<(), String> {
        // The settings may have changed since the webhook was stored.
        let url = self.rules.check_url(url)?;
        let body = match_body(found).to_string().into_bytes();
        let signature = sign_request(secret, now_nanos() / 1_000_000_000, &body);
        let request = self
            .client
            .post(url)
            .header("Content-Type", "application/json")
            .header("X-Lookalike-Event-Id", format_position(&found.position))
            .header(SIGNATURE_HEADER, signature)
            .body(body);
        let response = request
            .send()
            .await
            .map_err(|error| describe_error(&error))?;
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else if status.is_redirection() {
            Err(format!(
                "the receiver answered {status}; redirects are not followed"
            ))
        } else {
            Err(format!("the receiver answered {status}"))
        }
    }
}

/// Returns an error with its causes, but without the address, which may contain a secret.
fn describe_error(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the receiver did not respond in time (webhooks.timeout)".to_owned();
    }
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    match causes.is_empty() {
        true => "the request failed".to_owned(),
        false => format!("the request failed: {}", causes.join(": ")),
    }
}

/// Returns the body of a request: the event of the match, as `/v1/events` has it.
fn match_body(found: &StoredMatch) -> Value {
    let record = &found.record;
    json!({
        "type": "match",
        "event_id": format_position(&found.position),
        "at": format_time(record.at_ms),
        "library": record.library,
        "id": record.image_id,
        "path": record.path,
        "content_hash": record.content_hash,
        "saved_search": record.saved_search,
        "saved_search_name": record.saved_search_name,
        "score": record.score,
        "band": record.band,
        "image_url": format!("/v1/images/{}", record.image_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_machine_resolves_to_nothing() {
        let resolver = CheckedResolver(AddressRules::default());
        let resolved = resolver.resolve("localhost".parse().unwrap()).await;
        let error = resolved.err().expect("it is refused").to_string();
        assert!(
            error.contains("a loopback address") || error.contains("local"),
            "{error}"
        );
        let ranges = ["127.0.0.0/8".to_owned(), "::1".to_owned()];
        let ranges = ranges.map(|range| range.try_into().unwrap());
        let resolver = CheckedResolver(AddressRules::new(ranges.into()));
        let mut resolved = resolver
            .resolve("localhost".parse().unwrap())
            .await
            .unwrap();
        assert!(resolved.next().unwrap().ip().is_loopback());
    }
}
