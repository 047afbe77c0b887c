//! `kache agent`: runs, stops and inspects the background helper of builds with a remote.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::context::{CommandContext, Exit, limit};
use super::{transfer, units};
use crate::agent::paths::AgentPaths;
use crate::agent::protocol::{AgentStatus, Answer, Command};
use crate::agent::{client, server};
use crate::fsx;

/// How long a running agent may take to answer, and to end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Size in bytes above which a new agent renames the old log and starts a new one.
const MAX_LOG_BYTES: u64 = 4 * 1024 * 1024;

/// Fetch entries while cargo builds, and upload what it compiled
///
/// With a remote set, the first miss of a build starts the agent. It exits after
/// ten minutes without work (KACHE_AGENT_IDLE). Builds go on if it fails.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  kache agent status     Does an agent run? What has it transferred?
  kache agent logs       What did it do, and what failed?
  kache agent stop       Stop it, for example to move the cache directory")]
pub(super) struct Args {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(clap::Subcommand)]
enum AgentCommand {
    /// Serve builds until there is no more work (builds start this)
    Run,
    /// Show whether an agent runs, and what it does
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop the agent; entries not uploaded yet stay queued
    Stop,
    /// Print the log of the agent
    Logs,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        AgentCommand::Run => serve(cx),
        AgentCommand::Status { json } => status(cx, *json),
        AgentCommand::Stop => stop(cx),
        AgentCommand::Logs => logs(cx),
    }
}

fn serve(cx: &CommandContext) -> anyhow::Result<Exit> {
    let (config, store) = cx.store()?;
    let remote = transfer::settings(cx, &config)?;
    let log = AgentPaths::of(store.layout()).log();
    open_log(&log)?;
    let setup = server::Setup {
        idle: remote.agent_idle,
        remote,
        env: cx.env.clone(),
        store: Arc::new(store),
        max_size: limit(&config).bytes(&config.cache_dir.value, 0),
        limit: limit(&config),
    };
    if !server::run(setup)? {
        cx.out.message(format_args!("another agent serves this cache directory"));
    }
    Ok(Exit::Ok)
}

/// Opens the log file, the only output of the agent.
fn open_log(path: &std::path::Path) -> anyhow::Result<()> {
    if fsx::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_LOG_BYTES) {
        fsx::rename(path, &path.with_extension("old"))?;
    }
    fsx::create_dir_all(path.parent().unwrap_or(path))?;
    let file = fsx::open_append(path)?;
    // The SDK logs a lot, some of it about requests; only kache's own lines go into the file.
    let ours = tracing_subscriber::filter::filter_fn(|of| of.target().starts_with("kache"));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(ours).with_filter(LevelFilter::DEBUG));
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn status(cx: &CommandContext, json: bool) -> anyhow::Result<Exit> {
    let (_, store) = cx.store()?;
    let answer = client::send_command(store.layout(), Command::Status, ANSWER_TIMEOUT);
    let status = match answer {
        Some(Answer::Status(status)) => Some(status),
        Some(Answer::Decline(_)) => {
            anyhow::bail!("an agent of another version of kache runs; stop it: `kache agent stop`")
        }
        _ => None,
    };
    match (status, json) {
        (status, true) => cx.out.data(serde_json::to_string_pretty(&status)?)?,
        (Some(status), false) => cx.out.data(text(&status))?,
        (None, false) => cx.out.data("No agent runs. The first miss of a build with a remote starts one.")?,
    }
    Ok(Exit::Ok)
}

fn text(status: &AgentStatus) -> String {
    let up = humantime::format_duration(Duration::from_secs(status.up_s));
    let entries = |number: u64| units::count(usize::try_from(number).unwrap_or(usize::MAX), "entry", "entries");
    let mut lines = vec![
        format!("agent     process {}, up {up}", status.pid),
        format!("remote    {}, {}", status.remote, status.health),
        format!(
            "fetched   {}, {}; lookup keys to fetch: {}",
            entries(status.fetched),
            units::bytes(status.fetched_bytes),
            status.fetching
        ),
        format!("uploaded  {}; {} queued", entries(status.sent), status.queued),
    ];
    if !status.uploads.is_empty() {
        lines.push(format!("uploads   {}", status.uploads));
    }
    lines.join("\n")
}

fn stop(cx: &CommandContext) -> anyhow::Result<Exit> {
    let (_, store) = cx.store()?;
    let layout = store.layout();
    if client::send_command(layout, Command::Stop, ANSWER_TIMEOUT).is_none() {
        cx.out.message(format_args!("no agent runs"));
        return Ok(Exit::Ok);
    }
    let (socket, until) = (AgentPaths::of(layout).socket(), Instant::now() + ANSWER_TIMEOUT);
    while fsx::exists(&socket) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::ensure!(
        !fsx::exists(&socket),
        "the agent did not stop within {} s; `kache agent logs` shows what it does",
        ANSWER_TIMEOUT.as_secs()
    );
    cx.out.message(format_args!("stopped the agent"));
    Ok(Exit::Ok)
}

fn logs(cx: &CommandContext) -> anyhow::Result<Exit> {
    let (_, store) = cx.store()?;
    let log = AgentPaths::of(store.layout()).log();
    match fsx::read_if_exists(&log)? {
        Some(bytes) => cx.out.data(String::from_utf8_lossy(&bytes).trim_end())?,
        None => cx.out.message(format_args!("no agent has run: {} does not exist", log.display())),
    }
    Ok(Exit::Ok)
}
