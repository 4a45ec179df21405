//! Listens, serves the routes and shuts down in order.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use lookalike_chassis::descriptors::descriptor_limit;
use poem::endpoint::{BoxEndpoint, make, make_sync};
use poem::http::StatusCode;
use poem::{Endpoint, EndpointExt as _, Request, Response, Route, Server, get};
use tokio_util::sync::CancellationToken;

use super::connections::{BoundedAcceptor, ConnectionLimits, ConnectionRegistry};
use super::middleware::{
    AccessControl, AllowedHosts, MiddlewareSettings, RateLimiter, wrap_routes,
};
use crate::api::{self, JSON};
use crate::core::event_feed::run_event_feed;
use crate::core::model_rollover::run_model_rollover;
use crate::core::readiness::check_ready;
use crate::core::service::{Context, SearchService, ServiceState};
use crate::core::visible::libraries::VisibleLibraries;
use crate::error::Error;
use crate::keys::run_key_reload;
use crate::problem::{Code, Problem};
use crate::saved::matcher::run_saved_searches;
use crate::settings::Settings;
use crate::uploads::staging::clean_up_uploads;
use crate::webhook::delivery::run_webhooks;
use crate::{metrics, page};

/// Requests in progress on one connection of HTTP/2. Without a number, poem sets no limit.
const MAX_HTTP2_STREAMS: u32 = 100;

/// The address at which the service will listen; connections wait until it serves them.
#[derive(Debug)]
pub struct BoundListener {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    /// Returns the address with the actual port, which matters if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds the address. Callers do this first, so a port in use is reported before anything starts.
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

/// Serves the API and the page until `shutdown` is cancelled; requests in progress then get
/// `drain_timeout` to end.
pub async fn serve_api(
    listener: BoundListener,
    context: Context,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    metrics::register_metrics();
    let settings = context.settings.clone();
    let access = Arc::new(AccessControl::open(&settings, listener.address)?);
    tokio::spawn(run_key_reload(Arc::clone(&access.ring), shutdown.clone()));
    let service = Arc::new(ServiceState::new(context));
    tokio::spawn(run_model_rollover(Arc::clone(&service), shutdown.clone()));
    tokio::spawn(run_event_feed(Arc::clone(&service), shutdown.clone()));
    tokio::spawn(run_saved_searches(Arc::clone(&service), shutdown.clone()));
    tokio::spawn(run_webhooks(Arc::clone(&service), shutdown.clone()));
    tokio::spawn(clean_up_uploads(Arc::clone(&service)));
    let ready = {
        let service = Arc::clone(&service);
        move || {
            let service = Arc::clone(&service);
            async move { check_ready(&service).await }
        }
    };
    let routes = page::add_page(Route::new());
    let api = api::open_api_service();
    let routes = page::add_docs(routes, openapi_json(), api::docs_html(&api));
    let routes = add_health_routes(routes.nest_no_strip("/v1", api), ready)
        .around(move |next, request| attach_service(next, request, Arc::clone(&service)))
        .data(Arc::clone(&access));
    run_server(listener, routes.boxed(), &settings, Some(access), shutdown).await
}

/// Gives a request the service as its key may see it.
async fn attach_service<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    state: Arc<ServiceState>,
) -> poem::Result<E::Output> {
    let visible = request.data::<VisibleLibraries>().cloned();
    let visible = visible.expect("the middleware has checked the key of every request");
    request.set_data(Arc::new(SearchService::new(state, visible)));
    next.call(request).await
}

/// Serves `/healthz`, `/readyz` and `/metrics` only, for roles without an API. `ready` returns why
/// the role cannot do its work now.
pub async fn serve_metrics_only<F, R>(
    listener: BoundListener,
    ready: F,
    shutdown: CancellationToken,
) -> Result<(), Error>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    metrics::register_metrics();
    let routes = add_health_routes(Route::new(), move || {
        let answer = ready();
        async move {
            answer
                .await
                .map_err(|reason| Problem::new(Code::NotReady, reason))
        }
    });
    run_server(
        listener,
        routes.boxed(),
        &Settings::default(),
        None,
        shutdown,
    )
    .await
}

/// Returns the OpenAPI document as JSON. It is the same for every start of this version.
pub fn openapi_json() -> String {
    api::open_api_document(&api::open_api_service())
}

/// Adds the routes for probes and Prometheus.
fn add_health_routes<F, R>(routes: Route, ready: F) -> Route
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), Problem>> + Send + 'static,
{
    let json = |text: &'static str| Response::builder().content_type(JSON).body(text);
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
    routes
        .at("/healthz", get(alive))
        .at("/readyz", get(ready))
        .at("/metrics", get(metrics))
}

async fn run_server(
    listener: BoundListener,
    routes: BoxEndpoint<'static>,
    settings: &Settings,
    access: Option<Arc<AccessControl>>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let limits = ConnectionLimits::new(settings, descriptor_limit());
    if limits.max_connections < settings.max_connections {
        tracing::warn!(
            max_connections = limits.max_connections,
            "this process may have few file descriptors, so it accepts fewer connections than \
             http.max_connections allows"
        );
    }
    let connections = Arc::new(ConnectionRegistry::new(limits));
    let acceptor = BoundedAcceptor::new(listener.listener, Arc::clone(&connections));
    let acceptor = acceptor.map_err(Error::Serve)?;
    let app = wrap_routes(
        routes,
        MiddlewareSettings {
            hosts: AllowedHosts::new(settings, listener.address),
            access,
            rate_limiter: RateLimiter::new(settings).map(Arc::new),
            origins: settings.allowed_origins.clone().into(),
            base_path: Arc::new(settings.base_path.clone()),
            request_timeout: settings.request_timeout,
            upload_timeout: settings.upload_timeout,
        },
    );
    let app = track_connections(app, connections);
    Server::new_with_acceptor(acceptor)
        .name("http")
        .http2_max_concurrent_streams(MAX_HTTP2_STREAMS)
        .run_with_graceful_shutdown(
            app,
            shutdown.cancelled_owned(),
            Some(settings.drain_timeout),
        )
        .await
        .map_err(Error::Serve)
}

/// Lets the registry know which connections have a request in progress.
fn track_connections(
    app: impl Endpoint<Output = Response> + 'static,
    connections: Arc<ConnectionRegistry>,
) -> BoxEndpoint<'static> {
    app.around(move |next, request| hold_connection(next, request, Arc::clone(&connections)))
        .boxed()
}

/// Marks the connection of a request as busy until the response is ready.
///
/// Ends a request that only reads if its client has gone: poem 3.1.12 completes all requests of a closed
/// connection, and pictures that a page no longer needs would keep others waiting.
async fn hold_connection<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    connections: Arc<ConnectionRegistry>,
) -> poem::Result<E::Output> {
    let guard = connections.begin_request(&request);
    match &guard {
        Some(guard) if request.method().is_safe() => tokio::select! {
            biased;
            output = next.call(request) => output,
            () = guard.wait_for_close() => Err(poem::Error::from_status(StatusCode::BAD_REQUEST)),
        },
        _ => next.call(request).await,
    }
}

#[cfg(test)]
mod tests;
