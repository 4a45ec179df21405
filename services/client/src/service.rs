//! Commands that ask a running lookalike.

use std::time::Duration;

use lookalike_bus::{WatcherReply, WatcherRequest};
use lookalike_proto::LibraryName;
use serde_json::Value;

use crate::cli::{ConfirmArgs, StatusArgs};
use crate::failure::Failure;
use crate::roles;
use crate::settings::Settings;
use crate::shown;
use crate::up::RunningInstance;

/// How long the service may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A running service.
pub struct ServiceClient {
    client: reqwest::Client,
    url: String,
}

impl ServiceClient {
    /// The one that the settings name, or that runs with their data folder.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn from_settings(settings: &Settings) -> Result<Self, Failure> {
        let url = if settings.url.is_empty() {
            let running = settings
                .data_dir()
                .ok()
                .and_then(|dir| RunningInstance::find_live(&dir));
            match running {
                Some(running) => running.url,
                None if settings.data_dir.is_empty() => "http://127.0.0.1:8080".to_owned(),
                // Another lookalike must not be taken for the one that is meant.
                None => {
                    return Err(Failure::usage(format!(
                        "no `lookalike up` runs with the data folder {}: start it, or give the \
                         service's address with --url",
                        settings.data_dir
                    )));
                }
            }
        } else {
            settings.url.trim_end_matches('/').to_owned()
        };
        let mut client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(Duration::from_secs(5));
        if is_local_address(&url) {
            // A proxy for the world knows nothing of this machine.
            client = client.no_proxy();
        }
        let client = client.build().map_err(Failure::failed)?;
        Ok(Self { client, url })
    }

    async fn send_request(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let response = request.send().await.map_err(|error| {
            if error.is_builder() {
                return Failure::usage(format!("{} is not an address: {error}", self.url));
            }
            let why = if error.is_timeout() {
                "does not answer"
            } else {
                "can't be reached"
            };
            Failure::failed(format!(
                "lookalike at {} {why}; is `lookalike up` running? Another address goes with --url",
                self.url
            ))
        })?;
        let status = response.status();
        let body: Value = response.json().await.map_err(|_| {
            Failure::failed(format!(
                "{} answered with {status}, not as lookalike does",
                self.url
            ))
        })?;
        if status.is_success() {
            return Ok(body);
        }
        let detail = body["detail"]
            .as_str()
            .or(body["title"].as_str())
            .unwrap_or("no reason given");
        let code = body["code"].as_str().unwrap_or("error");
        Err(Failure::failed(format!("{detail} ({code}, {status})")))
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn get_json(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.send_request(self.client.get(format!("{}{path}", self.url)).query(query))
            .await
    }

    /// Asks for something about bytes.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn post_bytes(
        &self,
        path: &str,
        query: &[(&str, String)],
        bytes: Vec<u8>,
    ) -> Result<Value, Failure> {
        let request = self.client.post(format!("{}{path}", self.url)).query(query);
        let request = request.header("content-type", "application/octet-stream");
        self.send_request(request.body(bytes)).await
    }

    /// Tells it to do something; a null body is none.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut request = self.client.post(format!("{}{path}", self.url));
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        self.send_request(request).await
    }
}

/// Whether an address is this very machine's.
fn is_local_address(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Prints JSON as a person may read it.
pub fn print_json(value: &Value) {
    println!("{}", shown::escape_json(&format!("{value:#}")));
}

/// `run_status`.
///
/// # Errors
/// When the service does not answer.
pub async fn run_status(settings: &Settings, args: &StatusArgs) -> Result<(), Failure> {
    let service = ServiceClient::from_settings(settings)?;
    let show = |stats: &Value| {
        if args.service.json {
            print_json(stats);
        } else {
            if args.watch {
                print!("\x1b[2J\x1b[H");
            }
            print_status(&service.url, stats);
        }
    };
    let first = service.get_json("/v1/stats", &[]).await?;
    show(&first);
    if !args.watch {
        return Ok(());
    }
    let watching = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match service.get_json("/v1/stats", &[]).await {
                Ok(stats) => show(&stats),
                // It may be starting anew.
                Err(failure) => eprintln!("{failure}"),
            }
        }
    };
    tokio::select! {
        () = watching => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn print_status(url: &str, stats: &Value) {
    let count = |value: &Value, key: &str| value[key].as_u64().unwrap_or(0);
    let text = |value: &Value| shown::escape_line(value.as_str().unwrap_or("unknown")).into_owned();
    println!("lookalike at {url}");
    let model = &stats["model"];
    let model = format!(
        "{} ({} numbers)",
        text(&model["name"]),
        count(model, "dimension")
    );
    // What embedders say of themselves begins with their model.
    match stats["device"].as_str().map(shown::escape_line) {
        Some(device) if device.starts_with(&model) => println!("model   {device}"),
        Some(device) => println!("model   {model}\ndevice  {device}"),
        None => println!("model   {model}; no embedder tells of itself"),
    }
    println!();
    println!(
        "{:<20} {:>9} {:>9} {:>7} {:>8} {:>10}",
        "library", "on disk", "indexed", "failed", "ignored", "in flight"
    );
    let no_libraries = Vec::new();
    let libraries = stats["libraries"].as_array().unwrap_or(&no_libraries);
    let line = |name: &str, value: &Value| {
        println!(
            "{name:<20} {:>9} {:>9} {:>7} {:>8} {:>10}",
            count(value, "on_disk"),
            count(value, "indexed"),
            count(value, "failed"),
            count(value, "ignored"),
            count(value, "in_flight"),
        );
    };
    for library in libraries {
        line(&text(&library["name"]), library);
    }
    if libraries.len() != 1 {
        line("all", stats);
    }
    if stats["intake_paused"] == true {
        println!();
        println!(
            "new files wait: Milvus takes no writes, or a mount does not answer; none is lost"
        );
    }
    if let Some(why) = stats["rollover_error"].as_str() {
        println!();
        println!("{}", shown::escape_line(why));
    }
    for library in libraries {
        for degraded in library["degraded"].as_array().into_iter().flatten() {
            println!();
            println!(
                "{}: {} — {}",
                text(&library["name"]),
                text(&degraded["reason"]),
                shown::escape_line(degraded["detail"].as_str().unwrap_or(""))
            );
        }
    }
}

/// `run_confirm`.
///
/// # Errors
/// When the service, or the watcher, does not answer or refuses.
pub async fn run_confirm(settings: &Settings, args: &ConfirmArgs) -> Result<(), Failure> {
    let library = LibraryName::new(&args.library).map_err(Failure::usage)?;
    // A watcher that runs alone has no service before it.
    let answer = if settings.nats.url.is_empty() || !settings.url.is_empty() {
        let service = ServiceClient::from_settings(settings)?;
        let path = format!("/v1/libraries/{library}/confirm");
        service.post_json(&path, &Value::Null).await?
    } else {
        let bus = roles::open_bus(settings, "confirm").await?;
        let question = (library.clone(), WatcherRequest::Confirm);
        match bus.request_watcher(question).await {
            Ok(WatcherReply::Refused(why)) => return Err(Failure::failed(why)),
            Ok(_) => serde_json::json!({ "library": library.as_str(), "scanning": true }),
            Err(error) => return Err(roles::failed_chain(error)),
        }
    };
    if args.service.json {
        print_json(&answer);
    } else {
        println!("confirmed; the folder is being compared with the index now");
    }
    Ok(())
}
