//! `duplicates`: lists groups of identical files, or of pictures that look the same, and which to keep.

mod spare_files;
mod table;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use lookalike_chassis::stdio;
use serde_json::{Value, json};

use self::spare_files::SpareFiles;
use self::table::format_group;
use crate::search::parse_filter;
use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal;

/// The API's limit on groups in one request.
const MAX_GROUPS_PER_PAGE: u64 = 100;

#[derive(Debug, Args)]
pub struct DuplicatesArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// What the files of a group have in common
    #[arg(long, value_enum, default_value_t = DuplicateKindArg::Identical)]
    pub kind: DuplicateKindArg,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only pictures that match this filter, in JSON; as for `search`
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    pub filter: Option<Value>,
    /// Maximum number of groups; all by default
    #[arg(long, value_name = "GROUPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Print only the paths of files that need not be kept, each followed by a NUL byte
    ///
    /// For `xargs -0`. A path is printed only if the file to keep is on this machine and is another file:
    /// a hard link to it, or the same file in another library, is left out.
    #[arg(short = '0', long, conflicts_with = "json")]
    pub print0: bool,
}

/// What the files of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DuplicateKindArg {
    /// The same bytes
    Identical,
    /// The same picture: saved again, in another size, turned, cropped or edited
    Near,
}

impl DuplicateKindArg {
    fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Near => "near",
        }
    }
}

/// The examples in the help of `duplicates`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike duplicates                          identical files, and which to keep\n  \
    lookalike duplicates --kind near --library shop\n  \
    lookalike duplicates --filter '{\"folder\": \"inbox/\"}'\n  \
    lookalike duplicates -0 | xargs -0 ls -l      the files that need not be kept\n\n\
    This command deletes nothing. Look at the list before you pass it to a command that does.";

/// Counts what was listed.
#[derive(Debug, Default)]
struct DuplicateTotals {
    groups: u64,
    images: u64,
    reclaimable_bytes: u64,
    examined: u64,
}

impl DuplicateTotals {
    fn add_group(&mut self, group: &Value) {
        self.groups += 1;
        self.images += group["images"].as_array().map_or(0, Vec::len) as u64;
        self.reclaimable_bytes += group["reclaimable_bytes"].as_u64().unwrap_or(0);
    }

    fn format(&self, kind: DuplicateKindArg) -> String {
        let examined = HumanCount(self.examined);
        let found = match kind {
            DuplicateKindArg::Identical => "identical files",
            DuplicateKindArg::Near => "pictures that look the same",
        };
        match self.groups {
            0 => format!("no {found} among {examined} pictures"),
            groups => format!(
                "{} {} of {found}: {} pictures, {} to reclaim; {examined} examined",
                HumanCount(groups),
                if groups == 1 { "group" } else { "groups" },
                HumanCount(self.images),
                HumanBytes(self.reclaimable_bytes)
            ),
        }
    }
}

pub async fn run_duplicates(service: &ServiceClient, args: &DuplicatesArgs) -> Result<()> {
    let mut spare_files = match args.print0 {
        true => Some(SpareFiles::new(service).await?),
        false => None,
    };
    let width = terminal::stdout_width();
    let progress = show_progress();
    let mut totals = DuplicateTotals::default();
    let mut listed = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let rest = args.limit.map_or(u64::MAX, |limit| limit - totals.groups);
        let query = page_query(args, rest.min(MAX_GROUPS_PER_PAGE), cursor.take());
        let page = service.get_json("/v1/duplicates", &query).await?;
        totals.examined += page["examined"].as_u64().unwrap_or(0);
        progress.set_message(format!("{} pictures examined", HumanCount(totals.examined)));
        for group in page["groups"].as_array().into_iter().flatten() {
            totals.add_group(group);
            if args.service.json {
                listed.push(group.clone());
                continue;
            }
            let printed = progress.suspend(|| match &mut spare_files {
                Some(spare_files) => stdio::write_bytes(&spare_files.paths_of_group(group)),
                None => stdio::write_text(&(format_group(group, width) + "\n")),
            });
            printed?;
        }
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || args.limit.is_some_and(|limit| totals.groups >= limit) {
            break;
        }
    }
    progress.finish_and_clear();
    if args.service.json {
        let answer = json!({ "groups": listed, "examined": totals.examined, "cursor": cursor });
        return Ok(terminal::write_json(&answer)?);
    }
    match spare_files {
        Some(spare_files) => spare_files.report_left_out(),
        None => stdio::write_line(&totals.format(args.kind))?,
    }
    Ok(())
}

fn page_query(
    args: &DuplicatesArgs,
    limit: u64,
    cursor: Option<String>,
) -> Vec<(&'static str, String)> {
    let mut query = vec![
        ("kind", args.kind.name().to_owned()),
        ("limit", limit.to_string()),
    ];
    query.extend(args.library.clone().map(|library| ("library", library)));
    let filter = args.filter.as_ref();
    query.extend(filter.map(|filter| ("filter", filter.to_string())));
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    query
}

/// A line on a terminal: a large library takes minutes.
fn show_progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(100));
    progress
}

#[cfg(test)]
mod tests;
