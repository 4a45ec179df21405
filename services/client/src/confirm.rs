//! `confirm`: accepts the current contents of a library's folder.

use anyhow::{Result, bail};
use clap::Args;
use lookalike_bus::{Bus, WatcherReply, WatcherRequest};
use lookalike_chassis::stdio;
use lookalike_proto::LibraryName;
use serde_json::{Value, json};

use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal;
use crate::usage_error::usage_error;

#[derive(Debug, Args)]
pub struct ConfirmArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Name of the library
    pub library: String,
    /// Send the request to the watcher through this NATS server, where no service runs
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    pub nats_url: Option<String>,
}

/// How the request reaches the watcher.
pub enum WatcherRoute {
    Service(ServiceClient),
    /// Directly, where a watcher runs without a service.
    Bus(Box<Bus>),
}

pub async fn run_confirm(route: WatcherRoute, args: &ConfirmArgs) -> Result<()> {
    let library = LibraryName::new(&args.library).map_err(usage_error)?;
    let answer = match route {
        WatcherRoute::Service(service) => {
            let path = format!("/v1/libraries/{library}/confirm");
            service.post_json(&path, &Value::Null).await?
        }
        WatcherRoute::Bus(bus) => {
            let request = (library.clone(), WatcherRequest::Confirm);
            match bus.request_watcher(request).await? {
                WatcherReply::Refused(reason) => bail!(reason),
                _ => json!({ "library": library.as_str(), "scanning": true }),
            }
        }
    };
    if args.service.json {
        terminal::write_json(&answer)?;
    } else {
        stdio::write_line("confirmed; the folder is now being compared with the index")?;
    }
    Ok(())
}
