//! The console in a real browser: what it shows by itself, what an operator does with it, what strangers cannot.

use restore_tests::{Browser, TestConfig, World, ids, requests};
use serde_json::{Value, json};

use crate::operations::operator::{hasty, waiting};

const OWN: &str = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";

/// A browser at the console, connected.
async fn at_console(world: &World) -> Browser {
    let browser = Browser::open(1440, 900).await;
    browser.go(&format!("http://{}/console", world.gateway.admin())).await;
    browser.until("document.getElementById('live').textContent === 'live'").await;
    browser
}

fn id(restore: &Value) -> String {
    restore["id"].as_str().expect("an id").to_owned()
}

/// The word of the row of a restore; null where it has none.
fn status(id: &str) -> String {
    format!("document.querySelector('tr[data-id=\"{id}\"]')?.dataset.status ?? null")
}

#[tokio::test]
async fn the_console_follows_a_restore_to_its_end() {
    let world = World::new().await;
    let browser = at_console(&world).await;
    assert!(browser.text("#calm").await.contains("No restore needs a decision"));
    browser.until("!document.getElementById('empty').hidden").await;
    browser.run("window.same = true").await;

    let restore = id(&world.submit(&requests::cbr_server()).await.json());
    let mut seen = Vec::new();
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while seen.last() != Some(&json!("succeeded")) {
        assert!(tokio::time::Instant::now() < end, "it was seen {seen:?}");
        let now = browser.run(&format!("return {}", status(&restore))).await;
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert!(seen.contains(&json!("running")), "{seen:?}");
    assert_eq!(browser.run("return window.same").await, true, "the page was loaded anew");
    browser.until("document.getElementById('news').textContent.includes('succeeded')").await;

    // One of them, with its whole history, by the keyboard alone, and back.
    browser.write(&format!("tr[data-id=\"{restore}\"] a"), "\u{e007}").await;
    browser.until("document.getElementById('one').open").await;
    let events = world.history(&restore).await.len();
    browser.until(&format!("document.querySelectorAll('#history li').length === {events}")).await;
    let shown = browser.text("#one").await;
    for words in [ids::SERVER, ids::CBR_BACKUP, ids::PROJECT, &restore, "Sending, attempt 1", "Succeeded"] {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    assert_eq!(browser.run("return document.getElementById('decide').hidden").await, true);
    browser.write("#one-title", "\u{e00c}").await;
    browser.until("!document.getElementById('one').open && document.activeElement.closest('tr')").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn the_console_shows_what_the_filters_let_through() {
    let world = World::new().await;
    let server = id(&world.submit(&requests::cbr_server()).await.json());
    world.until_status(&server, "succeeded").await;
    let browser = at_console(&world).await;
    let only = |ids: &[&str]| {
        let ids = json!(ids);
        format!(
            "JSON.stringify([...document.querySelectorAll('#rows tr')].map((row) => row.dataset.id)) === '{ids}'"
        )
    };
    browser.until(&only(&[&server])).await;
    // A disk of the server finds it as well; another disk does not.
    browser.write("#target", ids::DATA.1).await;
    browser.until(&only(&[&server])).await;
    browser.click("#filters button").await;
    browser.write("#target", ids::FREE.1).await;
    browser.until(&only(&[])).await;
    // What comes later and fits appears by itself, and what comes and does not fit stays away.
    let disk = id(&world.submit(&requests::free_disk()).await.json());
    browser.until(&only(&[&disk])).await;
    world.until_status(&disk, "succeeded").await;
    browser.until(&format!("{} === 'succeeded'", status(&disk))).await;
    browser.click("#filters button").await;
    browser.until(&only(&[&disk, &server])).await;
    browser.write("#project", "00000000000000000000000000000000").await;
    browser.until(&only(&[])).await;
    browser.write("#project", "/").await;
    browser.until("document.getElementById('list-fault').textContent.includes('project_id')").await;
    browser.click("#filters button").await;
    browser.run("const s = document.getElementById('status'); s.value = 'succeeded'; s.dispatchEvent(new Event('input', {bubbles: true}))").await;
    browser.until(&only(&[&disk, &server])).await;
    browser.run("const s = document.getElementById('status'); s.value = 'failed'; s.dispatchEvent(new Event('input', {bubbles: true}))").await;
    browser.until(&only(&[])).await;
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn a_person_decides_on_the_console_and_it_is_recorded() {
    let world = World::with(hasty()).await;
    let browser = at_console(&world).await;
    let restore = id(&waiting(&world).await);
    let card = format!(".attention li[data-id=\"{restore}\"]");
    browser.until(&format!("document.querySelector('{card}')")).await;
    browser.until("document.title.startsWith('(1) ')").await;
    assert!(browser.text(&card).await.contains(ids::FREE.1));
    browser.click(&format!("{card} a.button")).await;
    browser.until("!document.getElementById('decide').hidden").await;
    browser.until("document.getElementById('decide-why').textContent !== ''").await;

    // Nothing is chosen for the operator, and nothing is sent without a choice, a name and a reason.
    browser.click("#decide button").await;
    assert_eq!(browser.run("return document.querySelectorAll('#decide :invalid').length > 0").await, true);
    browser.click("#decide input[value=not_applied]").await;
    browser.write("#by", "ada").await;
    browser.write("#reason", OWN).await;
    assert_eq!(world.get(&format!("/api/v1/restores/{restore}")).await.json()["needs_operator"], true);
    browser.click("#decide button").await;
    browser.until("document.getElementById('decide').hidden").await;
    let ended = world.until_status(&restore, "not_applied").await;
    assert_eq!((&ended["needs_operator"], &ended["evidence"]["kind"]), (&json!(false), &json!("operator")));
    let events = world.get(&format!("/api/v1/restores/{restore}/events")).await.json();
    let last = events["events"].as_array().and_then(|events| events.last()).cloned().expect("an event");
    assert_eq!(
        (&last["event"], &last["by"], &last["reason"]),
        (&json!("resolved"), &json!("ada"), &json!(OWN))
    );
    // It is seen in the history, in the list, and what waited no longer does. The operator's own words stay words.
    browser.until(&format!("{} === 'not_applied'", status(&restore))).await;
    browser.until("document.querySelector('#history li:last-child')?.textContent.includes('ada')").await;
    assert!(browser.text("#history li:last-child").await.contains(OWN));
    browser.click("#close").await;
    browser.until("!document.getElementById('calm').hidden").await;
    assert_eq!(browser.run("return document.title").await, "restore-gateway console");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn s39_a_hostile_answer_is_text_on_the_console() {
    let world = World::with(hasty()).await;
    let hostile = json!([{"match": {"method": "POST", "path": "*/restore"}, "answer": {"status": 409,
        "headers": {"x-request-id": OWN, "content-type": "text/html"}, "body": {"error_code": "VolumeBackup.4711", "error_msg": OWN}}}]);
    world.faults(hostile).await;
    let refused = world.submit(&requests::free_disk()).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let restore = refused.header("location").rsplit('/').next().expect("an id").to_owned();

    let browser = at_console(&world).await;
    browser.click(&format!("tr[data-id=\"{restore}\"] a")).await;
    browser.until("document.querySelectorAll('#history li').length > 2").await;
    let shown = browser.text("#one").await;
    assert!(shown.matches("<img src=x onerror=").count() >= 3, "the words did not come that far: {shown}");
    let made = "return [...document.querySelectorAll('img, script, iframe, object, embed')].map((made) => made.outerHTML).length";
    assert_eq!(browser.run(made).await, 2, "the mark and the page's own script");
    assert_eq!(browser.run("return document.title").await, "restore-gateway console");
    assert_eq!(browser.complaints().await, Vec::<String>::new(), "nothing was tried that had to be stopped");

    // And if it had become HTML after all: no text can, and nothing that stands in the page runs.
    let tried = browser.try_run(&format!("document.body.innerHTML = {}", json!(OWN))).await;
    assert!(tried.is_err_and(|why| why.contains("TrustedHTML")), "text became HTML");
    let attribute = "document.querySelector('main').setAttribute('onclick', \"document.title='owned'\")";
    let tried = browser.try_run(attribute).await;
    assert!(tried.is_err_and(|why| why.contains("TrustedScript")), "an attribute became script");
    browser
        .run("const made = new Image(); made.src = 'http://127.0.0.1:9/x'; document.body.append(made)")
        .await;
    let mut complaints = String::new();
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    for word in ["TrustedHTML", "TrustedScript", "img-src"] {
        while !complaints.contains(word) {
            assert!(tokio::time::Instant::now() < end, "a breach of {word} goes unnoticed: {complaints}");
            complaints.extend(browser.complaints().await);
        }
    }
    assert_eq!(browser.run("return document.title").await, "restore-gateway console");
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn the_console_comes_back_when_the_gateway_does() {
    let mut world = World::serve(TestConfig::default().set("listen.admin", "\"127.0.0.1:0\"")).await;
    let admin = world.gateway.admin();
    world.toml = world.toml.replacen("admin = \"127.0.0.1:0\"", &format!("admin = \"{admin}\""), 1);
    let browser = at_console(&world).await;
    let (_, _, folder) = world.ended_by("TERM").await;
    browser.until("document.getElementById('live').textContent !== 'live'").await;
    world.again_in(folder).await;
    let restore = id(&world.submit(&requests::free_disk()).await.json());
    browser.until("document.getElementById('live').textContent === 'live'").await;
    browser.until(&format!("{} !== null", status(&restore))).await;
    world.until_status(&restore, "succeeded").await;
    browser.until(&format!("{} === 'succeeded'", status(&restore))).await;
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn what_was_decided_while_the_console_was_cut_off_no_longer_waits() {
    // Streams so short that there are times without one.
    let world = World::with(hasty().set("limits.stream_max_age_seconds", "2")).await;
    let browser = at_console(&world).await;
    let restore = id(&waiting(&world).await);
    // A list that does not show it hides nothing from a person, and cannot tell that it is over.
    browser.write("#project", "00000000000000000000000000000000").await;
    browser.until("!document.getElementById('empty').hidden").await;
    browser.until("document.querySelectorAll('#attention li').length === 1").await;
    browser.until("document.getElementById('live').textContent === 'live'").await;
    browser.until("document.getElementById('live').textContent !== 'live'").await;
    let said = json!({"as": "not_applied", "by": "ada", "reason": "from elsewhere"});
    let decided = world.decide(&format!("/restores/{restore}/resolution"), &said).await;
    assert_eq!(decided.status, 200, "{}", decided.text());
    browser.until("!document.getElementById('calm').hidden").await;
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn what_ends_or_begins_elsewhere_is_seen_on_a_page_that_stays_open() {
    let world = World::serve_with(TestConfig::default(), &[("RESTORE_GATEWAY_RECOVERY", "true")]).await;
    let browser = at_console(&world).await;
    let (recovery, shutdown_delay) =
        ("document.getElementById('recovery')", "document.getElementById('unready')");
    browser.until(&format!("{recovery}.textContent.includes('older backup') && !{recovery}.hidden")).await;
    browser.until("document.getElementById('ready').textContent === 'not ready'").await;
    assert_eq!(browser.run(&format!("return {shutdown_delay}.hidden")).await, true, "it is said once");
    browser.run("window.same = true").await;
    let said = json!({"by": "ada", "reason": "compared elsewhere"});
    assert_eq!(world.decide("/recovery/confirmation", &said).await.status, 200);
    browser.until(&format!("{recovery}.hidden && {recovery}.textContent === ''")).await;
    browser.until("document.getElementById('ready').textContent === 'ready'").await;

    world.rewrite_text("nonsense = 1\n");
    let refused = "document.getElementById('refused')";
    browser.until(&format!("!{refused}.hidden && {refused}.textContent.includes('/config/rejected')")).await;
    let lamp = browser.run("const { dataset, textContent } = document.getElementById('ready'); return [dataset.tone, textContent]");
    assert_eq!(lamp.await, json!(["warn", "ready, with the previous configuration"]));
    assert!(!browser.text("main").await.contains("nonsense"), "the lines of the file are asked for");
    world.rewrite_text(&world.toml);
    browser.until(&format!("{refused}.hidden")).await;
    browser.until("document.getElementById('ready').dataset.tone === 'good'").await;
    assert_eq!(browser.run("return window.same").await, true, "the page was loaded anew");
    browser.close().await;
    world.end().await;
}

#[tokio::test]
async fn one_that_cannot_be_read_does_not_look_like_one_that_runs() {
    let world = World::new().await;
    world.behave(json!({"restore_seconds": 3})).await;
    let browser = at_console(&world).await;
    let restore = id(&world.submit(&requests::cbr_server()).await.json());
    world.until_status(&restore, "running").await;
    let refused = json!({"status": 503, "body": {}});
    world.faults(json!([{"match": {"method": "GET"}, "times": 1000, "answer": refused}])).await;
    let row = format!("document.querySelector('tr[data-id=\"{restore}\"]')");
    browser.until(&format!("{row}?.textContent.includes('polls fail for')")).await;
    assert_eq!(browser.run(&format!("return {row}.querySelector('.badge').dataset.tone")).await, "warn");
    world.faults(json!([])).await;
    browser.until(&format!("{} === 'succeeded'", status(&restore))).await;
    browser.until(&format!("!{row}.textContent.includes('polls fail for')")).await;
    browser.close().await;
    world.end().await;
}

/// The picture in the README: `./dev screenshot` writes it anew.
#[tokio::test]
async fn the_console_as_the_readme_shows_it() {
    let world = World::with(hasty().set("polling.overdue_seconds", "5")).await;
    world.behave(json!({"extra_disks": 6, "restore_seconds": 1})).await;
    let done = id(&world.submit(&requests::cbr_server()).await.json());
    world.until_status(&done, "succeeded").await;
    world.behave(json!({"next_restore": {"status": "failed", "error_code": "BackupService.9910", "error_msg": "restore failed"}})).await;
    let failed = id(&world.submit(&requests::csbs_server()).await.json());
    world.until_status(&failed, "failed").await;
    let refusal =
        json!({"status": 400, "body": {"error_code": "BackupService.6408", "error_msg": "volume is in use"}});
    world.faults(json!([{"match": {"method": "POST", "path": "*/restore"}, "answer": refusal}])).await;
    world.submit(&requests::extra_disk(1)).await;
    let waits = id(&waiting(&world).await);
    world.behave(json!({"restore_seconds": 60})).await;
    let late = id(&world.submit(&requests::extra_disk(2)).await.json());
    let browser = Browser::open(1400, 1000).await;
    // No picture of something that is only on its way.
    let still = ("prefers-reduced-motion", "reduce");
    browser.prefer(&[still]).await;
    browser.go(&format!("http://{}/console", world.gateway.admin())).await;
    world.until(&late, |restore| restore["overdue"] == true).await;
    world.behave(json!({"restore_seconds": 4})).await;
    let key = [("idempotency-key", "again")];
    let running = id(&world.post_with("/api/v1/restores", &requests::cbr_server(), &key).await.json());
    browser.until("document.querySelectorAll('#rows tr').length >= 6").await;
    browser.until("document.querySelectorAll('#attention li').length === 2").await;
    browser.until(&format!("document.querySelector('tr[data-id=\"{running}\"] progress')?.value > 20")).await;
    let first = browser.run("return document.querySelector('#attention li').dataset.id").await;
    assert_eq!(first, waits.as_str(), "who must be decided on comes first");
    let keep = |name: &str, picture: &[u8]| {
        assert!(
            picture.starts_with(b"\x89PNG") && (10_000..300_000).contains(&picture.len()),
            "{}",
            picture.len()
        );
        if let Some(folder) = std::env::var_os("RESTORE_SCREENSHOTS") {
            std::fs::write(std::path::Path::new(&folder).join(name), picture).expect("it is written");
        }
    };
    keep("console.png", &browser.picture().await);
    browser.click(".attention li a.button").await;
    browser.until("document.querySelectorAll('#history li').length > 3").await;
    keep("console-decision.png", &browser.picture().await);
    browser.prefer(&[still, ("prefers-color-scheme", "dark")]).await;
    keep("console-decision-dark.png", &browser.picture().await);
    browser.click("#close").await;
    browser.until("!document.getElementById('one').open").await;
    keep("console-dark.png", &browser.picture().await);
    browser.close().await;
    world.end().await;
}
