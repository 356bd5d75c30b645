//! What `deploy/` ships: each file found sound by the tool that knows its kind, and held to what a gateway needs (S41,
//! F35). What only an orchestrator could show is said in deploy/README.md.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use restore_tests::tools::{dclint, python, root, run, tool, yaml};
use restore_tests::{World, binary};
use serde_json::{Value, json};
use tokio::process::Command;

const CHART: &str = "deploy/helm/restore-gateway";
/// Values, and the manifests that are rendered from them.
const RENDERED: [(&str, &str); 3] = [
    ("-", "deploy/kubernetes/service.yaml"),
    ("deploy/helm/examples/sidecar.yaml", "deploy/kubernetes/sidecar.yaml"),
    ("deploy/helm/examples/autoscaled.yaml", "deploy/kubernetes/autoscaled.yaml"),
];
/// Of Kubernetes, the oldest and the newest that the manifests are held to.
const VERSIONS: [&str; 2] = ["1.29", "1.37"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

async fn content(command: &mut Command) -> String {
    let (content, said) = run(command).await;
    assert!(content, "{command:?}: {said}");
    said
}

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> Option<&'a Value> {
    manifests.iter().find(|manifest| manifest["kind"] == kind)
}

/// Seconds of a key of configuration, its default where it is not written.
fn seconds(config: &toml::Table, key: &str, default: f64) -> f64 {
    let value = config.get("limits").and_then(|limits| limits.get(key));
    value.map_or(default, |value| {
        value.as_float().or(value.as_integer().map(|whole| whole as f64)).expect(key)
    })
}

#[tokio::test]
async fn the_chart_is_sound_and_the_plain_manifests_are_what_it_renders() {
    for (values, path) in RENDERED {
        let found: Value =
            serde_json::from_str(&content(&mut python(&["lint", CHART, values])).await).expect("JSON");
        assert_eq!(found["errors"], json!([]), "{values}: {found}");
        let bad = |message: &&Value| message["severity"].as_u64().is_none_or(|severity| severity > 1);
        let messages = found["messages"].as_array().expect("messages");
        assert_eq!(messages.iter().find(bad), None, "{values}");
        assert_eq!(found["total_charts_linted"], 1);

        let rendered = content(&mut python(&["render", CHART, values])).await;
        let head = format!(
            "# Rendered from {CHART} with {}; a test holds it to that.\n",
            match values {
                "-" => "its own values",
                other => other,
            }
        );
        let rendered = head + &rendered;
        if updates() {
            std::fs::write(root().join(path), &rendered).expect("manifests are written");
        }
        assert!(
            read(path) == rendered,
            "{path} is not what the chart renders: run this test with UPDATE_MANIFESTS=1"
        );
        for version in VERSIONS {
            let said =
                content(tool("python/bin/kubernetes-validate").args(["--strict", "-k", version, path])).await;
            assert!(said.contains("passed") && !said.contains("ERROR"), "{said}");
        }
    }
}

/// A key as `openssl rand -hex 24` makes one.
const API_KEY: &str = "000000000000000000000000000000000000000000000000";

/// S53: configuration that is shipped are safe as they are. Whoever other machines let in is asked who it is, and no switch
/// takes that away.
fn asks_who_calls(config: &toml::Table) {
    let listen = config.get("listen").and_then(toml::Value::as_table);
    let api = listen.and_then(|listen| listen.get("api")).and_then(toml::Value::as_str);
    let remote = api.is_some_and(|address| !address.starts_with("127."));
    let switched = listen.is_some_and(|listen| listen.contains_key("allow_unauthenticated_remote"));
    assert!(!switched && (!remote || config.contains_key("callers")), "{config}");
}

/// Whoever wants the manifests written anew says so to the test command.
fn updates() -> bool {
    std::env::var_os("UPDATE_MANIFESTS").is_some()
}

