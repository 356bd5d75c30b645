//! The support matrix: result of a restore that is requested in one source API and sent to one generation. It is not a
//! fixed table. Each cell follows from the targets of the source API, the capability of the generation, and whether
//! both use the same backup IDs.

use restore_model::TargetKind;

use crate::source_api::SourceApi;
use crate::{Expressible, Generation};

/// Fields that a server loses in a per-disk restore: member, reason.
pub const DISK_BY_DISK: [(&str, &str); 2] = [
    ("target.power_on", "only disks are restored: the caller stops and starts the server"),
    ("target", "one call per disk, not one act: some disks may be restored while others are not"),
];

const IDS: &str = "the backup's name in the other generation is found: in the operator's table, as the same id with \
     proof, or as the only backup of the same resource, time and disks";
const IDS_OF_DISKS: &str =
    "the name of each disk's backup is found: in the operator's table, or as the same id with proof";
const BY_OPT_IN: &str = "the route says per_disk_restore = true";

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The kind of target.
    pub target: TargetKind,
    /// The result for that target.
    pub verdict: Fate,
    /// Conditions under which it works.
    pub conditions: Vec<&'static str>,
    /// Fields that are not carried over: the member, a colon, the reason.
    pub lost: Vec<String>,
}

/// Result of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Everything of the request is carried.
    Lossless,
    /// It works, but some fields are not carried.
    Lossy,
    /// It works as a per-disk restore, if a route opts in.
    OptIn,
    /// The generation cannot do it.
    Impossible,
    /// The source API cannot express such a target.
    Unspeakable,
}

impl Fate {
    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lossless => "lossless",
            Self::Lossy => "lossy",
            Self::OptIn => "opt_in",
            Self::Impossible => "impossible",
            Self::Unspeakable => "unsupported_target",
        }
    }
}

/// The cells of a source API and a generation, one for each kind of target.
#[must_use]
pub fn cells(source_api: &dyn SourceApi, generation: &dyn Generation) -> Vec<Cell> {
    TargetKind::ALL.into_iter().map(|target| cell(source_api, generation, target)).collect()
}

fn cell(source_api: &dyn SourceApi, generation: &dyn Generation, target: TargetKind) -> Cell {
    let none = |verdict| Cell { target, verdict, conditions: Vec::new(), lost: Vec::new() };
    if !source_api.targets().contains(&target) {
        return none(Fate::Unspeakable);
    }
    let strangers = source_api.generation() != generation.name();
    let able = generation.capability(target);
    let whole = generation.restores(target);
    let disks = generation.capability(TargetKind::Volume);
    let apart = generation.restores_by_disks(target);
    let (able, mut conditions) = match (whole, apart) {
        (true, _) => (able, if strangers { vec![IDS] } else { Vec::new() }),
        (false, true) => (disks, if strangers { vec![BY_OPT_IN, IDS_OF_DISKS] } else { vec![BY_OPT_IN] }),
        (false, false) => return none(Fate::Impossible),
    };
    conditions.extend(able.conditions);
    // A field that the source API never sends is not lost.
    let said = |loss: &&&str| {
        loss.split(':').next().is_some_and(|member| !member.starts_with("source.") || source_api.says(member))
    };
    let mut lost: Vec<String> = able.lost.iter().filter(said).map(|loss| (*loss).to_owned()).collect();
    if !whole {
        lost.extend(DISK_BY_DISK.iter().map(|(member, reason)| format!("{member}: {reason}")));
    }
    let verdict = match (whole, able.verdict, lost.is_empty()) {
        (false, ..) => Fate::OptIn,
        (true, Expressible::Lossless, true) => Fate::Lossless,
        (true, ..) => Fate::Lossy,
    };
    Cell { target, verdict, conditions, lost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ALL, by_name, source_api};

    fn of(source_api: &str, generation: &str, target: TargetKind) -> Cell {
        cell(source_api::by_name(source_api).unwrap(), by_name(generation).unwrap(), target)
    }

    #[test]
    fn what_a_source_api_says_and_a_generation_cannot_carry_is_told() {
        let lost = |source_api| of(source_api, "cbr-v3", TargetKind::Server).lost;
        assert_eq!(lost("csbs-v1"), ["source.checkpoint_id: the call has no place for it"]);
        assert!(lost("cbr-v3").is_empty(), "CBR's own programs never name a protection run");
        assert_eq!(of("csbs-v1", "csbs-v1", TargetKind::Server).verdict, Fate::Lossless);
    }

    #[test]
    fn a_server_goes_to_a_service_of_disks_by_opt_in_alone() {
        for source_api in ["csbs-v1", "cbr-v3"] {
            let cell = of(source_api, "vbs-v2", TargetKind::Server);
            assert_eq!(cell.verdict, Fate::OptIn, "{source_api}");
            assert_eq!(cell.conditions[..2], [BY_OPT_IN, IDS_OF_DISKS]);
            assert!(cell.lost.iter().any(|loss| loss.starts_with("target.power_on:")), "{:?}", cell.lost);
        }
    }

    #[test]
    fn where_backups_are_called_alike_no_name_has_to_be_found() {
        for source_api in source_api::ALL {
            for generation in ALL {
                for cell in cells(*source_api, *generation) {
                    let finds =
                        cell.conditions.iter().any(|condition| [IDS, IDS_OF_DISKS].contains(condition));
                    let works = !matches!(cell.verdict, Fate::Impossible | Fate::Unspeakable);
                    let strangers = source_api.generation() != generation.name();
                    assert_eq!(
                        finds,
                        works && strangers,
                        "{} {}",
                        source_api.source_api(),
                        generation.name()
                    );
                    assert!(works || cell.lost.is_empty());
                }
            }
        }
    }

    /// The targets that a source API declares are the ones that its own schema accepts.
    #[test]
    fn every_source_api_can_say_what_its_own_generation_does_for_it() {
        for source_api in source_api::ALL {
            let own = by_name(source_api.generation()).unwrap();
            for target in source_api.targets() {
                assert!(own.restores(*target), "{}", source_api.source_api());
            }
        }
    }
}
