//! `run_audit`: is the index what the folders are?

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use lookalike_bus::StatusView;
use lookalike_embedder::audit::{AuditOptions, AuditReport, AuditStage, Auditor, DifferenceKind};
use lookalike_proto::LibraryName;
use tokio_util::sync::CancellationToken;

use crate::cli::AuditArgs;
use crate::client;
use crate::failure::Failure;
use crate::model;
use crate::roles::{self, failed_chain};
use crate::settings::Settings;
use crate::shown;
use crate::up::RunningInstance;

/// How long the watchers' words may take to come.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after a repair a watcher may take to say that it sends again.
const RESEND_TIMEOUT: Duration = Duration::from_secs(3);

/// Examples of each kind that are printed.
const MAX_PRINTED_EXAMPLES: usize = 20;

/// Times that everything is compared again after a repair.
const MAX_ROUNDS: u32 = 5;

/// `run_audit`.
///
/// # Errors
/// When differences remain, or the watcher or Milvus does not answer.
pub async fn run_audit(settings: &Settings, args: &AuditArgs) -> Result<(), Failure> {
    let audited = audit_until_equal(settings, args).await?;
    if args.json {
        client::print_json(&audited.to_json());
    } else {
        audited.print_summary(args);
    }
    audited.check_equal(args)
}

/// What an audit found, before and after it repaired.
pub struct AuditResult {
    first: AuditReport,
    last: AuditReport,
    /// Files that were still being sent again when patience was over.
    still_in_flight: u64,
}

impl AuditResult {
    fn reason_not_compared(&self) -> Option<String> {
        first_not_compared(&self.last).or_else(|| first_not_compared(&self.first))
    }

    /// The index is what the folders are.
    pub fn is_equal(&self) -> bool {
        self.last.total_differences() == 0
            && self.reason_not_compared().is_none()
            && self.still_in_flight == 0
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        let Self {
            first,
            last,
            still_in_flight: late,
        } = self;
        serde_json::json!({
            "equal": self.is_equal(),
            "found": first.total_differences(),
            "repaired": first.total_repaired(),
            "differences": last.total_differences(),
            "in_flight": last.in_flight(),
            "late": late,
            "first": first,
            "last": last,
        })
    }

    /// For people.
    pub fn print_summary(&self, args: &AuditArgs) {
        print_report(&self.first);
        println!(
            "{}",
            format_verdict(&self.first, &self.last, self.still_in_flight, args)
        );
    }

    /// How the command ends.
    ///
    /// # Errors
    /// When the index is not what the folders are, or will not be soon.
    pub fn check_equal(&self, args: &AuditArgs) -> Result<(), Failure> {
        let Self {
            last,
            still_in_flight: late,
            ..
        } = self;
        if let Some(why) = self.reason_not_compared() {
            return Err(Failure::failed(why));
        }
        if *late > 0 {
            return Err(Failure::failed(format!(
                "{late} {} still on the way after {}: audit again in a while, or wait longer with \
                 --timeout",
                if *late == 1 { "file is" } else { "files are" },
                format_duration(args.timeout),
            )));
        }
        let is_repaired = args.repair && last.total_repaired() == last.total_differences();
        if self.is_equal() || (args.no_wait && is_repaired) {
            return Ok(());
        }
        let why = last.libraries.iter().find_map(|(name, library)| {
            let why = library.not_repaired.as_ref()?;
            Some(format!("; library {name} was left alone, because {why}"))
        });
        Err(Failure::failed(format!(
            "the index differs from the folders in {} rows{}",
            last.total_differences(),
            why.unwrap_or_default()
        )))
    }
}