#[tokio::test]
async fn s41_what_is_rendered_has_no_rights_and_lets_a_gateway_live_and_go() {
    for (values, path) in RENDERED {
        let manifests = yaml(&[path]).await;
        let deployment = of_kind(&manifests, "Deployment").expect("a deployment");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{path}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{path}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{path}");
        let containers = pod["containers"].as_array().expect("containers");
        for container in containers {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{path}: {context}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{path}: {context}");
            assert_eq!(context["runAsNonRoot"], true, "{path}: {context}");
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{path}");
        }
        let gateway = containers.iter().find(|c| c["name"] == "restore-gateway").expect("the gateway");
        assert!(gateway["resources"]["limits"]["memory"].is_string(), "{path}");
        // By a subPath a change of the configuration would never arrive.
        for mount in gateway["volumeMounts"].as_array().expect("mounts") {
            assert!(mount["subPath"].is_null(), "{path}: {mount}");
        }

        // The configuration in it are good ones.
        let config = of_kind(&manifests, "ConfigMap").expect("settings");
        let toml = config["data"]["restore-gateway.toml"].as_str().expect("the file");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("restore-gateway.toml");
        // A secret stands where the Secret is mounted.
        let here = folder.path().display().to_string();
        std::fs::write(&file, toml.replace("/run/secrets/restore-gateway", &here)).expect("settings");
        for (name, text) in [("ledger-password", "example-only"), ("api-key", API_KEY)] {
            let secret = folder.path().join(name);
            std::fs::write(&secret, text).expect("a secret");
            std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o440))
                .expect("as it is mounted");
        }
        content(
            Command::new(binary()).args(["check-config", "--offline", "--elsewhere", "--config"]).arg(&file),
        )
        .await;
        let config: toml::Table = toml.parse().expect("TOML");
        asks_who_calls(&config);

        // It is given the time that it asks for, and the balancer notices before the listeners close.
        let grace = pod["terminationGracePeriodSeconds"].as_f64().expect("seconds");
        let (shutdown_delay, drain) = (
            seconds(&config, "shutdown_delay_seconds", 0.0),
            seconds(&config, "shutdown_timeout_seconds", 30.0),
        );
        assert!(grace > shutdown_delay + drain + 5.0, "{path}: {grace} for {shutdown_delay} and {drain}");
        let probe = &gateway["readinessProbe"];
        let notices =
            probe["periodSeconds"].as_f64().expect("s") * probe["failureThreshold"].as_f64().expect("n");
        let single = deployment["spec"]["strategy"]["type"] == "Recreate";
        assert!(
            single || shutdown_delay > notices + 2.0,
            "{path}: {shutdown_delay} s and noticed after {notices}"
        );

        // One process for a file, several for a database; and several are never all taken away.
        let file = config["ledger"]["url"].as_str().is_some_and(|url| url.starts_with("sqlite:"));
        assert_eq!(file, single, "{path}");
        assert_eq!(of_kind(&manifests, "PodDisruptionBudget").is_some(), !single, "{path}");
        assert_eq!(
            of_kind(&manifests, "HorizontalPodAutoscaler").is_some(),
            values.contains("autoscaled"),
            "{path}"
        );
        assert_eq!(of_kind(&manifests, "Service").is_some(), !single, "{path}");
        let policy = of_kind(&manifests, "NetworkPolicy").expect("a network policy");
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]), "{path}");
        for rule in policy["spec"]["ingress"].as_array().expect("rules") {
            assert!(
                rule["from"].as_array().is_some_and(|from| !from.is_empty()),
                "{path}: open to all: {rule}"
            );
        }
    }
}

/// What a command of the tools says of the chart with values, and whether it could.
async fn of_chart(command: &str, values: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("values.yaml");
    std::fs::write(&path, values).expect("values");
    run(&mut python(&[command, CHART, &path.display().to_string()])).await
}

#[tokio::test]
async fn the_chart_refuses_what_cannot_work() {
    for (values, why) in [
        ("mode: sidecar", "sidecar.containers"),
        ("persistence: {enabled: true}\nautoscaling: {enabled: true}", "exclude each other"),
        ("replica: 3", "replica"),
        ("mode: daemon", "mode"),
    ] {
        let (rendered, said) = of_chart("render", values).await;
        assert!(!rendered && said.contains(why), "{values}: {said}");
    }
}

/// Values of the chart: this ledger in the configuration, none where there is none, and more.
fn with_ledger(ledger: &str, more: &str) -> String {
    format!("{more}\nconfig: |\n  {}\n", ledger.replace('\n', "\n  "))
}

