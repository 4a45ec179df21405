//! `mcp`, as a client of the Model Context Protocol drives it: JSON-RPC over standard input and output.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{SystemWorld, product_command, sample_pictures};

/// A client that sends one request at a time.
struct McpClient {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next_id: u64,
}

impl McpClient {
    /// Starts `lookalike mcp` and initializes the session.
    fn start(mut command: Command) -> (Self, Value) {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut client = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            next_id: 1,
        };
        let server = client.request(
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" } }),
        );
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        (client, server["result"].clone())
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    /// Sends a request and reads the next line, which must be its response.
    fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let response: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error} in the line {line:?}"));
        assert_eq!(response["id"], id, "{response}");
        response
    }

    /// Calls a tool that must succeed. Returns its result.
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call_any(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result}");
        result
    }

    fn call_any(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        let response = self.request("tools/call", params);
        assert!(response["error"].is_null(), "{tool}: {response}");
        response["result"].clone()
    }

    /// Closes the input; the server must end by itself, having printed nothing else.
    fn finish(self) {
        drop(self.input);
        let rest: Vec<String> = self.output.lines().map(Result::unwrap).collect();
        assert!(rest.is_empty(), "{rest:?}");
        let output = self.child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    }
}

fn drive_tools(command: Command, picture: &str, bytes: &[u8]) {
    let (mut client, server) = McpClient::start(command);
    assert_eq!(server["serverInfo"]["name"], "lookalike");
    let listed = client.request("tools/list", json!({}))["result"]["tools"].clone();
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 7, "{names:?}");
    let status = client.call("get_status", json!({}));
    assert_eq!(status["structuredContent"]["indexed"], 5);
    let by_path = client.call("search_by_image", json!({ "path": picture, "limit": 2 }));
    let hits = &by_path["structuredContent"]["hits"];
    assert_eq!(hits.as_array().unwrap().len(), 2);
    assert_eq!(hits[0]["band"], "same_picture");
    let id = hits[0]["id"].as_str().unwrap().to_owned();
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
    let by_bytes = client.call("search_by_image", json!({ "base64": base64 }));
    assert_eq!(by_bytes["structuredContent"]["hits"][0]["id"], id.as_str());
    let filter = json!({ "folder": "a/" });
    let by_id = client.call(
        "search_by_id",
        json!({ "id": id, "filter": filter, "library": "photos" }),
    );
    assert_eq!(
        by_id["structuredContent"]["hits"].as_array().unwrap().len(),
        3
    );
    let counted = client.call("count_values", json!({ "fields": "format" }));
    assert_eq!(
        counted["structuredContent"]["facets"]["format"]["values"][0]["count"],
        5
    );
    let why = client.call("explain_file", json!({ "file": "photos/a/0.jpg" }));
    assert_eq!(why["structuredContent"]["state"], "indexed");
    let view = client.call("view_image", json!({ "id": id }));
    assert_eq!(view["content"][0]["type"], "image");
    assert_eq!(view["content"][0]["mimeType"], "image/jpeg");
    // Errors are results that a language model can read.
    for (tool, arguments, says) in [
        (
            "search_by_text",
            json!({ "text": "a chair" }),
            "model_without_text",
        ),
        ("search_by_id", json!({ "id": "xyz" }), "id"),
        ("search_by_id", json!({}), "id is required"),
        ("search_by_image", json!({}), "either path or base64"),
        ("search_by_image", json!({ "path": "/no/file" }), "/no/file"),
        ("get_status", json!({ "nope": 1 }), "no argument nope"),
        ("count_values", json!({ "filter": { "nope": 1 } }), "nope"),
        ("view_image", json!({ "id": "../stats" }), "32 hexadecimal"),
        ("no_tool", json!({}), "no tool no_tool"),
    ] {
        let result = client.call_any(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(says), "{tool}: {text}");
    }
    client.finish();
}

#[tokio::test]
async fn a_client_uses_every_tool() {
    let mut world = SystemWorld::new("mcp");
    let samples = sample_pictures();
    for (number, sample) in samples.iter().take(5).enumerate() {
        let folder = if number < 3 { "a" } else { "b" };
        world.copy_file(sample, &format!("{folder}/{number}.jpg"));
    }
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let mut command = product_command();
    command
        .args(["mcp", "--url", &world.url])
        .current_dir(world.dir.path());
    let (picture, bytes) = (samples[0].clone(), std::fs::read(&samples[0]).unwrap());
    let driven = tokio::task::spawn_blocking(move || {
        drive_tools(command, picture.to_str().unwrap(), &bytes);
    });
    driven.await.unwrap();
    world.stop_up().await;
}
