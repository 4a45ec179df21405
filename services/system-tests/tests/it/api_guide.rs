//! The programs in `docs/api.md` run as they are printed, against a real service.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{SystemWorld, clients_folder, node_tools, run_tool, sample_pictures};

/// A code block of the guide with the name of its file.
struct GuideProgram {
    name: String,
    text: String,
}

fn read_programs() -> Vec<GuideProgram> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let programs: Vec<GuideProgram> = guide
        .split("<!-- run: ")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once(" -->\n").unwrap();
            let (_, block) = rest.split_once('\n').unwrap();
            let (text, _) = block.split_once("\n```").unwrap();
            GuideProgram {
                name: name.to_owned(),
                text: format!("{text}\n"),
            }
        })
        .collect();
    // Each program has a name, except the command that starts another program.
    let blocks =
        ["python", "ts"].map(|language| guide.matches(&format!("```{language}\n")).count());
    let named = programs
        .iter()
        .filter(|program| !program.name.ends_with(".sh"));
    assert_eq!(named.count(), blocks.iter().sum::<usize>());
    assert!(programs.len() >= 4);
    programs
}

/// Returns whether a program starts; without it, its part of the guide is not run.
fn is_installed(program: &str) -> bool {
    let installed = Command::new(program).arg("--version").output().is_ok();
    if !installed {
        eprintln!("SKIPPED: needs {program}, which is not installed");
    }
    installed
}

/// Returns the command that runs a program of the guide, or `None` if its language is missing.
fn program_command(folder: &Path, program: &GuideProgram) -> Option<Command> {
    let file = folder.join(&program.name);
    std::fs::write(&file, &program.text).unwrap();
    let extension = file.extension().unwrap().to_str().unwrap();
    match extension {
        "sh" if is_installed("curl") && is_installed("jq") => {
            let mut command = Command::new("bash");
            command.arg("-euo").arg("pipefail").arg(file);
            Some(command)
        }
        "py" if is_installed("python3") => {
            let mut command = Command::new("python3");
            command.arg(file);
            Some(command)
        }
        "ts" => {
            let tools = node_tools()?;
            let compiled = compile_typescript(&tools, folder, &program.name);
            let mut command = Command::new("node");
            command.arg(compiled);
            Some(command)
        }
        "sh" | "py" => None,
        other => panic!("{} has the unknown extension {other}", program.name),
    }
}

/// Compiles with the strict options of the client test. Modules are found next to the tools.
fn compile_typescript(tools: &Path, folder: &Path, name: &str) -> PathBuf {
    let options = std::fs::read_to_string(clients_folder().join("tsconfig.json")).unwrap();
    let options = options.replace("drive.ts", name);
    std::fs::write(folder.join("tsconfig.json"), options).unwrap();
    std::fs::write(folder.join("package.json"), r#"{"type": "module"}"#).unwrap();
    std::os::unix::fs::symlink(tools.join("node_modules"), folder.join("node_modules")).unwrap();
    run_tool(
        Command::new("node")
            .arg(tools.join("node_modules/typescript/bin/tsc"))
            .current_dir(folder),
    );
    folder.join("out").join(name.replace(".ts", ".js"))
}

#[tokio::test]
async fn the_programs_of_the_guide_run() {
    let mut world = SystemWorld::new("guide");
    let samples = sample_pictures();
    for (number, sample) in samples.iter().take(6).enumerate() {
        world.copy_file(sample, &format!("2026/{number}.jpg"));
    }
    world.start_up().await;
    world.assert_index_equals_folder().await;
    for program in read_programs() {
        let folder = world.dir.path().join(format!("run-{}", program.name));
        std::fs::create_dir(&folder).unwrap();
        let Some(mut command) = program_command(&folder, &program) else {
            continue;
        };
        command
            .arg(&samples[0])
            .current_dir(&folder)
            .env("LOOKALIKE_URL", &world.url);
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = ran.await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}", program.name);
        assert!(
            printed.contains("2026/0.jpg"),
            "{}: {printed}",
            program.name
        );
        if program.name.starts_with("first") {
            assert_eq!(printed.lines().count(), 5, "{}: {printed}", program.name);
            let thumbnail = std::fs::read(folder.join("thumbnail.jpg")).unwrap();
            assert!(thumbnail.starts_with(&[0xff, 0xd8]), "{}", program.name);
        } else {
            assert_eq!(printed.lines().count(), 6, "{}: {printed}", program.name);
        }
    }
    world.stop_up().await;
}