#[tokio::test]
async fn behind_one_service_there_is_one_ledger() {
    const FILE: &str = "[ledger]\nurl = \"sqlite:/data/ledger.db\"";
    const DATABASE: &str = "[ledger]\nurl = \"postgres://gateway@db/gateway\"";
    let of_env = |what: &str| format!("extraEnv: [{{name: RESTORE_GATEWAY_LEDGER__URL, {what}}}]");
    let (file, database) = (of_env("value: 'sqlite:/data/a.db'"), of_env("value: 'postgresql://g@db/g'"));
    let secret = of_env("valueFrom: {secretKeyRef: {name: s, key: url}}");
    for (ledger, more, shared) in [
        // None is a file in the working directory.
        ("[limits]", "", false),
        (FILE, "", false),
        (FILE, "autoscaling: {enabled: true}", false),
        (FILE, "replicaCount: 1\nautoscaling: {enabled: true}", false),
        ("[ledger]\nurl = \"memory:\"", "replicaCount: 2", false),
        ("# url = \"postgres://gateway@db/gateway\"", "", false),
        (DATABASE, &file, false),
        (DATABASE, "", true),
        (DATABASE, "autoscaling: {enabled: true}", true),
        ("ledger = { lease_seconds = 15, url = 'postgresql://g@db/g' }", "", true),
        (FILE, &database, true),
        ("[limits]", &secret, true),
    ] {
        let (rendered, said) = of_chart("render", &with_ledger(ledger, more)).await;
        assert_eq!(rendered, shared, "{ledger}, {more}: {said}");
        assert!(shared || said.contains("one shared ledger"), "{ledger}, {more}: {said}");
    }
    // One alone has what ledger it likes, and no second one stands beside it while it is replaced.
    for more in ["replicaCount: 1", "persistence: {enabled: true}"] {
        let (rendered, said) = of_chart("render", &with_ledger(FILE, more)).await;
        assert!(
            rendered && said.contains("replicas: 1\n") && said.contains("type: Recreate"),
            "{more}: {said}"
        );
    }

    // Who installs it is told what goes with a pod, and what Prometheus cannot reach.
    let open = "networkPolicy: {adminFrom: [{podSelector: {}}]}";
    for (ledger, more, forgets, unseen) in [
        (FILE, "replicaCount: 1", true, true),
        (FILE, "persistence: {enabled: true}", false, true),
        (DATABASE, "", false, true),
        (DATABASE, open, false, false),
        (DATABASE, "networkPolicy: {enabled: false}", false, false),
        (DATABASE, "scrapeAnnotations: false", false, false),
        (FILE, "mode: sidecar\nsidecar: {containers: [{name: a, image: b}]}", true, false),
    ] {
        let (told, said) = of_chart("notes", &with_ledger(ledger, more)).await;
        assert!(told, "{said}");
        assert_eq!(said.contains("lost with its pod"), forgets, "{ledger}, {more}: {said}");
        assert_eq!(said.contains("networkPolicy.adminFrom"), unseen, "{ledger}, {more}: {said}");
    }
}

#[tokio::test]
async fn chart_options_render_their_objects() {
    let values = with_ledger(
        "[ledger]\nurl = 'postgres://g@db/g'",
        "fullnameOverride: gate\npodLabels: {team: backup}\npriorityClassName: high\n\
         extraVolumes: [{name: ids, configMap: {name: ids}}]\n\
         extraVolumeMounts: [{name: ids, mountPath: /etc/ids}]\n\
         serviceAccount: {create: false, name: shared}\n\
         ingress: {enabled: true, className: nginx, hosts: [{host: restore.example.com}]}\n\
         serviceMonitor: {enabled: true, labels: {release: prometheus}}\nprometheusRule: {enabled: true}\n\
         networkPolicy: {adminFrom: [{podSelector: {}}]}",
    );
    let (rendered, said) = of_chart("render", &values).await;
    assert!(rendered, "{said}");
    for wanted in [
        "name: gate\n",
        "team: backup",
        "priorityClassName: high",
        "mountPath: /etc/ids",
        "serviceAccountName: shared",
        "kind: Ingress",
        "ingressClassName: nginx",
        "host: \"restore.example.com\"",
        "kind: ServiceMonitor",
        "release: prometheus",
        "kind: PrometheusRule",
        "alert: RestoreNeedsOperator",
        "topologyKey: kubernetes.io/hostname",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains("kind: ServiceAccount"), "{said}");
    // A chart can read its own files only, so the alerts are in it once more.
    assert_eq!(read(&format!("{CHART}/files/rules.yml")), read("deploy/prometheus/rules.yml"));
}

