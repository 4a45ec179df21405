//! The OpenAPI document agrees with a running service: schemathesis finds no difference, and clients
//! that were generated from it work.
//!
//! The number of requests per operation and phase that schemathesis generates is
//! `LOOKALIKE_API_EXAMPLES`.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{
    SystemWorld, clients_folder, node_tools, python_tools, run_tool, sample_pictures,
};

/// Requests per operation and phase; about two minutes in all on an idle machine.
const DEFAULT_EXAMPLES: &str = "100";

/// A service with indexed and failed files, its document, and a picture for searches.
struct ServedDocument {
    world: SystemWorld,
    document: PathBuf,
    picture: PathBuf,
    /// A few small pictures.
    pictures: PathBuf,
}

impl ServedDocument {
    /// `may_delete`: the API may move pictures to the trash. Generated requests would move all of them.
    async fn serve(name: &str, may_delete: bool) -> Self {
        let mut world = SystemWorld::new(name);
        world.set_variable("LOOKALIKE_UPLOADS_ALLOW", "photos");
        if may_delete {
            world.set_variable("LOOKALIKE_UPLOADS_ALLOW_DELETIONS", "photos");
        }
        // Of thousands of requests, some come while the machine stands still.
        for (variable, timeout) in [
            ("LOOKALIKE_NATS_CALL_TIMEOUT", "60s"),
            ("LOOKALIKE_NATS_EMBED_TIMEOUT", "60s"),
            ("LOOKALIKE_MILVUS_CALL_TIMEOUT", "60s"),
            ("LOOKALIKE_MILVUS_SEARCH_TIMEOUT", "60s"),
            ("LOOKALIKE_HTTP_REQUEST_TIMEOUT", "120s"),
        ] {
            world.set_variable(variable, timeout);
        }
        let samples = sample_pictures();
        for (number, sample) in samples.iter().take(12).enumerate() {
            world.copy_file(sample, &format!("2026/{number}.jpg"));
        }
        let jpeg = std::fs::read(&samples[0]).unwrap();
        let files = [
            ("dated.jpg", jpeg_with_capture_time(&jpeg)),
            ("truncated.jpg", jpeg[..jpeg.len() / 2].to_vec()),
            ("empty.jpg", Vec::new()),
            ("notes.txt", b"no picture".to_vec()),
        ];
        for (name, bytes) in files {
            std::fs::write(world.photos.join(name), bytes).unwrap();
        }
        world.start_up().await;
        world.wait_until_settled().await;
        let pictures = world.dir.path().join("queries");
        std::fs::create_dir(&pictures).unwrap();
        let mut small = samples.clone();
        small.sort_by_key(|path| path.metadata().unwrap().len());
        for (number, path) in small[..4].iter().enumerate() {
            std::fs::copy(path, pictures.join(format!("{number}.jpg"))).unwrap();
        }
        let document = world.dir.path().join("openapi.json");
        let served = world.get_response("/openapi.json").await;
        std::fs::write(&document, served.bytes().await.unwrap()).unwrap();
        Self {
            document,
            picture: samples[0].clone(),
            pictures,
            world,
        }
    }

