//! Whether the service can answer a search now.

use std::time::Duration;

use super::service::ServiceState;
use crate::problem::{Code, Problem};

/// How long a server may take to respond; probes repeat soon anyway.
const READINESS_TIMEOUT: Duration = Duration::from_secs(3);

/// Returns all reasons why a search cannot be answered.
pub(crate) async fn check_ready(service: &ServiceState) -> Result<(), Problem> {
    let mut reasons = Vec::new();
    let serving = service.model.load();
    // A connection stays open for a while after its server froze, so only a response counts.
    let (nats, index) = tokio::join!(
        tokio::time::timeout(READINESS_TIMEOUT, service.bus.check_jetstream()),
        tokio::time::timeout(READINESS_TIMEOUT, serving.index.check_ready()),
    );
    let no_response = |server: &str| {
        format!(
            "{server} did not respond within {} s",
            READINESS_TIMEOUT.as_secs()
        )
    };
    match nats {
        Err(_) => reasons.push(no_response("NATS")),
        Ok(Err(error)) => reasons.push(error.to_string()),
        Ok(Ok(())) => {}
    }
    match index {
        Err(_) => reasons.push(no_response("the index")),
        Ok(Err(error)) => reasons.push(error.to_string()),
        Ok(Ok(())) => {}
    }
    let model = &serving.description;
    let embedders = service.status.embedders();
    if !embedders
        .iter()
        .any(|embedder| embedder.serves_model(&model.checksum))
    {
        reasons.push(format!("no embedder serves the model {}", model.name));
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Problem::new(Code::NotReady, reasons.join("; ")))
    }
}
