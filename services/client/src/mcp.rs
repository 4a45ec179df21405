//! `mcp`: serves the index to language models, in the Model Context Protocol over standard input and
//! output (<https://modelcontextprotocol.io>).
//!
//! The tools send requests to a running service, so they see what its API key may see. Standard output
//! contains nothing but the protocol.

mod arguments;
mod tools;

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};

use crate::service::{ServiceArgs, ServiceClient};
use crate::usage_error::format_error;
use tools::ToolOutput;

#[derive(Debug, Args)]
pub struct McpArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// The examples in the help of `mcp`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike mcp                                   for the running `lookalike up`\n  \
    lookalike mcp --url http://pictures:8080        for another machine's\n\n\
    The settings of a client name the program, for example:\n  \
    {\"mcpServers\": {\"lookalike\": {\"command\": \"lookalike\", \"args\": [\"mcp\"]}}}\n\n\
    Tools: search_by_text, search_by_image, search_by_id, view_image, count_values, explain_file,\n\
    get_status. The client must start this program; it prints nothing for people.";

/// What a language model reads before it uses the tools.
const INSTRUCTIONS: &str = "Searches an index of pictures by what they look like. A hit has an id, a \
    library, a path, and a score (cosine, at most 1); `band` says what the score means. Search by \
    text only if get_status reports a model with text. Values for filters come from count_values.";

/// Serves until the client closes standard input, or until Ctrl-C.
///
/// # Errors
/// If the client does not speak the protocol.
pub async fn run_mcp(service: ServiceClient) -> Result<()> {
    let (input, output) = open_stdio().context("cannot use standard input and output")?;
    let serving = async {
        let running = McpServer { service }
            .serve((input, output))
            .await
            .map_err(|error| anyhow!("the client does not speak MCP: {error}"))?;
        running.waiting().await.context("the MCP server failed")?;
        Ok(())
    };
    tokio::select! {
        served = serving => served,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Opens the descriptors again: the handles of the standard library lock and buffer.
fn open_stdio() -> std::io::Result<(tokio::fs::File, tokio::fs::File)> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    let open = |descriptor: std::os::fd::OwnedFd| {
        tokio::fs::File::from_std(std::fs::File::from(descriptor))
    };
    Ok((open(input), open(output)))
}

struct McpServer {
    service: ServiceClient,
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("lookalike", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::list_tools()))
    }

    /// Errors of a tool are results: the language model reads and corrects them.
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let result = match tools::call_tool(&self.service, &request.name, arguments).await {
            Ok(ToolOutput::Json(value)) => CallToolResult::structured(value),
            Ok(ToolOutput::Jpeg(base64)) => {
                CallToolResult::success(vec![ContentBlock::image(base64, "image/jpeg")])
            }
            Err(error) => CallToolResult::error(vec![ContentBlock::text(format_error(&error))]),
        };
        Ok(result.into())
    }
}
