//! Listening, serving, and leaving in order.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use poem::endpoint::{BoxEndpoint, make, make_sync};
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::{EndpointExt as _, Response, Route, Server};
use tokio_util::sync::CancellationToken;

use crate::api::status;
use crate::core::service::{Context, SearchService};
use crate::core::serving_model as follow;
use crate::http::middleware::errors::Front;
use crate::http::middleware::hosts::AllowedHosts;
use crate::problem::{Code, Problem};
use crate::{Error, Settings, api, metrics, page};

/// A port that is ours, before anything else is started.
#[derive(Debug)]
pub struct BoundListener {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    /// Where; with the port that was found when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Takes the address, so that a port in use is known before anything else is started.
///
/// # Errors
/// With one line that says what to do.
pub async fn bind_address(listen: &str) -> Result<BoundListener, Error> {
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .map_err(|source| {
            let listen = listen.to_owned();
            match source.kind() {
                ErrorKind::AddrInUse => Error::AddressInUse { listen },
                ErrorKind::InvalidInput => Error::InvalidAddress { listen, source },
                _ if source.raw_os_error().is_none() => Error::InvalidAddress { listen, source },
                _ => Error::Listen { listen, source },
            }
        })?;
    let failed = |source| Error::Listen {
        listen: listen.to_owned(),
        source,
    };
    let address = listener.local_addr().map_err(failed)?;
    let listener = listener.into_std().map_err(failed)?;
    Ok(BoundListener { listener, address })
}

/// Serves the API and the page until `leave` is cancelled; requests that are under way then get
/// `drain_timeout` to end.
///
/// # Errors
/// When the server stops on its own.
pub async fn serve_api(
    listening: BoundListener,
    context: Context,
    leave: CancellationToken,
) -> Result<(), Error> {
    metrics::register_metrics();
    let settings = context.settings.clone();
    let service = Arc::new(SearchService::new(context));
    tokio::spawn(follow::run_model_rollover(
        Arc::clone(&service),
        leave.clone(),
    ));
    let ready = {
        let service = Arc::clone(&service);
        move || {
            let service = Arc::clone(&service);
            async move { status::check_ready(&service).await }
        }
    };
    let app = page::add_page(Route::new());
    let api = api::open_api_service();
    let app = page::add_docs(app, openapi_json(), api.swagger_ui_html());
    let app = add_health_routes(app.nest_no_strip("/v1", api), ready).data(service);
    run_server(listening, app.boxed(), &settings, leave).await
}

/// Serves `/healthz`, `/readyz` and `/metrics` only, for roles without an API. `check_ready` says why
/// the role can't do its work now, where it can't.
///
/// # Errors
/// When the server stops on its own.
pub async fn serve_metrics_only<F, R>(
    listening: BoundListener,
    ready: F,
    leave: CancellationToken,
) -> Result<(), Error>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    metrics::register_metrics();
    let app = add_health_routes(Route::new(), move || {
        let answer = ready();
        async move {
            answer
                .await
                .map_err(|why| Problem::new(Code::NotReady, why))
        }
    });
    run_server(listening, app.boxed(), &Settings::default(), leave).await
}

/// The API's document (OpenAPI 3.0) as JSON, the same for every start of this version.
pub fn openapi_json() -> String {
    api::open_api_service().spec()
}

/// Adds what machines ask: alive, ready, metrics.
fn add_health_routes<F, R>(route: Route, ready: F) -> Route
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), Problem>> + Send + 'static,
{
    let json = |text: &'static str| Response::builder().content_type(api::JSON).body(text);
    let alive = make_sync(move |_| json("{\"status\":\"alive\"}"));
    let ready = make(move |_| {
        let answer = ready();
        async move {
            answer.await?;
            Ok::<_, poem::Error>(json("{\"status\":\"ready\"}"))
        }
    });
    let metrics = make_sync(|_| {
        Response::builder()
            .status(StatusCode::OK)
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(lookalike_chassis::metrics::render_metrics())
    });
    route
        .at("/healthz", alive)
        .at("/readyz", ready)
        .at("/metrics", metrics)
}

async fn run_server(
    listening: BoundListener,
    app: BoxEndpoint<'static>,
    settings: &Settings,
    leave: CancellationToken,
) -> Result<(), Error> {
    let app = app.with(Front {
        hosts: AllowedHosts::new(settings, listening.address),
        request_timeout: settings.request_timeout,
        upload_timeout: settings.upload_timeout,
    });
    let acceptor = TcpAcceptor::from_std(listening.listener).map_err(Error::Serve)?;
    Server::new_with_acceptor(acceptor)
        .name("http")
        .idle_timeout(settings.idle_timeout)
        .run_with_graceful_shutdown(app, leave.cancelled_owned(), Some(settings.drain_timeout))
        .await
        .map_err(Error::Serve)
}

#[cfg(test)]
mod tests;
