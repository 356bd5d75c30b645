//! `id-mapping resolve`: maps a backup ID to another generation, without a running gateway. It makes only the reads that
//! a restore would make first.
//!
//! Exit codes: 0 mapped; 1 a lookup failed; 2 the command line is wrong; 3 no verified mapping, so a restore would be
//! rejected; 78 the configuration has errors.

use std::process::ExitCode;

use http::HeaderValue;
use restore_engine::{Asked, Sought};
use restore_generations::source_api;
use restore_model::{Code, Id, Problem, ProjectId, TargetKind};
use restore_upstream::Token;
use serde_json::{Value, json};

use super::output::{Format, print_json, print_text};
use super::{ConfigFile, offline};

#[derive(clap::Subcommand)]
pub(super) enum IdMapping {
    /// Map a backup ID of a source API to an upstream, step by step
    ///
    /// Makes only the reads that a restore would make first. Exit codes: 0 mapped; 1 a lookup failed; 2 the command line
    /// is wrong; 3 no verified mapping, so a restore would be rejected; 78 the configuration has errors.
    Resolve(Resolve),
}

#[derive(clap::Args)]
pub(super) struct Resolve {
    #[command(flatten)]
    file: ConfigFile,
    /// Source API of the request
    #[arg(long)]
    source_api: String,
    /// Type of the target; by default the first one of the source API
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// ID of the cloud project
    #[arg(long)]
    project: ProjectId,
    /// Name of the upstream that would carry out the restore
    #[arg(long, value_name = "UPSTREAM")]
    to: String,
    /// ID of the backup in the source API
    id: Id,
    /// ID of the backup of one disk, in the source API; repeatable
    #[arg(long = "volume", value_name = "ID")]
    volumes: Vec<Id>,
    /// ID of the server or disk to overwrite
    ///
    /// Without a response of the source API, an equal ID is proof only for a restore to the original target.
    #[arg(long)]
    target: Option<Id>,
    /// IAM token of the project, if the gateway has no credential for an upstream
    #[arg(long, env = "RESTORE_CLIENT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Server
    Server,
    /// Disk
    Volume,
}

pub(super) async fn run(command: IdMapping) -> ExitCode {
    let IdMapping::Resolve(options) = command;
    let Some(endpoint) = source_api::by_name(&options.source_api) else {
        eprintln!(
            "error: no source API {}; use one of {}",
            options.source_api,
            source_api::names().join(", ")
        );
        return ExitCode::from(2);
    };
    let config = match options.file.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    if !config.upstreams.iter().any(|upstream| upstream.name == options.to) {
        eprintln!("error: the configuration has no upstream {:?}", options.to);
        return ExitCode::from(2);
    }
    let engine = match offline::engine(&config).await {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    let kind = match options.kind {
        Some(Kind::Server) => TargetKind::Server,
        Some(Kind::Volume) => TargetKind::Volume,
        None => endpoint.targets().first().copied().unwrap_or(TargetKind::Server),
    };
    let Resolve { project, id, volumes, target, .. } = options;
    let asked =
        Asked { project_id: project, backup_id: id, checkpoint_id: None, kind, target, disks: volumes };
    let token = options.token.and_then(|token| HeaderValue::try_from(token).ok());
    let token = token.as_ref().and_then(Token::from_header);
    let sought = engine
        .seek_names(&asked, &restore_gateway::endpoints::origin(&config, endpoint), &options.to, token)
        .await;
    let sought = sought.unwrap_or_else(|problem| Sought { steps: Vec::new(), names: Err(problem) });
    let shown = match options.output {
        Format::Text => print_text(&text(&asked, &sought)),
        Format::Json => print_json(&body(&sought), true),
    };
    match sought.names {
        Ok(_) => shown,
        Err(problem) => {
            eprintln!("error: {}", problem.detail);
            ExitCode::from(if problem.code == Code::BackupIdUnmapped { 3 } else { 1 })
        }
    }
}

fn text(asked: &Asked, sought: &Sought) -> String {
    let mut text = String::new();
    for step in &sought.steps {
        let mark = if step.found { "yes" } else { "no" };
        text.push_str(&format!("{:<13} {mark:<3} {}\n", step.method, step.detail));
    }
    match &sought.names {
        Ok(names) => {
            text.push_str(&format!("backup   {} is {}\n", asked.backup_id, names.backup_id));
            for (disk, ours) in asked.disks.iter().zip(&names.disks) {
                text.push_str(&format!("disk     {disk} is {ours}\n"));
            }
        }
        Err(Problem { code, .. }) => text.push_str(&format!("refused  {}\n", code.as_str())),
    }
    text
}

fn body(sought: &Sought) -> Value {
    let step = |step: &restore_engine::Step| json!({ "method": step.method, "found": step.found, "detail": step.detail });
    let (names, problem) = match &sought.names {
        Ok(names) => (json!({ "backup_id": names.backup_id, "disks": names.disks }), Value::Null),
        Err(problem) => (Value::Null, restore_gateway::problem_body(problem, "", None)),
    };
    json!({ "steps": sought.steps.iter().map(step).collect::<Vec<_>>(), "names": names, "problem": problem })
}
