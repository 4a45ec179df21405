//! Refuses requests that a page of another site makes a browser send.
//!
//! Such a page cannot read responses, but it could change something: its visitor would retry,
//! discard or confirm without knowing. Requests that only read are let through.

use std::sync::Arc;

use poem::http::{Method, header};
use poem::{Endpoint, IntoResponse as _, Request, Response};

use super::cors::FromAllowedOrigin;
use crate::problem::{Code, Problem};

pub(super) async fn refuse_cross_site<E: Endpoint>(
    next: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    if request.data::<FromAllowedOrigin>().is_none() && is_cross_site(&request) {
        let problem = Problem::new(
            Code::CrossOrigin,
            "this request comes from a page of another site; behind a proxy, let the proxy forward \
             the header Host with its port; to permit another site, list it in \
             http.allowed_origins",
        );
        return Err(problem.into());
    }
    Ok(next.call(request).await?.into_response())
}

/// Programs other than browsers send neither of the two headers.
fn is_cross_site(request: &Request) -> bool {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return false;
    }
    // Browsers send this header where the connection is trustworthy: HTTPS, or this machine.
    if let Some(site) = request.header("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = request.header(header::ORIGIN) else {
        return false;
    };
    let host = request.header(header::HOST).unwrap_or_default();
    let Some((scheme, authority)) = origin.split_once("://") else {
        return true;
    };
    // Either header may contain the default port or omit it.
    let port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    let without_default_port = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        authority
            .strip_suffix(port)
            .map_or(authority.clone(), str::to_owned)
    };
    without_default_port(authority) != without_default_port(host)
}
