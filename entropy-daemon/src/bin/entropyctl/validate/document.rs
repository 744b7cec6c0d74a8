//! The JSON of `validate`.

use entropy_daemon::{
    describe::{Condition, Faults},
    plan::conditions,
    policy::{Peer, Policy, Problem, Records},
};
use serde::Serialize;

use super::{Source, Verdict};
use crate::output::windows::Timed;

/// What `validate --output json` writes.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    /// Whether everything could be read and nothing is wrong.
    valid: bool,
    /// The files that were read, in the order of the command line; of a directory those with
    /// policies or problems, and the directory itself if there are none.
    sources: Vec<SourceEntry>,
    /// The policies of all sources without problems.
    policies: Vec<PolicyEntry>,
    /// When those of them with a schedule or a ramp would be in force.
    schedules: Vec<Timed>,
    /// What is wrong, at most 100 problems of each file.
    problems: Vec<ProblemEntry>,
    /// Problems beyond the first 100 of a file.
    problems_omitted: usize,
    /// The paths that could not be read.
    unreadable: Vec<UnreadableEntry>,
}

/// One file, or a directory in which nothing was found.
#[derive(Debug, Serialize)]
struct SourceEntry {
    /// As it was given, or found in a directory; bytes that are no UTF-8 are replaced.
    path: String,
    /// Policies in it; 0 if it has problems.
    policies: usize,
    /// Problems in it.
    problems: usize,
}

/// One policy.
#[derive(Debug, Serialize)]
struct PolicyEntry {
    /// Its name, made up from the file's if it has none of its own.
    name: String,
    /// The file that it is in.
    file: String,
    /// Line of its `[[policy]]`, from 1.
    line: usize,
    /// Selector of the containers that it is for.
    target: String,
    /// `egress`, `ingress` or `both`, as the container sees it.
    direction: String,
    /// Which packets.
    r#match: MatchEntry,
    /// Seed as a decimal string, as JavaScript's numbers are too short for it; null if the daemon
    /// draws one.
    seed: Option<String>,
    /// When it is in force; null for always.
    schedule: Option<String>,
    /// What of it moves, and from where; null for nothing.
    ramp: Option<String>,
    /// What happens to them.
    #[serde(flatten)]
    faults: Faults,
}

/// Which packets a policy is for; null stands for any.
#[derive(Debug, Serialize)]
struct MatchEntry {
    /// Selector of the containers at the other end.
    peer_selector: Option<String>,
    /// Networks at the other end, in CIDR notation.
    peer_networks: Option<Vec<String>>,
    /// What else must hold.
    #[serde(flatten)]
    condition: Condition,
}

/// One problem.
#[derive(Debug, Serialize)]
struct ProblemEntry {
    /// The file that it is in.
    file: String,
    /// Line, from 1; null if it concerns the file as a whole.
    line: Option<usize>,
    /// Column in characters, from 1; null as above.
    column: Option<usize>,
    /// Name of the policy, or `#2` for the second of the file; null outside of policies.
    policy: Option<String>,
    /// The key (`match.port`); null if it is about none.
    key: Option<String>,
    /// What is wrong.
    reason: String,
    /// What would be right.
    help: String,
}

/// One path that could not be read.
#[derive(Debug, Serialize)]
struct UnreadableEntry {
    /// As it was given.
    path: String,
    /// Why, in words.
    reason: String,
}

impl Document {
    pub(super) fn new(verdict: &Verdict, schedules: Vec<Timed>) -> Self {
        Self {
            valid: verdict.exit_code() == 0,
            sources: verdict.sources.iter().map(SourceEntry::from).collect(),
            policies: verdict.policies.iter().map(PolicyEntry::from).collect(),
            schedules,
            problems: verdict.problems.iter().map(ProblemEntry::from).collect(),
            problems_omitted: verdict.problems_omitted,
            unreadable: verdict
                .unreadable
                .iter()
                .map(|(path, error)| UnreadableEntry {
                    path: path.to_string_lossy().into_owned(),
                    reason: error.to_string(),
                })
                .collect(),
        }
    }
}

impl From<&Source> for SourceEntry {
    fn from(source: &Source) -> Self {
        let path = source.path.to_string_lossy().into_owned();
        Self { path, policies: source.policies, problems: source.problems }
    }
}

impl From<&Policy> for PolicyEntry {
    fn from(policy: &Policy) -> Self {
        let (peer_selector, peer_networks) = match &policy.matcher.peer {
            Some(Peer::Containers(selector)) => (Some(selector.to_string()), None),
            Some(Peer::Networks(networks)) => {
                (None, Some(networks.iter().map(ToString::to_string).collect()))
            }
            None => (None, None),
        };
        Self {
            name: policy.name.clone(),
            file: policy.origin.file.to_string_lossy().into_owned(),
            line: policy.origin.line,
            target: policy.target.to_string(),
            direction: policy.direction.to_string(),
            r#match: MatchEntry {
                peer_selector,
                peer_networks,
                condition: Condition::new(&conditions(policy)),
            },
            seed: policy.seed.map(|seed| seed.to_string()),
            schedule: policy.schedule.as_ref().map(ToString::to_string),
            ramp: policy.ramp.as_ref().map(ToString::to_string),
            // What is in a file has records, or it would have been refused.
            faults: Faults::new(&policy.faults.records().unwrap_or(Records::NONE).rule()),
        }
    }
}

impl From<&Problem> for ProblemEntry {
    fn from(problem: &Problem) -> Self {
        Self {
            file: problem.file.to_string_lossy().into_owned(),
            line: problem.position.map(|position| position.line),
            column: problem.position.map(|position| position.column),
            policy: problem.policy.clone(),
            key: problem.key.clone(),
            reason: problem.reason.clone(),
            help: problem.help.clone(),
        }
    }
}
