//! `ids resolve`: what a backup of one generation would be called by another, and why, under a settings file and without a
//! running gateway. The reads that a restore would make first, and nothing else.
//!
//! Exit codes: 0 it is known; 1 somebody could not be asked; 2 the command line is wrong; 3 it cannot be told, so that a
//! restore would be refused; 78 the settings have faults.

use std::process::ExitCode;

use http::HeaderValue;
use restore_engine::{Asked, Sought};
use restore_generations::source_api;
use restore_model::{Code, Id, Problem, ProjectId, TargetKind};
use restore_upstream::Token;
use serde_json::{Value, json};

use super::{SettingsFile, preview, print_text};

#[derive(clap::Subcommand)]
pub(super) enum Ids {
    /// Show what a backup would be called by the upstream that carries its restore out, step by step
    ///
    /// Makes the reads that a restore would make first, and nothing else. Exit codes: 0 it is known; 1 somebody could not
    /// be asked; 3 it cannot be told, so that a restore would be refused.
    Resolve(Resolve),
}

#[derive(clap::Args)]
pub(super) struct Resolve {
    #[command(flatten)]
    file: SettingsFile,
    /// The source API that the restore is asked for in
    #[arg(long)]
    source_api: String,
    /// What is restored. Without it, what the source API restores first
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// The cloud project
    #[arg(long)]
    project: ProjectId,
    /// The upstream of the settings that would carry the restore out
    #[arg(long)]
    to: String,
    /// The backup, as programs of the source API call it
    id: Id,
    /// The backup of a disk that is a part of it, as they call it; as often as there are disks
    #[arg(long = "disk")]
    disks: Vec<Id>,
    /// The server or disk that it is restored onto: where the source API's own generation has nothing to tell any more, an id
    /// alone is a proof for a restore of what the backup is of, and for no other
    #[arg(long)]
    target: Option<Id>,
    /// A token of the project, where the gateway has no credential of its own for an upstream
    #[arg(long, env = "RESTORE_CLIENT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// A server
    Server,
    /// A disk
    Volume,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) async fn run(command: Ids) -> ExitCode {
    let Ids::Resolve(options) = command;
    let Some(endpoint) = source_api::by_name(&options.source_api) else {
        eprintln!(
            "error: no source API {}; there are {}",
            options.source_api,
            source_api::names().join(", ")
        );
        return ExitCode::from(2);
    };
    let settings = match options.file.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    if !settings.upstreams.iter().any(|upstream| upstream.name == options.to) {
        eprintln!("error: the settings name no upstream {:?}", options.to);
        return ExitCode::from(2);
    }
    let engine = match preview::engine(&settings).await {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    let kind = match options.kind {
        Some(Kind::Server) => TargetKind::Server,
        Some(Kind::Volume) => TargetKind::Volume,
        None => endpoint.targets().first().copied().unwrap_or(TargetKind::Server),
    };
    let Resolve { project, id, disks, target, .. } = options;
    let asked = Asked { project_id: project, backup_id: id, checkpoint_id: None, kind, target, disks };
    let token = options.token.and_then(|token| HeaderValue::try_from(token).ok());
    let token = token.as_ref().and_then(Token::from_header);
    let sought = engine
        .seek_names(&asked, &restore_gateway::endpoints::origin(&settings, endpoint), &options.to, token)
        .await;
    let sought = sought.unwrap_or_else(|problem| Sought { steps: Vec::new(), names: Err(problem) });
    let shown = match options.format {
        Format::Text => print_text(&text(&asked, &sought)),
        Format::Json => print_text(&serde_json::to_string_pretty(&body(&sought)).unwrap_or_default()),
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
        text.push_str(&format!("{:<8} {mark:<3} {}\n", step.way, step.detail));
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
    let step =
        |step: &restore_engine::Step| json!({ "way": step.way, "found": step.found, "detail": step.detail });
    let (names, problem) = match &sought.names {
        Ok(names) => (json!({ "backup_id": names.backup_id, "disks": names.disks }), Value::Null),
        Err(problem) => (Value::Null, restore_gateway::problem_body(problem, "", None)),
    };
    json!({ "steps": sought.steps.iter().map(step).collect::<Vec<_>>(), "names": names, "problem": problem })
}