#[tokio::test]
async fn a_changed_configuration_replaces_the_pods_if_the_values_say_so() {
    const SETTINGS: [&str; 2] =
        ["[ledger]\nurl = 'postgres://g@db/g'", "[ledger]\nurl = 'postgres://g@db/h'"];
    let mut seen = Vec::new();
    for config in SETTINGS {
        let (rendered, said) = of_chart("render", &with_ledger(config, "rollOnConfigChange: true")).await;
        assert!(rendered, "{said}");
        let sum = said.lines().find(|line| line.contains("checksum/config:")).expect("a sum").to_owned();
        seen.push(sum);
        let (_, said) = of_chart("render", &with_ledger(config, "")).await;
        assert!(!said.contains("checksum"), "{said}");
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn s41_the_image_runs_as_nobody_and_says_how_it_is() {
    // Versions of Debian's packages are those of the base image, which is pinned by who builds.
    let linter = ["--no-color", "--failure-threshold", "info", "--ignore", "DL3008", "deploy/Containerfile"];
    content(tool("python/bin/hadolint").args(linter)).await;
    let file = read("deploy/Containerfile");
    let last =
        |word: &str| file.lines().rfind(|line| line.starts_with(word)).unwrap_or_else(|| panic!("no {word}"));
    let user =
        last("USER ").trim_start_matches("USER ").split(':').next().and_then(|id| id.parse::<u32>().ok());
    assert!(user.is_some_and(|id| id >= 1000), "a number, so that runAsNonRoot can be checked: {user:?}");
    assert_eq!(last("STOPSIGNAL "), "STOPSIGNAL SIGTERM");

    // Its health check, run against one that lives, and one that does not.
    let health = last("HEALTHCHECK ").split_once("CMD ").expect("a command").1;
    let command: Vec<String> =
        serde_json::from_str(health).expect("without a shell, which there may be none of");
    assert_eq!(command[0], "/usr/local/bin/restore-gateway");
    let mut world = World::serve(restore_tests::TestConfig::default()).await;
    let admin = format!("http://{}", world.gateway.admin());
    for more in [&[][..], &["--ready"]] {
        let mut check = Command::new(binary());
        content(check.args(&command[1..]).args(more).env("RESTORE_CLIENT_ADMIN_URL", &admin)).await;
    }
    world.ended_by("TERM").await;
    let (well, said) =
        run(Command::new(binary()).args(&command[1..]).env("RESTORE_CLIENT_ADMIN_URL", &admin)).await;
    assert!(!well && said.contains("error"), "{said}");
    world.end().await;
}

#[tokio::test]
async fn one_that_is_not_ready_says_so_to_a_health_check() {
    let config = restore_tests::TestConfig::default().set("limits.shutdown_delay_seconds", "60");
    let mut world = World::serve(config).await;
    let admin = format!("http://{}", world.gateway.admin());
    world.process().signal("TERM").await;
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let mut check = Command::new(binary());
        let (ready, _) = run(check.args(["check-health", "--ready", "--admin-url", &admin])).await;
        if !ready {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "it is ready for ever");
    }
    content(Command::new(binary()).args(["check-health", "--admin-url", &admin])).await;
    world.ended_by("KILL").await;
    world.end().await;
}

#[tokio::test]
async fn the_compose_file_and_what_it_mounts_are_sound() {
    // Order of keys is taste.
    let taste = ["--disable-rule", "service-keys-order", "--disable-rule", "services-alphabetical-order"];
    content(dclint().arg("deploy/compose/compose.yaml").args(["--max-warnings", "0"]).args(taste)).await;
    content(tool("promtool").args(["check", "config", "--syntax-only", "deploy/compose/prometheus.yml"]))
        .await;
    let mut check = Command::new(binary());
    check
        .args(["check-config", "--offline", "--elsewhere", "--config"])
        .env("LEDGER_PASSWORD", "example-only")
        .env("API_KEY", API_KEY);
    content(check.arg(root().join("deploy/compose/gateway/restore-gateway.toml"))).await;

    let compose = &yaml(&["deploy/compose/compose.yaml"]).await[0];
    let services = compose["services"].as_object().expect("services");
    for name in ["gateway", "postgres", "collector", "prometheus", "grafana"] {
        assert!(services.contains_key(name), "no {name}");
    }
    for (name, service) in services {
        for mount in service["volumes"].as_array().into_iter().flatten() {
            let from = mount.as_str().and_then(|mount| mount.split(':').next()).expect("a mount");
            let there = if from.starts_with('.') {
                root().join("deploy/compose").join(from).exists()
            } else {
                compose["volumes"].as_object().is_some_and(|volumes| volumes.contains_key(from))
            };
            assert!(there, "{name} mounts {from}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(
                port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")),
                "{name} is open: {port}"
            );
        }
        // No floating images.
        let pinned = |image: &str| image.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest");
        assert!(service["build"].is_object() || service["image"].as_str().is_some_and(pinned), "{name}");
    }
    let gateway = &services["gateway"];
    assert_eq!((&gateway["read_only"], &gateway["cap_drop"]), (&json!(true), &json!(["ALL"])));

    // Who talks to whom agrees between the files.
    let files = ["collector.yaml", "prometheus.yml", "grafana/datasources/prometheus.yaml"];
    let paths = files.map(|file| format!("deploy/compose/{file}"));
    let [collector, prometheus, source] = &yaml(&paths.each_ref().map(String::as_str)).await[..] else {
        panic!()
    };
    let config: toml::Table = read("deploy/compose/gateway/restore-gateway.toml").parse().expect("TOML");
    asks_who_calls(&config);
    let port =
        |address: &str| address.rsplit(':').next().unwrap_or_default().trim_end_matches('/').to_owned();
    let taken =
        collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].as_str().expect("an endpoint");
    assert_eq!(
        config["telemetry"]["otlp_endpoint"].as_str(),
        Some(&*format!("http://collector:{}", port(taken)))
    );
    let target =
        prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str().expect("a target");
    let admin = config["listen"]["admin"].as_str().expect("an address");
    assert_eq!(target, format!("gateway:{}", port(admin)));
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
}

