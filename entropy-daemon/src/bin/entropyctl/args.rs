//! The command line.

pub(crate) mod control;
pub(crate) mod run;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use entropy_daemon::docker::{Endpoint, EndpointError};

const EXIT_CODES: &str = "\
Exit codes:
   0  fine
   1  the operation failed, `status` is not ok, or `doctor` found something missing that entropyd
      needs
  64  wrong usage
  65  wrong policies (`validate`, `plan`, `apply`)";

/// Tells entropyd what to do, and looks at and mends what it works with.
///
/// The commands up to `status` ask a running daemon over its control socket; `halt` does without one if
/// need be. The others need none.
#[derive(Debug, Parser)]
#[command(name = "entropyctl", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Tables for people, JSON for programs.
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) socket: control::Socket,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned text.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Inject faults for a while, and show what they do.
    ///
    /// They end after the time given, on Ctrl-C, and within seconds when this program is killed.
    #[command(after_help = EXIT_CODES)]
    Run(Box<run::Run>),
    /// Make the policies of files be there: created, replaced, or left as they are.
    ///
    /// They stay until they are deleted or the machine restarts. Policies that are to stay for good
    /// belong into entropyd's policy directory.
    #[command(after_help = EXIT_CODES)]
    Apply(control::Apply),
    /// List policies, injections or containers.
    #[command(after_help = EXIT_CODES)]
    Get(control::Get),
    /// Show all about a policy.
    #[command(after_help = EXIT_CODES)]
    Describe(control::Describe),
    /// Delete policies that were applied.
    #[command(after_help = EXIT_CODES)]
    Delete(control::Named),
    /// Put policies out of force until they are resumed, those of files, too.
    ///
    /// Their counters stay, and their schedules go on.
    #[command(after_help = EXIT_CODES)]
    Pause(control::Named),
    /// Put policies back into force; without a name, undo `halt`.
    #[command(after_help = EXIT_CODES)]
    Resume(control::Resume),
    /// End all faults at once, until `resume`.
    ///
    /// Also after a restart. If the daemon does not answer within 250 ms, the lease in the kernel is
    /// ended without it.
    #[command(after_help = EXIT_CODES)]
    Halt(control::Halt),
    /// Say how the daemon is.
    #[command(after_help = EXIT_CODES)]
    Status,
    /// Check policy files without touching anything.
    ///
    /// Files that are named together are checked together, so that a policy name that two of them
    /// use is found. A directory is checked on its own, as entropyd loads it: every *.toml in it
    /// that is not hidden.
    #[command(after_help = EXIT_CODES)]
    Validate(Validate),
    /// Show which containers policies would hit, and what that would mean. Changes nothing.
    ///
    /// The figures come from the code that decides in the kernel, asked about packets that are nowhere.
    /// Whether this host's kernel can do it all is what `doctor` says.
    #[command(after_help = EXIT_CODES)]
    Plan(Plan),
    /// Show the pinned maps, with the daemon alive or dead.
    #[command(subcommand)]
    Map(MapCommand),
    /// Check what this host has of what Entropy needs, and say how to mend the rest.
    ///
    /// Changes nothing. What has to be tried is tried in a network namespace of its own.
    #[command(after_help = EXIT_CODES)]
    Doctor(Doctor),
    /// Remove what a killed daemon left: filters, qdiscs, the line, pinned maps.
    ///
    /// Refuses while a daemon runs. What others have put on the same interfaces is not touched.
    #[command(after_help = EXIT_CODES)]
    Cleanup,
    /// Write the completions for a shell to standard output.
    #[command(after_help = EXIT_CODES)]
    Completions(Completions),
    /// Write a manual page to standard output, or all of them into a directory.
    #[command(after_help = EXIT_CODES)]
    Man(Man),
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Policy files, or directories of them.
    #[arg(required = true, value_name = "FILE", value_parser = named_path)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Policy files, or directories of them.
    #[arg(required = true, value_name = "FILE", value_parser = named_path)]
    pub(crate) paths: Vec<PathBuf>,

    /// The daemon's settings, for what no policy can do [default: /etc/entropy/entropyd.toml, if it
    /// is there].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) engine: Engine,
}

