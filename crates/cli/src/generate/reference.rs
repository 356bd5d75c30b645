//! `generate reference`: pages of the reference as Markdown, from the program's own tables. `docs/reference` contains
//! them, and a test fails when they are stale.

use std::fmt::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use restore_generations::codes::{self, Hint, Under};
use restore_generations::matrix::{self, Fate};
use restore_generations::source_api;
use restore_model::{Code, Retry, TargetKind};

use restore_config as config;

use crate::Arguments;
use crate::output::print_text;

/// One page: name, heading, introduction and body.
struct Page {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    body: fn() -> String,
}

const PAGES: &[Page] = &[
    Page {
        name: "configuration",
        title: "Configuration",
        about: "This page lists every key of the configuration file. An environment variable overrides the file. In a \
                list of tables, the number in the variable counts from 0. *Change* says when a new value applies: \
                while the gateway is `running`, or after a `restart`. `restore-gateway explain KEY` shows one key. \
                [restore-gateway.toml](../../config/restore-gateway.toml) has all keys with their defaults.",
        body: config::listing,
    },
    Page {
        name: "command-line",
        title: "Command line",
        about: "This page lists every command, as `--help` shows it. The program also prints [shell completions and \
                manual pages](#restore-gateway-generate).",
        body: command_line,
    },
    Page {
        name: "problems",
        title: "Problem types",
        about: "Every rejection and failure is `application/problem+json` with one of these words as `code` and \
                `/problems/CODE` as `type`. *Retry* is the usual advice. Each problem says in `retry` whether to try \
                again, and in `effect` whether anything changed in the cloud.",
        body: problems,
    },
    Page {
        name: "upstream-codes",
        title: "Error codes of the clouds",
        about: "This page shows how the gateway maps an error code of a cloud. It looks up the code first and the HTTP \
                status second, because some rejections have status 500. An *ambiguous* code is no rejection: the cloud \
                may have applied the call. Such a restore is `unknown`, and the gateway polls the cloud. The status \
                decides about a code that is not listed.",
        body: upstream_codes,
    },
    Page {
        name: "capabilities",
        title: "Capabilities",
        about: "This page shows what each generation can restore, and what happens there to a request in each source \
                API. A running gateway shows the same for its own upstreams at `/api/v1/capabilities`. \
                `restore-gateway compat capabilities` prints the second part.",
        body: capabilities,
    },
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Name of the page; without it, the command lists all names
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
                "# {title}\n\n{about}\n\n`restore-gateway generate reference {name}` prints this page; a test fails when it is stale.\n\n{}\n",
                body.trim()
            ))
        }
        None => {
            eprintln!("error: no page {name}; run the command without a name to list all");
            ExitCode::from(2)
        }
    }
}

fn command_line() -> String {
    // The values of environment variables stay out of the page.
    let mut command = hidden(Arguments::command());
    command.build();
    let mut page = String::new();
    write_command(&mut command, &mut page);
    page
}

fn hidden(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(hidden)
}

fn write_command(command: &mut clap::Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!("## {name}\n\n```text\n{}\n```\n\n", help.join("\n").trim()));
    for command in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        write_command(command, page);
    }
}

fn problems() -> String {
    let mut page = "| code | HTTP | retry | meaning | action |\n|---|---|---|---|---|\n".to_owned();
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
    let mut page = "| code | status | problem code | retry | meaning |\n|---|---|---|---|---|\n".to_owned();
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
        "## Canonical requests\n\n| generation | target | verdict | condition | dropped |\n|---|---|---|---|---|\n"
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
    page.push_str("\n## Requests in a source API\n\n");
    page.push_str(
        "| source API | generation | target | verdict | condition | dropped |\n|---|---|---|---|---|---|\n",
    );
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
