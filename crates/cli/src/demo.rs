//! `demo`: runs a gateway and simulated clouds on loopback, and shows one restore through each generation step by step. It
//! needs no account and no file.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use restore_simulator::Simulator;
use restore_upstream::Client;
use serde_json::{Value, json};

use super::StopSignal;
use restore_config::{self as config, Environment, Source};
use restore_gateway::Gateway;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Exit after the three restores, with 0 only if all succeeded
    #[arg(long)]
    once: bool,
    /// Address of the canonical API
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the admin listener
    #[arg(long, default_value = "127.0.0.1:8081")]
    admin: SocketAddr,
    /// Address of the simulated clouds
    #[arg(long, default_value = "127.0.0.1:9000")]
    clouds: SocketAddr,
}

/// IDs of the simulated clouds.
mod world {
    pub(super) const TOKEN: &str = "demo-token";
    pub(super) const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    pub(super) const SERVER: &str = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14";
    pub(super) const DISKS: [(&str, &str); 2] = [
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01", "c0ffee00-1111-4222-8333-444455556666"),
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02", "c0ffee01-1111-4222-8333-444455556666"),
    ];
    pub(super) const CBR_BACKUP: &str = "0f9e8d7c-6b5a-4948-8372-615049382716";
    pub(super) const CSBS_ITEM: &str = "8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e";
    pub(super) const CSBS_CHECKPOINT: &str = "11aa22bb-33cc-44dd-95ee-66ff77008811";
    pub(super) const CSBS_PROVIDER: &str = "fc4d5750-22e7-4798-8a46-f48f62c4c1da";
    pub(super) const FREE_DISK: (&str, &str) =
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03", "c0ffee02-1111-4222-8333-444455556666");
}

/// One gateway with three upstreams. The CSBS backup goes to CSBS, disks go to VBS, everything else to CBR. Requests through
/// the compatibility endpoint of CSBS go to CBR.
fn config_text(options: &Options, clouds: &str) -> String {
    format!(
        r#"
[listen]
api = "{api}"
admin = "{admin}"

[ledger]
url = "memory:"

[polling]
interval_seconds = 0.5
status_cache_ttl_seconds = 0.5

[telemetry]
log_level = "warn"
log_format = "text"

[[upstreams]]
name = "demo-cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
evs_endpoint = "{clouds}/evs"

[[upstreams]]
name = "demo-csbs"
generation = "csbs-v1"
endpoint = "{clouds}"

[[upstreams]]
name = "demo-vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
evs_endpoint = "{clouds}/evs"

[[compat_endpoints]]
api = "csbs-v1"
prefix = "/csbs"

[[routes]]
source_apis = ["csbs-v1"]
upstream = "demo-cbr"

[[routes]]
match = {{ backup_ids = ["{item}"] }}
upstream = "demo-csbs"

[[routes]]
match = {{ target_types = ["volume"] }}
upstream = "demo-vbs"

[[routes]]
upstream = "demo-cbr"
"#,
        api = options.listen,
        admin = options.admin,
        item = world::CSBS_ITEM,
    )
}

