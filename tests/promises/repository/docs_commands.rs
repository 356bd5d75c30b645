//! Every page of the documentation is followed as a reader would: its files are written, its commands run in their order,
//! what it shows is compared. What a block may be is in [`restore_tests::pages`].

use restore_test_postgres::{Postgres, Setup};
use restore_tests::pages::{self, Followed};

use crate::repository::first_minutes::root;

/// Pages with something to follow, and how many blocks of theirs cannot be run here.
const PAGES: &[(&str, usize)] = &[
    ("README.md", 1),
    ("docs/tutorial.md", 1),
    ("docs/how-to/credentials.md", 0),
    ("docs/how-to/high-availability.md", 0),
    ("docs/how-to/migration.md", 0),
    ("docs/how-to/release.md", 4),
    ("docs/how-to/sidecar.md", 0),
    ("docs/how-to/unknown.md", 0),
];

fn follow(name: &str) -> Followed {
    follow_with(name, &[])
}

/// Follows a page, and holds it to the number of blocks that are not run.
fn follow_with(name: &str, replace: &[(&str, String)]) -> Followed {
    let page = std::fs::read_to_string(root().join(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    let done = pages::follow(&page, name, replace);
    for why in &done.not_run {
        println!("not run: {why}");
    }
    let (_, allowed) = PAGES.iter().find(|(page, _)| *page == name).expect("a page of the list");
    assert_eq!(done.not_run.len(), *allowed, "{name}: {:?}", done.not_run);
    done
}

#[test]
fn the_readme_is_as_it_says() {
    assert!(follow("README.md").run >= 3);
}

#[test]
fn the_tutorial_is_as_it_says() {
    let done = follow("docs/tutorial.md");
    assert!(done.run >= 15 && done.compared >= 10, "{done:?}");
}

#[test]
fn a_sidecar_is_as_it_says() {
    assert!(follow("docs/how-to/sidecar.md").compared >= 2);
}

#[test]
fn held_credentials_are_as_it_says() {
    assert!(follow("docs/how-to/credentials.md").compared >= 3);
}

#[test]
fn an_unknown_is_as_it_says() {
    assert!(follow("docs/how-to/unknown.md").compared >= 3);
}

#[test]
fn releasing_is_as_it_says() {
    follow("docs/how-to/release.md");
}

#[test]
fn moving_is_as_it_says() {
    assert!(follow("docs/how-to/migration.md").compared >= 4);
}

#[test]
fn replicas_are_as_it_says() {
    let setup = Setup { password: Some("the password of the database".to_owned()), ..Setup::default() };
    let server = Postgres::start_as(&setup);
    server.create_database("gateway");
    let url = [("postgres://gateway@db.internal:5432/gateway", server.url("gateway"))];
    assert!(follow_with("docs/how-to/high-availability.md", &url).compared >= 3);
}

/// The pages of the documentation, by their path from the top.
fn all_pages() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned(), "THREAT-MODEL.md".to_owned()];
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match entry.file_type().expect("a kind").is_dir() {
                true => folders.push(name),
                false => names.push(name),
            }
        }
    }
    let read = |name: String| {
        let text = std::fs::read_to_string(root().join(&name)).unwrap_or_else(|why| panic!("{name}: {why}"));
        (name, text)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn no_page_with_commands_is_left_out() {
    let mut with_commands: Vec<String> = Vec::new();
    for (name, text) in all_pages() {
        let blocks = pages::blocks(&text);
        // A shell that is shown under another name would not be run.
        for block in &blocks {
            let other =
                ["bash", "shell", "console", "shell-session", "zsh"].contains(&block.language.as_str());
            assert!(!other, "{name}:{}: write `sh` for {:?}", block.line, block.language);
        }
        if blocks.iter().any(|block| block.language == "sh") {
            with_commands.push(name);
        }
    }
    with_commands.sort();
    let mut followed: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
    followed.sort_unstable();
    assert_eq!(with_commands, followed);
}

/// What cannot be run by a test because it runs the tests, or takes minutes, is a task that there is at least.
#[test]
fn every_task_of_the_pages_is_one() {
    let usage = std::process::Command::new("sh").arg(root().join("dev")).output().expect("sh runs");
    let usage = String::from_utf8_lossy(&usage.stdout).into_owned();
    let mut tasks = 0;
    for (name, text) in all_pages() {
        for block in pages::blocks(&text).iter().filter(|block| block.about.starts_with("no-run: ")) {
            for line in block.text.lines().filter_map(|line| line.strip_prefix("./dev ")) {
                let task = line.split_whitespace().next().unwrap_or_default();
                tasks += 1;
                assert!(usage.contains(&format!("./dev {task} ")), "{name}:{}: {task}: {usage}", block.line);
            }
        }
    }
    assert!(tasks >= 5, "{tasks}");
}

#[test]
fn every_link_leads_somewhere() {
    let pages = all_pages();
    let mut links = 0;
    for (name, text) in &pages {
        let here = root().join(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(['`', ' ']) {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { here.clone() } else { here.parent().expect("a folder").join(file) };
            assert!(target.exists(), "{name}: {link} leads nowhere");
            if !anchor.is_empty() {
                let page = std::fs::read_to_string(&target).expect("a page");
                let headings = page.lines().filter(|line| line.starts_with('#'));
                let anchors: Vec<String> = headings.map(anchor_of).collect();
                assert!(anchors.iter().any(|known| known == anchor), "{name}: {link}: {anchors:?}");
            }
        }
    }
    assert!(links > 40, "{links}");
}

/// What a heading is called in links.
fn anchor_of(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}