/// Compares, and repairs until nothing is to be repaired any more.
///
/// # Errors
/// When the watcher or Milvus does not answer.
pub async fn audit_until_equal(
    settings: &Settings,
    args: &AuditArgs,
) -> Result<AuditResult, Failure> {
    let libraries = args
        .libraries
        .iter()
        .map(|name| LibraryName::new(name).map_err(Failure::usage))
        .collect::<Result<Vec<_>, _>>()?;
    let settings = locate_servers(settings)?;
    let (description, origin) = model::resolve_description(&settings).await?;
    let (bus, index) = tokio::try_join!(
        roles::open_bus(&settings, "audit"),
        roles::open_index(&settings, &description, &origin)
    )?;
    let ended = CancellationToken::new();
    let status = bus.watch_status(ended.clone());
    wait_for_status_reports(&status, &libraries).await;
    let auditor = Auditor::new(bus.clone(), index, status.clone(), settings.audit.clone());
    let mut options = AuditOptions {
        libraries,
        repair: args.repair,
        deep: args.deep,
        scan: true,
    };
    let shown = AuditProgress::new(args.json);
    let first = run_auditor(&auditor, &options, &shown).await?;
    let mut last = first.clone();
    let mut rounds = 0;
    // Files that were still being sent again when patience was over.
    let mut late = 0;
    let until = Instant::now() + args.timeout;
    options.scan = false;
    while args.repair && !args.no_wait && late == 0 && needs_another_round(&last, rounds) {
        rounds += 1;
        late = wait_until_resent(&status, &last, until, &shown).await;
        // What came late is told, and not sent once more.
        options.repair = late == 0;
        last = run_auditor(&auditor, &options, &shown).await?;
    }
    // They may have come while that was compared.
    late = late.min(last.in_flight());
    shown.clear_bar();
    ended.cancel();
    bus.close().await;
    Ok(AuditResult {
        first,
        last,
        still_in_flight: late,
    })
}

/// Why the first library that was not compared was not.
fn first_not_compared(report: &AuditReport) -> Option<String> {
    let (name, why) = report.not_compared().next()?;
    Some(format!("library {name} was not compared: {why}"))
}

fn format_duration(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 120 => format!("{} min", seconds / 60),
        _ => format!("{} s", time.as_secs_f64()),
    }
}

/// Where NATS and Milvus are: as the settings say, else where `up` says that they run.
pub fn locate_servers(settings: &Settings) -> Result<Settings, Failure> {
    let mut settings = settings.clone();
    if settings.nats.url.is_empty() || settings.milvus.url.is_empty() {
        let running = settings
            .data_dir()
            .ok()
            .and_then(|dir| RunningInstance::find_live(&dir));
        let running = running.ok_or_else(|| {
            Failure::usage(
                "no `lookalike up` runs with this data folder: give --data-dir, or --nats-url and --milvus-url",
            )
        })?;
        if settings.nats.url.is_empty() {
            settings.nats.url = running.nats_url;
        }
        if settings.milvus.url.is_empty() {
            settings.milvus.url = running.milvus_url;
        }
    }
    Ok(settings)
}