#[tokio::test]
async fn the_unit_for_systemd_is_sound_and_exposed_to_little() {
    // The tool wants the commands to exist: the binary stands in for the installed one.
    let folder = tempfile::tempdir().expect("a folder");
    let unit = read("deploy/systemd/restore-gateway.service");
    let installed = "/usr/local/bin/restore-gateway";
    assert!(unit.contains(installed), "{unit}");
    let path = folder.path().join("restore-gateway.service");
    std::fs::write(&path, unit.replace(installed, &binary().display().to_string())).expect("written");
    // The lines of its head that hand over a secret, as if they had been written where they say.
    let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
    let [_, handed, used] = lines[..] else { panic!("{lines:?}") };
    let (name, _) = handed.strip_prefix("LoadCredential=").and_then(|rest| rest.split_once(':')).expect("it");
    assert!(used.contains(&format!("\"/run/credentials/restore-gateway.service/{name}\"")), "{used}");
    let with_secret = unit.replace("\nDynamicUser=yes\n", &format!("\nDynamicUser=yes\n{handed}\n"));
    std::fs::write(&path, with_secret.replace(installed, &binary().display().to_string())).expect("written");
    let analyze = || Command::new("systemd-analyze");
    let (_, told) = run(analyze().args(["verify", "--man=no", "--recursive-errors=no"]).arg(&path)).await;
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("restore-gateway.service")).collect();
    assert!(ours.is_empty(), "{told}");
    // 0 is exposed to nothing, 10 to everything; what is left is the network that it is for.
    let (safe, told) =
        run(analyze().args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(&path)).await;
    assert!(safe && told.contains("Overall exposure level"), "{told}");
    let stop = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="))
        .and_then(|s| s.parse::<u32>().ok());
    assert!(stop.is_some_and(|seconds| seconds > 35), "longer than shutdown_timeout_seconds: {stop:?}");

    // Faults of the configuration end the main process, whose code is the one that is not started again after.
    let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).expect("a line").to_owned();
    let (start, faulty) = (of("ExecStart="), folder.path().join("faulty.toml"));
    std::fs::write(&faulty, "nonsense = 1\n").expect("settings");
    let mut words =
        start.split(' ').map(|word| if word.ends_with(".toml") { faulty.as_os_str() } else { word.as_ref() });
    assert_eq!(words.next().and_then(|word| word.to_str()), Some(installed));
    let ended = Command::new(binary()).args(words).output().await.expect("it runs").status;
    assert_eq!(ended.code().map(|code| code.to_string()), Some(of("RestartPreventExitStatus=")));
    assert!(!unit.contains("ExecStartPre="), "its code would not count: {unit}");
}
