//! The arguments of the commands that run roles.

use clap::Args;

#[derive(Debug, Args, Default)]
pub struct RoleArgs {
    /// Folders to index, each as FOLDER or NAME=FOLDER, in addition to those in the settings
    /// (default if there are none: ./images)
    #[arg(value_name = "FOLDER")]
    pub folders: Vec<String>,
    /// Data folder (default: `lookalike` in the platform's data folder)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of page, API and metrics (default: 127.0.0.1:8080; `watch` 8081, `embed` 8082)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// NATS server (nats://host:port); without it, `up` starts one
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Milvus (http://host:port); without it, `up` starts one
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
    /// Model by name, or a folder with its description and weights (default: the model that the
    /// index was made with; for a new index efficientnet-lite0, or lookalike-mini where that cannot
    /// be downloaded)
    #[arg(long, value_name = "NAME|FOLDER")]
    pub model: Option<String>,
    /// auto, cpu, vulkan:N, cuda:N, or several separated by commas (GPUs are features of the build)
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Let the API add pictures to this library; `all`: to every one; may be repeated
    #[arg(long, value_name = "NAME|all")]
    pub allow_uploads: Vec<String>,
    /// Let the API move pictures of this library to the trash; `all`: of every one; may be repeated
    #[arg(long, value_name = "NAME|all")]
    pub allow_deletions: Vec<String>,
    /// Download nothing: use what is in the cache folder
    #[arg(long)]
    pub offline: bool,
}
