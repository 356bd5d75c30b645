//! Upstreams and routes of a schedule, as configuration: the same for both campaigns.

use std::fmt::Write as _;

use super::requests;
use super::schedule::{DISKS, Setup, Way, What};
use restore_tests::ids;

/// The configuration in a version: 0 as at first, 1 with upstreams renamed, 2 with requests rerouted. `places` are two
/// addresses of the same clouds: that of the upstreams, and that of the second name.
#[must_use]
pub fn routing(setup: &Setup, version: u8, credential: &str, [place, other]: [&str; 2]) -> String {
    let suffix = if version == 1 { "-too" } else { "" };
    let mut text = String::new();
    let mut upstream = |name: &str, generation: &str, endpoint: &str| {
        let _ = write!(
            text,
            "[[upstreams]]\nname = \"{name}{suffix}\"\ngeneration = \"{generation}\"\n\
             endpoint = \"{endpoint}\"\ncredential = \"{credential}\"\nconnect_timeout_seconds = 1\nsend_timeout_seconds = 1\n\
             read_timeout_seconds = 2\ncircuit_breaker.failure_threshold = 0\npolls_per_minute = {}\n",
            setup.polls_per_minute
        );
    };
    upstream("cbr", "cbr-v3", place);
    upstream("csbs", "csbs-v1", place);
    upstream("vbs", "vbs-v2", &format!("{place}/vbs"));
    if setup.way == Way::TwoNames {
        upstream("cbr2", "cbr-v3", other);
    }
    let odd: Vec<String> = (0..DISKS)
        .filter(|disk| disk % 2 == 1)
        .map(|disk| requests::body(What::Disk(disk))["source"]["backup_id"].to_string())
        .collect();
    let odd = odd.join(", ");
    let mut route = |matches: String, upstream: &str, more: &str| {
        let matches = if matches.is_empty() { matches } else { format!("match = {{ {matches} }}\n") };
        let baseline = setup.baseline;
        let _ = write!(
            text,
            "[[routes]]\n{matches}upstream = \"{upstream}{suffix}\"\nbaseline_read = {baseline}\n{more}\n"
        );
    };
    let csbs = format!("backup_ids = [\"{}\"]", ids::CSBS_ITEM);
    let disks = "target_types = [\"volume\"]".to_owned();
    let around = format!("fallback_upstream = \"cbr{suffix}\"");
    match (setup.way, version) {
        (Way::Apart, 2) => {
            route(disks, "cbr", "");
            route(String::new(), "vbs", "per_disk_restore = true");
        }
        (Way::Apart, _) => {
            route(format!("backup_ids = [{odd}]"), "cbr", "");
            route(String::new(), "vbs", "per_disk_restore = true");
        }
        (Way::Around, 2) => route(String::new(), "cbr", ""),
        (Way::Around, _) => {
            route(csbs, "csbs", &around);
            route(disks, "vbs", &around);
            route(String::new(), "cbr", "");
        }
        (Way::TwoNames, version) => {
            let (one, two) = if version == 2 { ("cbr2", "cbr") } else { ("cbr", "cbr2") };
            route(csbs, "csbs", "");
            route(format!("backup_ids = [{odd}]"), one, "");
            route(disks, two, "");
            route(String::new(), "cbr", "");
        }
        (Way::Classic, 2) => {
            route(csbs, "csbs", "");
            route(String::new(), "cbr", "");
        }
        (Way::Classic, _) => {
            route(csbs, "csbs", "");
            route(format!("backup_ids = [{odd}]"), "cbr", "");
            route(disks, "vbs", "");
            route(String::new(), "cbr", "");
        }
    }
    text
}