pub(super) async fn run(options: Options) -> ExitCode {
    match demonstrate(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn demonstrate(options: &Options) -> Result<bool, String> {
    let clouds =
        Simulator::start(options.clouds, restore_simulator::Options::default()).await.map_err(|error| {
            format!("cannot listen on {}: {error}; choose another address with --clouds", options.clouds)
        })?;
    let gateway = start(&config_text(options, &clouds.url())).await?;
    let api = format!("http://{}", gateway.api());
    let http = Http::new(&api)?;

    println!("gateway          {api}  (docs: {api}/docs)");
    println!("admin            http://{0}  (http://{0}/console, /readyz, /metrics)", gateway.admin());
    println!("simulated clouds {}  (their restores: {}/_sim/restores)", clouds.url(), clouds.url());

    let mut all = true;
    let server = |backup: &str| {
        let volumes: Vec<Value> = world::DISKS
            .iter()
            .map(|(backup, volume)| json!({"backup_id": backup, "volume_id": volume}))
            .collect();
        json!({
            "project_id": world::PROJECT,
            "source": {"backup_id": backup},
            "target": {"type": "server", "server_id": world::SERVER, "power_on": true, "volumes": volumes},
        })
    };
    let disk = json!({
        "project_id": world::PROJECT,
        "source": {"backup_id": world::FREE_DISK.0},
        "target": {"type": "volume", "volume_id": world::FREE_DISK.1},
    });
    for (title, request) in [
        ("a server through cbr-v3", server(world::CBR_BACKUP)),
        ("a server through csbs-v1", server(world::CSBS_ITEM)),
        ("a disk through vbs-v2", disk.clone()),
    ] {
        all &= run_restore(&http, &clouds.url(), &api, title, &request).await?;
    }
    println!("\n{}", if all { "all three succeeded" } else { "not all three succeeded" });

    if !options.once {
        let requests = [
            ("a server through cbr-v3", server(world::CBR_BACKUP)),
            ("a server through csbs-v1", server(world::CSBS_ITEM)),
            ("a disk through vbs-v2", disk),
        ];
        lines_to_try(&api, &clouds.url(), &requests);
        StopSignal::listen().received().await;
    }
    gateway.stop().await;
    clouds.stop().await;
    Ok(all)
}

async fn start(text: &str) -> Result<Gateway, String> {
    let source = Source::new("demo", text);
    let (config, _) = config::load(&source, &Environment::default(), &restore_generations::names())
        .map_err(|faults| faults.render_human(false))?;
    Gateway::start(&config)
        .await
        .map_err(|error| format!("{error}; choose other addresses with --listen, --admin and --clouds"))
}

/// Runs one restore to its end and prints each step.
async fn run_restore(
    http: &Http,
    clouds: &str,
    api: &str,
    title: &str,
    request: &Value,
) -> Result<bool, String> {
    println!("\n── {title} ──");
    println!("canonical request  POST /api/v1/restores\n  {request}");
    let before = http.get(&format!("{clouds}/_sim/requests")).await?;
    let seen = before["requests"].as_array().map_or(0, Vec::len);
    let (status, mut restore) = http.post(&format!("{api}/api/v1/restores"), request).await?;
    let after = http.get(&format!("{clouds}/_sim/requests")).await?;
    let calls = after["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(call) = calls.iter().skip(seen).find(|call| call["method"] == "POST") {
        println!("upstream request   POST {}\n  {}", text(&call["path"]), call["body"]);
        println!("upstream response  {} {}", call["status"], response_text(&call["answer"]));
    }
    println!("response           {status}");
    let Some(id) = restore["id"].as_str().map(str::to_owned) else {
        println!("  {restore}");
        return Ok(false);
    };

    let mut shown = String::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let progress =
            restore["progress"].as_u64().map(|percent| format!(" {percent} %")).unwrap_or_default();
        let line = format!("{}{progress}", text(&restore["status"]));
        if line != shown {
            println!("  {line}");
            shown = line;
        }
        let open = restore["finished_at"].is_null();
        if !open || tokio::time::Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        restore = http.get(&format!("{api}/api/v1/restores/{id}")).await?;
    }
    println!("  evidence: {}", restore["evidence"]);
    Ok(restore["status"] == "succeeded")
}

fn lines_to_try(api: &str, clouds: &str, requests: &[(&str, Value); 3]) {
    let json = "-H 'Content-Type: application/json'";
    let token = format!("-H 'X-Auth-Token: {}'", world::TOKEN);
    let disk = &requests[2].1;
    println!("\nTry it (the gateway stays up until Ctrl-C):\n");
    println!("# preview: show the upstream request; nothing is sent");
    println!("curl -s {api}/api/v1/restore-previews {json} -d '{disk}'\n");
    println!("# dry-run check: would the cloud accept it?");
    println!("curl -s {api}/api/v1/restore-checks {token} {json} -d '{disk}'\n");
    for (index, (title, request)) in requests.iter().enumerate() {
        println!(
            "# {title}, waiting for the end; a new key makes a new restore, the same key returns the same one"
        );
        println!(
            "curl -s {api}/api/v1/restores {token} {json} -H 'Idempotency-Key: try-{}' -H 'Prefer: wait=30' -d '{request}'\n",
            index + 1,
        );
    }
    let native = json!({"restore": {
        "provider_id": world::CSBS_PROVIDER,
        "checkpoint_id": world::CSBS_CHECKPOINT,
        "parameters": {"checkpoint_item_id": world::CSBS_ITEM, "power_on": true, "targets": {
            "server_id": world::SERVER,
            "volumes": requests[1].1["target"]["volumes"],
        }},
    }});
    let endpoint = format!("{api}/csbs/v1/{}", world::PROJECT);
    println!("# an old program that uses the CSBS API, with the restore done by CBR");
    println!("curl -s {endpoint}/restores {token} {json} -d '{native}'");
    println!("curl -s {endpoint}/checkpoint_items/{} {token}\n", world::CSBS_ITEM);
    println!("# all restores, and those that the clouds applied");
    println!("curl -s {api}/api/v1/restores");
    println!("curl -s {clouds}/_sim/restores");
}

/// Shows an empty body as such: CBR sends no body.
fn response_text(body: &Value) -> String {
    if body.is_null() { "(empty body)".to_owned() } else { body.to_string() }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// HTTP client of the demo.
struct Http(Client);

impl Http {
    fn new(base: &str) -> Result<Self, String> {
        let uri = base.parse().map_err(|error| format!("{base}: {error}"))?;
        restore_upstream::plain_client(&uri, Duration::from_secs(5)).map(Self)
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        Ok(self.send(Method::GET, url, Bytes::new()).await?.1)
    }

    async fn post(&self, url: &str, body: &Value) -> Result<(u16, Value), String> {
        self.send(Method::POST, url, body.to_string().into()).await
    }

    async fn send(&self, method: Method, url: &str, body: Bytes) -> Result<(u16, Value), String> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json")
            .header("x-auth-token", world::TOKEN)
            .body(body.into())
            .map_err(|error| error.to_string())?;
        let answer = self.0.request(request).await.map_err(|error| format!("{url}: {error}"))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}