/// Where the containers are.
#[derive(Debug, Args)]
pub(crate) struct Engine {
    /// Container engine: unix://PATH, tcp://HOST:PORT or http://HOST:PORT [default: $DOCKER_HOST,
    /// else the local Docker socket].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) docker: Option<String>,
}

impl Engine {
    /// Its address.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, EndpointError> {
        self.docker.as_deref().map_or_else(Endpoint::from_env, Endpoint::parse)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum MapCommand {
    /// List the maps: type, entries, sizes, what they hold.
    #[command(after_help = EXIT_CODES)]
    List,
    /// Show what is in the maps.
    #[command(after_help = EXIT_CODES)]
    Dump(Dump),
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// What to show, by a short name or the map's own; all but `counters` when left out.
    #[arg(value_enum, value_name = "MAP", ignore_case = true)]
    pub(crate) parts: Vec<Part>,
}

/// A part of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Until when the kernel may inject.
    #[value(alias = "ENTROPY_LEASE")]
    Lease,
    /// The device that marked packets wait in.
    #[value(alias = "ENTROPY_LINE")]
    Line,
    /// Which hooks have rules.
    #[value(aliases = ["endpoints", "ENTROPY_HOOKS"])]
    Hooks,
    /// The rules with their packet counters.
    #[value(aliases = ["ENTROPY_RULES", "ENTROPY_LABELS"])]
    Rules,
    /// All counters of the rules, bytes included.
    #[value(alias = "ENTROPY_STATE")]
    Counters,
    /// The addresses behind peer selectors and lists.
    #[value(alias = "ENTROPY_PEERS")]
    Peers,
    /// What happened to packets regardless of a rule.
    #[value(alias = "ENTROPY_EVENTS")]
    Events,
    /// Interfaces whose clsact qdisc is the daemon's.
    #[value(aliases = ["clsact", "owned", "ENTROPY_OWNED"])]
    Clsacts,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Directory of the policy files (*.toml).
    #[arg(long, value_name = "DIR", default_value = "/etc/entropy/policies")]
    pub(crate) policies: PathBuf,

    /// The daemon's settings [default: /etc/entropy/entropyd.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) engine: Engine,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,

    /// Whose arguments are completed.
    #[arg(value_enum, default_value_t, value_name = "PROGRAM")]
    pub(crate) program: Program,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write the pages of both programs and of every command into this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "program", value_parser = named_path)]
    pub(crate) dir: Option<PathBuf>,

    /// Whose page is written.
    #[arg(value_enum, default_value_t, value_name = "PROGRAM")]
    pub(crate) program: Program,
}

/// The programs that Entropy is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// This one.
    #[default]
    Entropyctl,
    /// The daemon.
    Entropyd,
}

impl Program {
    /// Its command line, complete with what clap adds.
    pub(crate) fn command(self) -> clap::Command {
        let mut command = match self {
            Self::Entropyctl => Arguments::command(),
            Self::Entropyd => entropy_daemon::cli::Arguments::command(),
        };
        command.build();
        command
    }
}

fn named_path(text: &str) -> Result<PathBuf, &'static str> {
    match text {
        "" => Err("the name is empty"),
        "-" => Err("standard input is not read; for a file of that name write ./-"),
        path => Ok(path.into()),
    }
}

#[cfg(test)]
mod tests {
    use entropy_common::names;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_map_that_tells_people_something_can_be_dumped_by_its_own_name() {
        // Those are numbers for programs, which tell people nothing.
        let internal = [names::MAP_TABLES, names::MAP_SCRATCH, names::MAP_SLOTS];
        for map in names::MAPS.into_iter().filter(|map| !internal.contains(map)) {
            assert!(Part::from_str(map, true).is_ok(), "{map}");
            assert!(Part::from_str(&map.to_lowercase(), true).is_ok(), "{map}");
        }
    }

    #[test]
    fn standard_input_is_refused() {
        assert!(Arguments::try_parse_from(["entropyctl", "validate", "-"]).is_err());
        assert!(Arguments::try_parse_from(["entropyctl", "validate", "./-"]).is_ok());
    }
}