/// Until the watchers that are meant have spoken. All words that are kept come within moments of
/// the first one.
pub async fn wait_for_status_reports(status: &StatusView, libraries: &[LibraryName]) {
    let until = Instant::now() + STATUS_TIMEOUT;
    let (mut known, mut since) = (0, Instant::now());
    while Instant::now() < until {
        let told = status.libraries();
        let has = |library: &LibraryName| told.iter().any(|told| told.name == library.as_str());
        if !libraries.is_empty() && libraries.iter().all(has) {
            return;
        }
        if told.len() != known {
            (known, since) = (told.len(), Instant::now());
        }
        if libraries.is_empty() && known > 0 && since.elapsed() > Duration::from_millis(300) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run_auditor(
    auditor: &Auditor,
    options: &AuditOptions,
    shown: &AuditProgress,
) -> Result<AuditReport, Failure> {
    let report = auditor.run(options, &|stage| shown.show_stage(stage)).await;
    report.map_err(|error| {
        shown.clear_bar();
        failed_chain(error)
    })
}

/// Whether everything is to be compared once more: after a repair, until nothing differs and
/// nothing is on its way.
fn needs_another_round(last: &AuditReport, rounds: u32) -> bool {
    rounds < MAX_ROUNDS
        && match last.total_differences() {
            0 => rounds > 0 && last.in_flight() > 0,
            // What is held back stays so.
            _ => last.total_repaired() > 0,
        }
}

/// Until nothing is under way in the libraries that were compared, or patience is over; how much
/// still is then.
async fn wait_until_resent(
    status: &StatusView,
    report: &AuditReport,
    until: Instant,
    shown: &AuditProgress,
) -> u64 {
    let in_flight = || -> u64 {
        let told = status.libraries().into_iter();
        let meant = told.filter(|told| report.libraries.contains_key(&told.name));
        meant.map(|told| told.counts.in_flight).sum()
    };
    let begun = Instant::now();
    let mut most = 0;
    loop {
        let now = in_flight();
        most = most.max(now);
        if now == 0 && (most > 0 || begun.elapsed() > RESEND_TIMEOUT) {
            return 0;
        }
        if now > 0 && Instant::now() > until {
            return now;
        }
        shown.show_waiting(most - now, most);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What each kind means, and what is done about it.
fn describe_kind(kind: DifferenceKind) -> (&'static str, &'static str) {
    match kind {
        DifferenceKind::Missing => ("indexed files without a row", "sent again"),
        DifferenceKind::Stale => ("rows of another state of their file", "sent again"),
        DifferenceKind::DuplicateRows => ("images with several rows", "sent again"),
        DifferenceKind::Unknown => ("rows of files that are gone, or unknown", "deleted"),
        DifferenceKind::ShouldBeGone => ("rows of files that failed or are ignored", "sent again"),
        DifferenceKind::OtherContent => ("files with other bytes than were indexed", "sent again"),
    }
}

fn print_report(report: &AuditReport) {
    println!(
        "{:<20} {:>10} {:>10} {:>10} {:>10}",
        "library", "files", "rows", "in flight", "differ"
    );
    for (name, library) in &report.libraries {
        let differ: u64 = library.differences.values().sum();
        println!(
            "{name:<20} {:>10} {:>10} {:>10} {differ:>10}",
            library.catalogued, library.rows, library.in_flight
        );
    }
    for (name, library) in &report.libraries {
        for (kind, found) in &library.differences {
            let (meaning, done) = describe_kind(*kind);
            let repaired = library.repaired.get(kind).copied().unwrap_or(0);
            let repaired = match repaired {
                0 => String::new(),
                repaired => format!("; {repaired} {done}"),
            };
            println!("\n{name}: {found} {} ({meaning}){repaired}", kind.label());
            let of_this =
                |d: &&lookalike_embedder::audit::Difference| d.kind == *kind && d.library == *name;
            let examples = report
                .differences
                .iter()
                .filter(of_this)
                .take(MAX_PRINTED_EXAMPLES);
            let mut printed = 0;
            for difference in examples {
                let line = format!(
                    "  {}  {}: {}",
                    difference.id, difference.path, difference.detail
                );
                println!("{}", shown::escape_line(&line));
                printed += 1;
            }
            if *found > printed {
                println!("  and {} more", found - printed);
            }
        }
        for note in [
            &library.not_compared,
            &library.not_repaired,
            &library.not_hashed,
        ]
        .into_iter()
        .flatten()
        {
            println!("\n{name}: {}", shown::escape_line(note));
        }
        if library.hashed > 0 {
            println!("\n{name}: {} files were read and hashed", library.hashed);
        }
    }
    if !report.unwatched.is_empty() {
        let rows: u64 = report.unwatched.values().sum();
        let names: Vec<&str> = report
            .unwatched
            .keys()
            .take(5)
            .map(String::as_str)
            .collect();
        println!(
            "\n{rows} rows of libraries that no watcher speaks for were left alone ({})",
            names.join(", ")
        );
    }
    println!();
}

/// The last line.
fn format_verdict(first: &AuditReport, last: &AuditReport, late: u64, args: &AuditArgs) -> String {
    let in_flight = match last.in_flight() {
        0 => String::new(),
        1 => "; 1 file is on its way and was not compared".to_owned(),
        files => format!("; {files} files are on their way and were not compared"),
    };
    let files: u64 = last
        .libraries
        .values()
        .map(|library| library.catalogued)
        .sum();
    let (found, remaining) = (first.total_differences(), last.total_differences());
    if remaining == 0 && last.not_compared().next().is_some() {
        return format!("Not every library was compared{in_flight}.");
    }
    if remaining == 0 && late > 0 {
        return format!("Nothing that was compared differs now{in_flight}.");
    }
    match (found, remaining) {
        (0, _) => format!(
            "The index equals the folders: {files} files in {:.1} s{in_flight}.",
            last.seconds
        ),
        (_, 0) => {
            format!("The index equals the folders now: what differed is repaired{in_flight}.")
        }
        (_, remaining) if !args.repair => format!(
            "The index differs from the folders in {remaining} rows{in_flight}; `lookalike audit --repair` puts that right."
        ),
        (_, remaining) if args.no_wait && last.total_repaired() == remaining => format!(
            "{remaining} differences are being repaired{in_flight}: audit again in a while to see it."
        ),
        (_, remaining) => format!("{remaining} differences remain{in_flight}."),
    }
}

/// Progress on standard error: a bar on a terminal, a plain line for each step elsewhere.
struct AuditProgress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last: std::sync::Mutex<&'static str>,
}

impl AuditProgress {
    fn new(quiet: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}")
                .expect("the template is legal");
            let bar = ProgressBar::new(0).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            quiet,
            last: std::sync::Mutex::new(""),
        }
    }

    fn show_progress(&self, what: &'static str, done: u64, of: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(of);
            bar.set_position(done);
            bar.set_message(what);
            return;
        }
        let mut last = self.last.lock().expect("no holder of this lock panics");
        if !self.quiet && *last != what {
            eprintln!("{what}");
            *last = what;
        }
    }

    fn show_stage(&self, stage: AuditStage) {
        match stage {
            AuditStage::Scanning(_) => self.show_progress("comparing folders with catalogs", 0, 0),
            AuditStage::Comparing(done, of) => {
                self.show_progress("comparing catalogs with the index", done, of)
            }
        }
    }

    fn show_waiting(&self, done: u64, of: u64) {
        self.show_progress(
            "waiting for what is sent again (Ctrl-C leaves it to be done)",
            done,
            of,
        );
    }

    fn clear_bar(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_report(found: u64, repaired: u64, in_flight: u64) -> AuditReport {
        let mut report = AuditReport::default();
        let library = report.libraries.entry("shop".into()).or_default();
        library.differences.insert(DifferenceKind::Missing, found);
        library.repaired.insert(DifferenceKind::Missing, repaired);
        library.in_flight = in_flight;
        report
    }

    #[test]
    fn a_repair_ends_whatever_is_on_its_way() {
        assert!(needs_another_round(&make_report(3, 3, 0), 0));
        assert!(needs_another_round(&make_report(0, 0, 3), 1));
        assert!(!needs_another_round(&make_report(0, 0, 0), 1));
        assert!(
            !needs_another_round(&make_report(0, 0, 3), 0),
            "nothing was sent"
        );
        assert!(!needs_another_round(&make_report(3, 0, 0), 0), "held back");
        // Files that vanished are on their way for as long as the brake holds.
        let rounds = |last: AuditReport| {
            (1..)
                .find(|&round| !needs_another_round(&last, round))
                .unwrap_or(u32::MAX)
        };
        assert_eq!(rounds(make_report(0, 0, 90)), MAX_ROUNDS);
        assert_eq!(rounds(make_report(3, 3, 0)), MAX_ROUNDS);
    }

    #[test]
    fn a_library_that_was_not_compared_is_told() {
        let mut report = make_report(0, 0, 0);
        assert_eq!(first_not_compared(&report), None);
        let attic = report.libraries.entry("attic".into()).or_default();
        attic.not_compared = Some("nobody answers".into());
        let told = first_not_compared(&report).unwrap();
        assert!(
            told.contains("attic") && told.contains("nobody answers"),
            "{told}"
        );
    }
}
