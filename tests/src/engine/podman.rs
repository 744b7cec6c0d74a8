//! Podman's service, which speaks Docker's API. It runs where the calling process does; containers go on
//! running without it.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{Api, cleanup, programs::Programs};
use crate::{
    docker::Docker,
    wait::{patience, until_true},
};

/// Where Podman's packages keep what it calls.
const HELPERS: &str = "usr/lib/podman";
/// The cgroup that Podman makes for its containers, whoever runs it.
const CGROUP: &str = "/libpod_parent";
/// Accepts every image: there is one, and it is our own.
const POLICY: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;

/// A Podman service with images, containers and networks of its own. Dropping it removes them.
pub struct Podman {
    folder: TempDir,
    programs: Programs,
    podman: PathBuf,
    /// Whether [`CGROUP`] was not there before.
    owns_cgroup: bool,
    service: Option<Child>,
}

impl Podman {
    /// Starts a service and waits until it answers; `None` if there is no Podman, or none of the
    /// programs that it needs.
    ///
    /// # Errors
    /// When it does not answer; the message holds its log.
    pub fn start() -> Result<Option<Self>> {
        let programs = Programs::find()?;
        let needed = ["podman", "conmon", "runc", "iptables"].map(|name| programs.other(name));
        let [Some(podman), Some(conmon), Some(runc), Some(_)] = needed else { return Ok(None) };
        let helpers = programs.folder(HELPERS);
        if !helpers.join("netavark").is_file() {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("entropy-podman-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let environment: Vec<_> = programs
            .environment()
            .iter()
            .map(|(key, value)| format!("{key}={}", value.display()))
            .collect();
        // Locks in files, because those in shared memory are the machine's own Podman's. No more
        // descriptors and processes than a process here may have anyway: only more would need a right.
        let settings = format!(
            "[engine]\nhelper_binaries_dir = [{helpers:?}]\nconmon_path = [{conmon:?}]\n\
             conmon_env_vars = {environment:?}\nruntime = \"runc\"\nlock_type = \"file\"\n\
             cgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nstatic_dir = {:?}\n\
             tmp_dir = {:?}\nvolume_path = {:?}\n[engine.runtimes]\nrunc = [{runc:?}]\n\
             [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = {:?}\n\
             [containers]\nseccomp_profile = \"unconfined\"\napparmor_profile = \"unconfined\"\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
            at("static"),
            at("tmp"),
            at("volumes"),
            at("networks"),
        );
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            at("data"),
            at("run")
        );
        for name in [".config/containers", "tmp", "networks"] {
            fs::create_dir_all(at(name)).context("create Podman's folders")?;
        }
        for (name, text) in [
            ("containers.conf", &*settings),
            ("storage.conf", &storage),
            (".config/containers/policy.json", POLICY),
        ] {
            fs::write(at(name), text).with_context(|| format!("write Podman's {name}"))?;
        }
        let owns_cgroup = cleanup::cgroup_folders(CGROUP).is_empty();
        let mut new = Self { folder, programs, podman, owns_cgroup, service: None };
        new.launch()?;
        Ok(Some(new))
    }

    /// A client of it, with the test image.
    ///
    /// # Errors
    /// When the service refuses.
    pub fn docker(&self) -> Result<Docker> {
        Docker::at(self.socket())
    }

    /// Kills the service, as a crash would. Its containers go on running.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut service) = self.service.take() else { return Ok(()) };
        service.kill().context("kill Podman's service")?;
        service.wait().context("wait for Podman's service")?;
        Ok(())
    }

    /// Starts the service.
    ///
    /// # Errors
    /// When it does not answer; the message holds its log.
    pub fn launch(&mut self) -> Result<()> {
        let at = |name: &str| self.folder.path().join(name);
        let _ = fs::remove_file(self.socket());
        let mut command = Command::new(&self.podman);
        self.programs.prepare(&mut command);
        command
            .env("HOME", self.folder.path())
            .env("CONTAINERS_CONF", at("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", at("storage.conf"));
        command.args(["system", "service", "--time=0"]);
        command.arg(format!("unix://{}", self.socket().display()));
        let log = File::options().create(true).append(true).open(at("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.service = Some(command.spawn().context("start Podman")?);
        let answers = || Ok(self.api().ping());
        if let Err(error) = until_true("Podman answers", patience(20), answers) {
            let log = fs::read_to_string(at("log")).unwrap_or_default();
            bail!("{error:#}; its log: {log}");
        }
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    fn api(&self) -> Api {
        Api::new(self.socket())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let removed = match self.service {
            Some(_) => Ok(()),
            None => self.launch(),
        };
        if let Err(error) = removed.and_then(|()| self.api().remove_containers()) {
            eprintln!("entropy-lab: removing Podman's containers: {error:#}");
        }
        if let Err(error) = self.kill() {
            eprintln!("entropy-lab: {error:#}");
        }
        if self.owns_cgroup {
            cleanup::kill_cgroup(CGROUP);
            cleanup::remove_cgroup(CGROUP);
        }
    }
}
