//! `reference`: pages of the reference as Markdown, out of what the program itself goes by. They are kept in
//! `docs/reference`, where a test holds them to this.

use std::fmt::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use restore_generations::codes::{self, Hint, Under};
use restore_generations::matrix::{self, Fate};
use restore_generations::source_api;
use restore_model::{Code, Retry, TargetKind};

use super::{Arguments, print_text};
use restore_config as config;

/// One page: its name, its heading, what it is about, and the rest.
struct Page {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    body: fn() -> String,
}

const PAGES: &[Page] = &[
    Page {
        name: "settings",
        title: "Settings",
        about: "Every key of the settings file. A variable wins over the file; where there are several tables of a \
                kind, its number counts from 0. *Change* says when another value counts: while the gateway is \
                `running`, or after a `restart`. `restore-gateway explain KEY` tells the same of one key, and \
                [restore-gateway.toml](../../config/restore-gateway.toml) has them all at their defaults.",
        body: config::listing,
    },
    Page {
        name: "command-line",
        title: "Command line",
        about: "Every command, as `--help` shows it. [Completions and manual pages](#restore-gateway-completions) \
                are made by the program itself.",
        body: command_line,
    },
    Page {
        name: "problems",
        title: "Problem types",
        about: "Every refusal and failure is `application/problem+json` with one of these words as `code` and \
                `/problems/CODE` as `type`. *Retry* is the usual advice; a problem says its own in `retry`, and in \
                `effect` whether anything was changed in the cloud.",
        body: problems,
    },
    Page {
        name: "upstream-codes",
        title: "Error codes of the clouds",
        about: "What an error code of a cloud becomes. The code is looked up first and the HTTP status second, for some \
                refusals come as 500. A code marked *ambiguous* is no refusal: the call may have been applied, so \
                that the restore is `unknown` and is looked into by reads. A code that is not here is judged by its \
                status.",
        body: upstream_codes,
    },
    Page {
        name: "capabilities",
        title: "Capabilities",
        about: "What each generation can restore, and what comes of a request in each source API there. A running \
                gateway tells the same of its own upstreams at `/api/v1/capabilities`; `restore-gateway capabilities` \
                prints the second part.",
        body: capabilities,
    },
];

#[derive(clap::Args)]
pub(super) struct Options {
    /// The page; without one, all names
    name: Option<String>,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let Some(name) = &options.name else {
        return print_text(&PAGES.iter().map(|page| page.name).collect::<Vec<_>>().join("\n"));
    };
    match PAGES.iter().find(|page| page.name == name) {
        Some(Page { name, title, about, body }) => {
            let body = body();
            print_text(&format!(
                "# {title}\n\n{about}\n\nMade by `restore-gateway reference {name}`; a test fails when it is stale.\n\n{}\n",
                body.trim()
            ))
        }
        None => {
            eprintln!("error: no page {name}; without a name all are listed");
            ExitCode::from(2)
        }
    }
}

fn command_line() -> String {
    // What stands in a variable of this process is nobody's business.
    let mut command = hidden(Arguments::command());
    command.build();
    let mut page = String::new();
    of_command(&mut command, &mut page);
    page
}

fn hidden(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(hidden)
}

fn of_command(command: &mut clap::Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!("## {name}\n\n```text\n{}\n```\n\n", help.join("\n").trim()));
    for command in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        of_command(command, page);
    }
}

fn problems() -> String {
    let mut page = "| code | HTTP | retry | what happened | what to do |\n|---|---|---|---|---|\n".to_owned();
    for code in Code::ALL {
        let retry = match code.retry() {
            Retry::Never => "never",
            Retry::Later => "later",
            Retry::Now => "now",
        };
        let (word, status) = (code.as_str(), code.status());
        let _ = writeln!(page, "| `{word}` | {status} | {retry} | {} | {} |", code.title(), code.advice());
    }
    page
}

fn upstream_codes() -> String {
    let mut page =
        "| code | under status | becomes | again | what the cloud means |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in codes::all() {
        let status = match row.status {
            Under::Any => "any".to_owned(),
            Under::Refusal => "4xx".to_owned(),
            Under::Status(status) => status.to_string(),
        };
        let hint = match row.hint {
            Hint::No => "no",
            Hint::Later => "later",
            Hint::Bounded => "perhaps later",
            Hint::Reroute => "at another generation",
            Hint::Auth => "with other credentials",
            Hint::Ambiguous => "ambiguous",
        };
        let meaning = row.meaning.replace('|', "\\|").replace('<', "&lt;");
        let _ =
            writeln!(page, "| `{}` | {status} | `{}` | {hint} | {meaning} |", row.code, row.class.as_str());
    }
    page
}

fn capabilities() -> String {
    let list = |items: &[String]| if items.is_empty() { "–".to_owned() } else { items.join("<br>") };
    let mut page =
        "## Of a canonical request\n\n| generation | target | verdict | if | lost |\n|---|---|---|---|---|\n"
            .to_owned();
    for generation in restore_generations::ALL {
        for target in TargetKind::ALL {
            let able = generation.capability(target);
            let texts = |items: &[&str]| list(&items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>());
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                generation.name(),
                target.as_str(),
                able.verdict.as_str(),
                texts(able.conditions),
                texts(able.lost),
            );
        }
    }
    page.push_str("\n## Of a request in a source API\n\n");
    page.push_str("| source API | generation | target | verdict | if | lost |\n|---|---|---|---|---|---|\n");
    for endpoint in source_api::ALL {
        for generation in restore_generations::ALL {
            let cells = matrix::cells(*endpoint, *generation);
            for cell in cells.iter().filter(|cell| cell.verdict != Fate::Unspeakable) {
                let conditions: Vec<_> = cell.conditions.iter().map(|&item| item.to_owned()).collect();
                let _ = writeln!(
                    page,
                    "| {} | {} | {} | {} | {} | {} |",
                    endpoint.source_api(),
                    generation.name(),
                    cell.target.as_str(),
                    cell.verdict.as_str().replace('_', " "),
                    list(&conditions),
                    list(&cell.lost),
                );
            }
        }
    }
    page
}
