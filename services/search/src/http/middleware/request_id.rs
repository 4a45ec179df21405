//! Request ids: in the response, in problems and in every log line of the request.

use std::sync::Arc;

use poem::http::HeaderValue;
use poem::{Endpoint, Request, Response};
use tracing::Instrument as _;

const HEADER: &str = "x-request-id";

#[derive(Debug, Clone)]
pub(super) struct RequestId(String);

impl RequestId {
    /// Takes the client's own id if it is harmless in headers and logs, else a random one.
    fn choose(given: Option<&str>) -> Self {
        let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        Self(match given {
            Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(is_legal) => id.to_owned(),
            _ => format!("{:016x}", rand::random::<u64>()),
        })
    }

    /// Returns the id that [`assign_request_id`] gave to a request.
    pub(super) fn from_request(request: &Request) -> Self {
        let id = request.data::<Self>();
        id.expect("every request gets an id first").clone()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) async fn assign_request_id<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
) -> poem::Result<Response> {
    let id = RequestId::choose(request.header(HEADER));
    // At the level of errors, so that every log level includes the span.
    let span = tracing::error_span!(
        "request",
        request_id = id.as_str(),
        key = tracing::field::Empty
    );
    request.set_data(id.clone());
    let mut response = next.get_response(request).instrument(span).await;
    let value = HeaderValue::from_str(id.as_str()).expect("letters, digits and three marks only");
    response.headers_mut().insert(HEADER, value);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_harmless() {
        let request_id = |given| RequestId::choose(given).0;
        assert_eq!(request_id(Some("abc-1.2_X")), "abc-1.2_X");
        for given in [None, Some(""), Some("a b"), Some("ü"), Some("a\r\nb")] {
            let id = request_id(given);
            assert!(
                id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
                "{given:?}"
            );
        }
        assert_eq!(request_id(Some(&"a".repeat(65))).len(), 16);
    }
}