    /// Runs tools next to the service, without blocking its connections.
    async fn run_tools(&self, commands: Vec<Command>) -> String {
        let run = move || {
            let printed = commands
                .into_iter()
                .map(|mut command| run_tool(&mut command));
            printed.collect::<String>()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// Returns a command that drives the service with a script.
    fn drive(&self, interpreter: impl AsRef<std::ffi::OsStr>, script: PathBuf) -> Command {
        let mut command = Command::new(interpreter);
        command
            .arg(script)
            .arg(&self.world.url)
            .arg(&self.document)
            .arg(&self.picture);
        command
    }

    async fn stop(mut self) {
        let log = self.world.up.as_ref().unwrap().log();
        let bugs: Vec<&str> = log.lines().filter(|line| line.contains("bug:")).collect();
        assert!(bugs.is_empty(), "{bugs:?}");
        self.world.stop_up().await;
    }
}

/// Inserts an EXIF segment with the tag `DateTime` after the start of a JPEG.
fn jpeg_with_capture_time(jpeg: &[u8]) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0".to_vec();
    // The only entry: tag 0x0132, 20 characters at offset 26; no further directory.
    tiff.extend(b"\x32\x01\x02\0\x14\0\0\0\x1a\0\0\0\0\0\0\0");
    tiff.extend(b"2026:05:02 14:11:09\0");
    let mut segment = b"Exif\0\0".to_vec();
    segment.extend(tiff);
    let length = u16::try_from(segment.len() + 2).unwrap();
    let marker = [&[0xff, 0xe1], &length.to_be_bytes()[..]].concat();
    [&jpeg[..2], &marker, &segment, &jpeg[2..]].concat()
}

#[tokio::test]
async fn schemathesis_finds_no_difference() {
    let Some(tools) = python_tools() else { return };
    let served = ServedDocument::serve("schemathesis", false).await;
    let examples = std::env::var("LOOKALIKE_API_EXAMPLES");
    let examples = examples.unwrap_or_else(|_| DEFAULT_EXAMPLES.to_owned());
    let mut validate = Command::new(tools.join("openapi-spec-validator"));
    validate.arg(&served.document);
    let mut command = Command::new(tools.join("schemathesis"));
    command
        .arg("run")
        .arg(format!("{}/openapi.json", served.world.url))
        .args(["--checks", "all", "--continue-on-failure", "--no-color"])
        // On this machine no operation needs a key.
        .args(["--exclude-checks", "ignored_auth"])
        // A stream without an end.
        .args(["--exclude-path", "/v1/events"])
        .args(["--max-examples", &examples, "--generation-deterministic"])
        .args(["--suppress-health-check", "all"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", clients_folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LOOKALIKE_URL", &served.world.url)
        .env("LOOKALIKE_PICTURES", &served.pictures)
        .current_dir(served.world.dir.path());
    let printed = served.run_tools(vec![validate, command]).await;
    let summary: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains("generated"))
        .collect();
    eprintln!("schemathesis: {summary:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_python_client_calls_every_operation() {
    let Some(tools) = python_tools() else { return };
    let served = ServedDocument::serve("python-client", true).await;
    let folder = served.world.dir.path().join("client");
    std::fs::create_dir(&folder).unwrap();
    let mut generate = Command::new(tools.join("openapi-python-client"));
    generate
        .args(["generate", "--fail-on-warning", "--meta", "none", "--path"])
        .arg(&served.document)
        .arg("--config")
        .arg(clients_folder().join("python-client.yml"))
        .arg("--output-path")
        .arg(folder.join("lookalike_client"))
        // It formats the client with a tool of the same folder.
        .env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    for file in ["mypy.ini", "drive.py"] {
        std::fs::copy(clients_folder().join(file), folder.join(file)).unwrap();
    }
    let script = folder.join("drive.py");
    let mut check = Command::new(tools.join("mypy"));
    check.arg("drive.py").current_dir(&folder);
    let drive = served.drive(tools.join("python"), script);
    eprintln!("{}", served.run_tools(vec![generate, check, drive]).await);
    served.stop().await;
}

#[tokio::test]
async fn a_typescript_client_calls_every_operation() {
    let Some(tools) = node_tools() else { return };
    let served = ServedDocument::serve("typescript-client", true).await;
    let folder = served.world.dir.path().join("client");
    std::fs::create_dir(&folder).unwrap();
    for file in ["package.json", "tsconfig.json", "drive.ts"] {
        std::fs::copy(clients_folder().join(file), folder.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.join("node_modules")).unwrap();
    let programs = tools.join("node_modules/.bin");
    let mut generate = Command::new(programs.join("openapi-typescript"));
    generate
        .arg(&served.document)
        .args(["--output", "schema.ts"])
        .current_dir(&folder);
    let mut compile = Command::new(programs.join("tsc"));
    compile.current_dir(&folder);
    let drive = served.drive("node", folder.join("out/drive.js"));
    eprintln!("{}", served.run_tools(vec![generate, compile, drive]).await);
    served.stop().await;
}
