//! Requests of the schedules, and what each may overwrite.

use restore_model::{RestoreRequest, json as read, schema};
use restore_tests::{ids, requests};
use serde_json::{Value, json};

use super::schedule::What;

/// The body of a request.
pub fn body(what: What) -> Value {
    match what {
        What::CbrServer => requests::cbr_server(),
        What::CsbsServer => requests::csbs_server(),
        What::FreeDisk => requests::free_disk(),
        What::Disk(number) => requests::extra_disk(number as usize),
        What::Crossed(number) => {
            let mut request = requests::extra_disk(number as usize);
            request["source"] = requests::extra_disk((number as usize + 1) % 4)["source"].clone();
            request
        }
        What::Child(number) => {
            let mut request = requests::free_disk();
            let (backup, _) = if number == 0 { ids::SYSTEM } else { ids::DATA };
            request["source"]["backup_id"] = json!(backup);
            request
        }
        What::Invented(number) => {
            let disk = requests::extra_disk(number as usize);
            json!({
                "project_id": ids::PROJECT,
                "source": {"backup_id": "any-name-at-all"},
                "target": {"type": "server", "server_id": "no-such-server", "power_on": true, "volumes": [
                    {"backup_id": disk["source"]["backup_id"], "volume_id": disk["target"]["volume_id"]}]},
            })
        }
    }
}

/// The request itself.
///
/// # Panics
/// When it does not satisfy the schema.
pub fn request(what: What) -> RestoreRequest {
    let text = body(what).to_string();
    let value = read::read(text.as_bytes()).expect("it is JSON");
    schema::parse_restore(value).expect("it satisfies the schema")
}
