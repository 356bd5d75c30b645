//! A real browser, for what only one can show: Debian's Chromium without a screen, driven over `WebDriver`, which is JSON
//! over HTTP. `./dev test` installs both.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::http_client::Http;

/// Longest wait for something that must show.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(30);
/// What `WebDriver` calls a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with one page.
pub struct Browser {
    driver: Child,
    http: Http,
    session: String,
    #[expect(dead_code, reason = "held, not used: what the browser writes goes with it")]
    profile: tempfile::TempDir,
}

impl Browser {
    /// Opens one, with a window of this size.
    ///
    /// # Panics
    /// When Chromium or its driver does not start.
    pub async fn open(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // What the browser keeps beside its profile goes there as well.
            .env("HOME", profile.path())
            // Of its own, so that the browser can be ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}; ./dev test installs chromium-driver"));
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = async {
            while let Ok(Some(line)) = lines.next_line().await {
                let port = line.split("successfully on port ").nth(1);
                if let Some(port) = port.and_then(|rest| rest.trim_end_matches('.').parse::<u16>().ok()) {
                    return Some(port);
                }
            }
            None
        };
        let port = tokio::time::timeout(DEADLINE, port).await.ok().flatten().expect("chromedriver listens");
        // What it says later is nobody's business, but a full pipe would hold it up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let arguments = [
            "--headless=new".to_owned(),
            // Chromium's sandbox wants another user than root, whom containers have; its pages here are ours.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-first-run".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let http = Http::default();
        let driver_url = format!("http://127.0.0.1:{port}/session");
        let answer = http.send(Method::POST, &driver_url, &[], wanted.to_string()).await;
        let id = answer.json()["value"]["sessionId"].as_str().map(str::to_owned);
        let id = id.unwrap_or_else(|| panic!("chromium does not start: {}", answer.text()));
        Self { driver, http, session: format!("{driver_url}/{id}"), profile }
    }

    async fn tell(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.http.send(method, &format!("{}{path}", self.session), &[], body).await;
        let value = answer.json()["value"].take();
        if answer.status == 200 { Ok(value) } else { Err(format!("{path}: {value}")) }
    }

    async fn must(&self, method: Method, path: &str, body: &Value) -> Value {
        self.tell(method, path, body).await.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Goes to a page and waits until it is loaded.
    pub async fn go(&self, url: &str) {
        self.must(Method::POST, "/url", &json!({"url": url})).await;
    }

    /// What a function's body returns in the page.
    ///
    /// # Errors
    /// What it throws.
    pub async fn try_run(&self, script: &str) -> Result<Value, String> {
        self.tell(Method::POST, "/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// What a function's body returns in the page.
    ///
    /// # Panics
    /// When it throws.
    pub async fn run(&self, script: &str) -> Value {
        self.try_run(script).await.unwrap_or_else(|why| panic!("{script}: {why}"))
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Panics
    /// When it is not within half a minute; shows what the page says.
    pub async fn until(&self, expression: &str) {
        let end = tokio::time::Instant::now() + DEADLINE;
        while self.run(&format!("return Boolean({expression})")).await != true {
            if tokio::time::Instant::now() > end {
                let says = self.run("return document.body.innerText").await;
                panic!("not within {DEADLINE:?}: {expression}\n{says}\n{:?}", self.complaints().await);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Does something to an element; once more where the page has put another in its place meanwhile, or something over
    /// it that goes away again.
    async fn at_element(&self, selector: &str, act: &str, body: &Value) {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let wanted = json!({"using": "css selector", "value": selector});
            let found = self.must(Method::POST, "/element", &wanted).await;
            let element = found[ELEMENT].as_str().expect("an element");
            match self.tell(Method::POST, &format!("/element/{element}/{act}"), body).await {
                Ok(_) => return,
                Err(why) => {
                    let passing =
                        ["stale element", "click intercepted"].iter().any(|word| why.contains(word));
                    assert!(passing && tokio::time::Instant::now() < end, "{selector}: {why}");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Clicks as a person does: on what can be seen and is not covered.
    ///
    /// # Panics
    /// When it cannot be clicked.
    pub async fn click(&self, selector: &str) {
        self.at_element(selector, "click", &json!({})).await;
    }

    /// Types into an element. `\u{e00c}` is Escape, `\u{e007}` is Enter.
    ///
    /// # Panics
    /// When it takes no words.
    pub async fn write(&self, selector: &str, words: &str) {
        self.at_element(selector, "value", &json!({"text": words})).await;
    }

    /// The text of an element, as it is laid out.
    ///
    /// # Panics
    /// When there is none.
    pub async fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("return document.querySelector({}).innerText", json!(selector))).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What the browser has complained of since it was last asked: errors, and all that a policy has stopped.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.must(Method::POST, "/se/log", &json!({"type": "browser"})).await;
        log.as_array().into_iter().flatten().map(ToString::to_string).collect()
    }

    /// A picture of the window, as PNG.
    ///
    /// # Panics
    /// When there is none.
    pub async fn picture(&self) -> Vec<u8> {
        let picture = self.must(Method::GET, "/screenshot", &Value::Null).await;
        STANDARD.decode(picture.as_str().expect("base64")).expect("base64")
    }

    /// As if the person at the screen preferred it: `prefers-color-scheme` and the like. What was preferred before no
    /// longer is.
    pub async fn prefer(&self, features: &[(&str, &str)]) {
        let features: Vec<Value> =
            features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let body = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        self.must(Method::POST, "/goog/cdp/execute", &body).await;
    }

    /// Gives the window another size.
    pub async fn resize(&self, width: u32, height: u32) {
        self.must(Method::POST, "/window/rect", &json!({"width": width, "height": height})).await;
    }

    /// Closes it.
    pub async fn close(mut self) {
        self.must(Method::DELETE, "", &Value::Null).await;
        let _ended = self.driver.kill().await;
    }
}

impl Drop for Browser {
    /// Ends the browser of a test that has failed: a driver that is killed leaves it running.
    fn drop(&mut self) {
        let Some(group) = self.driver.id() else { return };
        let group = format!("-{group}");
        let _ended = std::process::Command::new("kill").args(["-s", "KILL", "--", &group]).status();
    }
}
