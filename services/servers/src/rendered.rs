//! Writes the servers' configuration files into the data folder before each start.
//!
//! Strings are written as JSON, which both nats-server and YAML parsers read.

use std::io;
use std::path::Path;

use lookalike_chassis::durable::replace_file;
use serde_json::{Value, json};

use crate::ports::Ports;

/// Writes `nats-server.conf` into the server's folder.
pub(crate) fn write_nats_config(
    folder: &str,
    ports: &Ports,
    max_file_store: u64,
) -> io::Result<()> {
    let (port, health) = (ports["nats"], ports["nats-health"]);
    let store = json!(format!("{folder}/jetstream"));
    // The default of two minutes between syncs would lose messages acknowledged in that time if the
    // machine crashes. Streams can be rebuilt, but fewer repairs are better.
    let text = format!(
        r#"server_name: "lookalike"
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{health}"
jetstream {{
  store_dir: {store}
  max_file_store: {max_file_store}
  max_memory_store: 268435456
  sync_interval: "1s"
}}
"#
    );
    replace_file(&Path::new(folder).join("nats-server.conf"), text.as_bytes())
}

/// Writes `configs/` into the server's folder and creates the folders that Milvus expects.
pub(crate) fn write_milvus_config(folder: &str, ports: &Ports) -> io::Result<()> {
    let configs = Path::new(folder).join("configs");
    for name in ["configs", "data", "logs", "run"] {
        std::fs::create_dir_all(Path::new(folder).join(name))?;
    }
    // Every JSON document is also YAML.
    let settings = serde_json::to_vec_pretty(&milvus_settings(folder, ports))
        .expect("a JSON value can be written");
    replace_file(&configs.join("milvus.yaml"), &settings)?;
    let etcd = serde_json::to_vec_pretty(&etcd_settings(folder, ports))
        .expect("a JSON value can be written");
    replace_file(&configs.join("etcd.yaml"), &etcd)?;
    replace_file(
        &configs.join("glog.conf"),
        b"--logtostdout=false\n--logtostderr=true\n--alsologtostderr=false\n--minloglevel=2\n\
          --log_dir=logs/\n--max_log_size=5\n--stop_logging_if_full_disk=true\n",
    )
}

fn milvus_settings(folder: &str, ports: &Ports) -> Value {
    let address = |name: &str| json!({"ip": "127.0.0.1", "port": ports[name]});
    let etcd = format!("127.0.0.1:{}", ports["milvus-etcd-client"]);
    json!({
        "etcd": {
            "endpoints": etcd,
            "rootPath": "by-dev",
            "log": {"level": "error", "path": "stdout"},
            "use": {"embed": true},
            "data": {"dir": format!("{folder}/data/etcd")},
            "config": {"path": format!("{folder}/configs/etcd.yaml")},
        },
        "localStorage": {"path": format!("{folder}/data/local")},
        "mq": {"type": "rocksmq"},
        "rocksmq": {"path": format!("{folder}/data/rocksmq")},
        "common": {
            "storageType": "local",
            // A Milvus that is not scheduled, or waits for a disk, for longer than this loses its
            // sessions and stays unhealthy until it is restarted. After a kill, the next start
            // revokes the dead sessions instead of waiting for their end (`sessions`).
            "session": {"ttl": 30},
        },
        // Only to stdout, which goes to a log file with a size limit.
        "log": {"level": "warn", "file": {"rootPath": ""}, "stdout": true},
        // A row is visible one tick after its upsert; the default is 200 ms.
        "proxy": {
            "ip": "127.0.0.1",
            "port": ports["milvus"],
            "internalPort": ports["milvus-internal"],
            "http": {"enabled": false},
            "timeTickInterval": 50,
        },
        // At a start the components wait for each other, by default with delays that grow to 10 s.
        // 200 attempts take 40 s, as the 10 of the default do.
        "grpc": {"client": {"initialBackoff": 0.05, "maxBackoff": 0.2, "maxMaxAttempts": 200}},
        "rootCoord": address("milvus-root-coord"),
        // Each model and each test uses a collection; the default is 64.
        "quotaAndLimits": {"limits": {"maxCollectionNum": 4096, "maxCollectionNumPerDB": 4096}},
        "queryCoord": {
            "ip": "127.0.0.1",
            "port": ports["milvus-query-coord"],
            "checkInterval": 200,
            "distPullInterval": 200,
        },
        "queryNode": address("milvus-query-node"),
        "indexCoord": {"bindIndexNodeMode": {"enable": false}},
        "indexNode": address("milvus-index-node"),
        "dataCoord": address("milvus-data-coord"),
        "dataNode": address("milvus-data-node"),
    })
}

fn etcd_settings(folder: &str, ports: &Ports) -> Value {
    let client = format!("http://127.0.0.1:{}", ports["milvus-etcd-client"]);
    let peer = format!("http://127.0.0.1:{}", ports["milvus-etcd-peer"]);
    json!({
        "name": "embedded",
        "data-dir": format!("{folder}/data/etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": format!("embedded={peer}"),
        // In milliseconds. A single member elects itself; by default that takes up to a second.
        "heartbeat-interval": 20,
        "election-timeout": 100,
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": "1000",
        "quota-backend-bytes": 4_294_967_296_u64,
    })
}
