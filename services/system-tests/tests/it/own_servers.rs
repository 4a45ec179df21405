//! `up` with its own servers.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Process, eventually, product_command, sample_pictures};

/// Returns the processes whose parent is `pid`.
fn child_pids(pid: u32) -> Vec<u32> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1));
        if parent == Some(&pid.to_string()) {
            pids.push(child);
        }
    }
    pids
}

async fn wait_until_gone(pids: &[u32]) {
    eventually(
        "all children have exited",
        Duration::from_secs(30),
        || async {
            let left: Vec<_> = pids
                .iter()
                .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        },
    )
    .await;
}

#[tokio::test]
async fn up_starts_everything_and_stops_everything() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let photos = dir.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    for (number, sample) in sample_pictures().iter().take(5).enumerate() {
        std::fs::copy(sample, photos.join(format!("{number}.jpg"))).unwrap();
    }
    let data = dir.path().join("data");
    let client = reqwest::Client::new();
    let mut kept = None;
    // Killed, stopped, and killed again: data and ports stay the same.
    for round in 0..3 {
        let mut command = product_command();
        command
            .arg("up")
            .arg(&photos)
            .args(["--model", "lookalike-mini"])
            .args(["--listen", "127.0.0.1:0", "--log", "info", "--data-dir"])
            .arg(&data);
        let mut up = Process::start(command, &dir.path().join("up.log")).unwrap();
        let running = data.join("up.json");
        let pid = u64::from(up.pid());
        let up_json: serde_json::Value =
            eventually("it writes up.json", Duration::from_secs(120), || {
                assert!(up.is_running(), "it exited:\n{}", up.log());
                let text = std::fs::read(&running).map_err(|e| e.to_string());
                async move {
                    let up_json: serde_json::Value =
                        serde_json::from_slice(&text?).map_err(|e| e.to_string())?;
                    if up_json["pid"] == pid {
                        Ok(up_json)
                    } else {
                        Err("an older one's".into())
                    }
                }
            })
            .await;
        let url = up_json["url"].as_str().unwrap().to_owned();
        let servers = (up_json["nats_url"].clone(), up_json["milvus_url"].clone());
        assert_eq!(
            *kept.get_or_insert(servers.clone()),
            servers,
            "the ports changed"
        );
        let stats: serde_json::Value =
            eventually("all are indexed", Duration::from_secs(120), || async {
                let response = client
                    .get(format!("{url}/v1/stats"))
                    .send()
                    .await
                    .map_err(|e| e.to_string())?;
                let stats: serde_json::Value = response.json().await.map_err(|e| e.to_string())?;
                if stats["indexed"] == 5 && stats["in_flight"] == 0 {
                    Ok(stats)
                } else {
                    Err(stats.to_string())
                }
            })
            .await;
        assert_eq!(stats["on_disk"], 5, "{stats}");
        let bytes = std::fs::read(photos.join("3.jpg")).unwrap();
        eventually("it is found", Duration::from_secs(60), || async {
            let request = client
                .post(format!("{url}/v1/search/image?limit=1"))
                .body(bytes.clone());
            let answer: serde_json::Value = request
                .header("content-type", "image/jpeg")
                .send()
                .await
                .map_err(|e| e.to_string())?
                .json()
                .await
                .map_err(|e| e.to_string())?;
            if answer["hits"][0]["path"] == "3.jpg" {
                Ok(())
            } else {
                Err(answer.to_string())
            }
        })
        .await;
        let servers = child_pids(up.pid());
        assert_eq!(servers.len(), 2, "nats-server and Milvus");

        // A second `up` over the same data folder is refused.
        let mut second = product_command();
        second
            .arg("up")
            .arg(&photos)
            .args(["--model", "lookalike-mini"])
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data);
        let second = tokio::task::spawn_blocking(move || second.output().unwrap())
            .await
            .unwrap();
        assert_eq!(second.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(stderr.contains(&up.pid().to_string()), "{stderr}");

        if round == 1 {
            let status = up.interrupt_process().await;
            assert!(status.success(), "{status}\n{}", up.log());
            assert!(!running.exists());
        } else {
            up.kill_process();
        }
        wait_until_gone(&servers).await;
    }
}
