//! Runs an audit over connections of its own.

use anyhow::Result;
use lookalike_audit::Auditor;
use lookalike_client::audit::{self, AuditArgs, AuditResult, AuditRunArgs};
use tokio_util::sync::CancellationToken;

use crate::connect::{locate_servers, open_bus, open_index};
use crate::model::resolve_audited_description;
use crate::settings::Settings;

pub async fn run_audit(settings: &Settings, args: &AuditArgs) -> Result<()> {
    let result = connect_and_audit(settings, &args.run).await?;
    audit::print_and_check(&result, &args.run)
}

/// Connects to NATS and Milvus, audits, and disconnects.
pub async fn connect_and_audit(settings: &Settings, args: &AuditRunArgs) -> Result<AuditResult> {
    let settings = locate_servers(settings)?;
    let (description, source) = resolve_audited_description(&settings).await?;
    let (bus, index) = tokio::try_join!(
        open_bus(&settings, "audit"),
        open_index(&settings, &description, &source)
    )?;
    let finished = CancellationToken::new();
    let status = bus.watch_status(finished.clone());
    let auditor = Auditor::new(bus.clone(), index, status.clone(), settings.audit.clone());
    let result = audit::audit_until_equal(&auditor, &status, args).await;
    finished.cancel();
    bus.close().await;
    result
}
