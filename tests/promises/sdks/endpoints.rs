//! SDKs of other people at compatibility endpoints: each restores through the compatibility endpoint of its source API, whose restores are carried out
//! by another generation, and sees the end. Judged by what the clouds have really applied.

use futures_util::future::join_all;
use restore_tests::sdks::{KEY, NO_BACKUP, Ran, Sdk, sdk};
use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};

/// One program at one compatibility endpoint.
#[derive(Clone, Copy)]
struct Case {
    program: &'static str,
    source_api: &'static str,
    target: &'static str,
    /// Who carries it out.
    upstream: &'static str,
    stand: Stand,
    /// The step that tells the end, and its good and its bad word; the bad one is told by the step's other members where
    /// both are the same.
    end: (&'static str, &'static str, &'static str),
}

/// Where the compatibility endpoint stands.
#[derive(Clone, Copy)]
enum Stand {
    Prefix,
    Host,
    Listener,
}

const fn case(
    program: &'static str,
    (source_api, target, upstream): (&'static str, &'static str, &'static str),
    stand: Stand,
    end: (&'static str, &'static str, &'static str),
) -> Case {
    Case { program, source_api, target, upstream, stand, end }
}

const CSBS_SERVER: (&str, &str, &str) = ("csbs-v1", "server", "cbr");
const CBR_SERVER: (&str, &str, &str) = ("cbr-v3", "server", "csbs");
const CBR_DISK: (&str, &str, &str) = ("cbr-v3", "disk", "vbs");
const VBS_DISK: (&str, &str, &str) = ("vbs-v2", "disk", "cbr");
const CINDER_DISK: (&str, &str, &str) = ("cinder-v3", "disk", "cbr");

const CASES: &[Case] = &[
    case("otc_csbs.py", CSBS_SERVER, Stand::Prefix, ("item", "available", "available")),
    case("karbor.py", CSBS_SERVER, Stand::Listener, ("poll", "success", "fail")),
    case("huawei.js", CSBS_SERVER, Stand::Host, ("item", "available", "available")),
    case("otc_cbr.py", CBR_SERVER, Stand::Prefix, ("one-task", "success", "failed")),
    case("otc_cbr.py", CBR_DISK, Stand::Prefix, ("one-task", "success", "failed")),
    case("huawei_cbr.py", CBR_DISK, Stand::Host, ("one-log", "success", "failed")),
    case("huawei_cbr.py", CBR_SERVER, Stand::Listener, ("one-log", "success", "failed")),
    case("huawei.js", CBR_DISK, Stand::Prefix, ("one-log", "success", "failed")),
    case("otc_vbs.py", VBS_DISK, Stand::Listener, ("job", "SUCCESS", "FAIL")),
    case("huawei.js", VBS_DISK, Stand::Listener, ("job", "SUCCESS", "FAIL")),
    case("cinder.py", CINDER_DISK, Stand::Prefix, ("volume-wait", "available", "error_restoring")),
];

impl Case {
    fn name(&self) -> String {
        format!("{} {} {} by {}", self.program, self.source_api, self.target, self.upstream)
    }

    /// Whether it signs with an access key, which the gateway checks; the clouds then get a token of the gateway's own.
    fn signs(&self) -> bool {
        self.program.starts_with("huawei")
    }

    /// The generation that its compatibility endpoint's programs used to talk to.
    fn home(&self) -> &'static str {
        match self.source_api {
            "csbs-v1" => "csbs",
            "cbr-v3" => "cbr",
            _ => "vbs",
        }
    }

    fn config(&self, retired: bool) -> TestConfig {
        let mut routes = String::new();
        for (name, lines) in [
            ("cbr", "generation = \"cbr-v3\"\nendpoint = \"{clouds}\"\nevs_endpoint = \"{clouds}/evs\""),
            ("csbs", "generation = \"csbs-v1\"\nendpoint = \"{clouds}\""),
            ("vbs", "generation = \"vbs-v2\"\nendpoint = \"{clouds}/vbs\"\nevs_endpoint = \"{clouds}/evs\""),
        ] {
            if name == self.upstream || (name == self.home() && !retired) {
                let held = if self.signs() { "credential = \"robot\"\n" } else { "" };
                routes.push_str(&format!("[[upstreams]]\nname = \"{name}\"\n{held}{lines}\n"));
            }
        }
        routes.push_str(&format!("[[routes]]\nupstream = \"{}\"\n", self.upstream));
        let stand = match self.stand {
            Stand::Prefix => "prefix = \"/native\"",
            Stand::Host => "host = \"localhost\"",
            Stand::Listener => "listen = \"127.0.0.1:0\"",
        };
        let endpoints = format!("[[compat_endpoints]]\napi = \"{}\"\n{stand}\n", self.source_api);
        let mut config = TestConfig::default().routes(&routes).and(&endpoints);
        if self.signs() {
            config = config.robot().and(SIGNER);
        }
        if retired { config.set("id_mapping.file", "\"pairs.csv\"") } else { config }
    }

    async fn world(&self, retired: bool) -> World {
        let (item, backup) = (ids::CSBS_ITEM, ids::CBR_BACKUP);
        let pairs = format!(
            "from,from_id,to,to_id\ncsbs-v1,{item},cbr-v3,{backup}\ncbr-v3,{backup},csbs-v1,{item}\n"
        );
        let files = [("password", "example-only"), ("ak", KEY.0), ("sk", KEY.1), ("pairs.csv", &*pairs)];
        let config = self.config(retired).set("ledger.url", "\"memory:\"");
        World::serve_beside(config, &[], &files).await
    }

    /// The program, pointed at the compatibility endpoint; `backup` is what it asks for, its own generation's name where there is none.
    fn at(&self, world: &World, backup: Option<&str>) -> Sdk {
        let base = match self.stand {
            Stand::Prefix => world.url("/native"),
            Stand::Host => format!("http://localhost:{}", world.gateway.api().port()),
            Stand::Listener => {
                let endpoints = &world.process().endpoints;
                let [(source_api, address)] = endpoints.as_slice() else {
                    panic!("one compatibility endpoint: {endpoints:?}")
                };
                assert_eq!(source_api, self.source_api);
                format!("http://{address}")
            }
        };
        let program = sdk(self.program, &base);
        let program =
            if self.program == "huawei.js" { program.with("source-api", self.source_api) } else { program };
        let program = if self.signs() { program.key() } else { program.token() };
        let own = match (self.source_api, self.target) {
            (_, "disk") => ids::FREE.0,
            ("csbs-v1", _) => ids::CSBS_ITEM,
            _ => ids::CBR_BACKUP,
        };
        let backup = backup.unwrap_or(own);
        if self.target == "disk" { program.disk(backup) } else { program.server(backup) }
    }

    /// One restore, by the generation that is routed to, onto the target, with this end.
    async fn assert_applied(&self, world: &World, end: &str) {
        let generation = match self.upstream {
            "cbr" => "cbr-v3",
            "csbs" => "csbs-v1",
            _ => "vbs-v2",
        };
        let target = if self.target == "disk" { ids::FREE.1 } else { ids::SERVER };
        let truth = world.applied().await;
        let [only] = truth.as_slice() else { panic!("{}: one restore: {truth:#?}", self.name()) };
        let got = [&only["generation"], &only["target"]["id"], &only["status"]];
        assert_eq!(got, [&json!(generation), &json!(target), &json!(end)], "{}", self.name());
        if self.target == "server" {
            assert_eq!(only["power_on"], true, "{}", self.name());
        }
    }
}

/// Who signs with the access key of the SDKs.
const SIGNER: &str = r#"
[[callers]]
name = "sdk"
type = "aksk"
access_key = { file = "ak" }
secret_key = { file = "sk" }
project_ids = ["0a1b2c3d4e5f60718293a4b5c6d7e8f9"]
[[policies]]
callers = ["sdk"]
actions = ["restore", "read", "check"]
"#;

/// Restores and sees the good end.
async fn restores(case: &Case, retired: bool) {
    let world = case.world(retired).await;
    let ran = case.at(&world, None).restore().await;
    assert_eq!(ran.code, Some(0), "{}, retired: {retired}: {ran:#?}", case.name());
    assert_eq!(ran.step(case.end.0)["status"], case.end.1, "{}: {ran:#?}", case.name());
    if case.program == "cinder.py" {
        assert_eq!(ran.step("versions")["status"], "3.60", "{ran:#?}");
    }
    case.assert_applied(&world, "succeeded").await;
    world.end().await;
}

#[tokio::test]
async fn every_sdk_restores_by_another_generation_and_sees_the_end() {
    for cases in CASES.chunks(3) {
        join_all(cases.iter().map(|case| restores(case, false))).await;
    }
}

#[tokio::test]
async fn every_sdk_restores_when_its_own_generation_is_gone() {
    for cases in CASES.chunks(3) {
        join_all(cases.iter().map(|case| restores(case, true))).await;
    }
}

#[tokio::test]
async fn a_restore_that_fails_elsewhere_is_seen_to_fail() {
    let play = async |case: &Case| {
        let world = case.world(false).await;
        world.behave(json!({"next_restore": {"status": "failed"}})).await;
        let ran = case.at(&world, None).restore().await;
        assert_eq!(ran.code, Some(1), "{}: {ran:#?}", case.name());
        assert_eq!(ran.step(case.end.0)["status"], case.end.2, "{}: {ran:#?}", case.name());
        assert_eq!(ran.step("end")["status"], "not well", "{}: {ran:#?}", case.name());
        case.assert_applied(&world, "failed").await;
        world.end().await;
    };
    for cases in CASES.chunks(3) {
        join_all(cases.iter().map(play)).await;
    }
}

/// How an SDK shows a refusal: whether it is broken by it, the status and what it says.
fn shown(ran: &Ran) -> (bool, u64, String) {
    let error = ran.step("error");
    let words = [&error["message"], &error["details"], &error["code"]].map(Value::to_string).concat();
    (error["crash"].as_bool().unwrap_or(true), error["http_status"].as_u64().unwrap_or_default(), words)
}

#[tokio::test]
async fn a_refusal_at_an_endpoint_is_shown_by_every_sdk() {
    let play = async |case: &Case| {
        let name = case.name();
        let world = case.world(false).await;
        // Of a backup that is nowhere.
        let ran = case.at(&world, Some(NO_BACKUP)).refused().await;
        let (crash, status, words) = shown(&ran);
        assert_eq!((ran.code, crash), (Some(0), false), "{name}: {ran:#?}");
        assert_eq!(status, 400, "{name}: {ran:#?}");
        assert!(words.contains("nothing was sent"), "{name}: {ran:#?}");
        // By the cloud that carries it out, in its words.
        let busy = match case.upstream {
            "cbr" => json!({"error_code": "BackupService.2010", "error_msg": "it is being restored"}),
            "csbs" => json!({"error_code": "CSBS.6015", "error_msg": "it is being restored"}),
            _ => json!({"error": {"code": "VolumeBackup.0205", "message": "it is being restored"}}),
        };
        let refusal = json!({"match": {"method": "POST", "path": "*/restore*"}, "answer": {"status": 400, "body": busy}});
        world.faults(json!([refusal])).await;
        let ran = case.at(&world, None).refused().await;
        let (crash, status, words) = shown(&ran);
        assert_eq!((ran.code, crash), (Some(0), false), "{name}: {ran:#?}");
        assert!(matches!(status, 400 | 409) && words.contains("it is being restored"), "{name}: {ran:#?}");
        assert!(world.applied().await.is_empty(), "{name}");
        world.end().await;
    };
    for cases in CASES.chunks(3) {
        join_all(cases.iter().map(play)).await;
    }
}
