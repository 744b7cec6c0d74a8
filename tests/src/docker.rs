//! Containers and networks of our own on a real engine. They carry the label `entropy-test`, and their
//! names begin with it; what a test that was killed has left is removed by the next one.

mod container;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

pub use self::container::{Container, Interface};
use crate::engine::{Api, Engine, IMAGE, import_image};

/// What tells our containers and networks from those of other people.
pub const LABEL: &str = "entropy-test";

/// An engine that can be used for tests.
#[derive(Clone, Debug)]
pub struct Docker {
    api: Api,
    host: String,
    /// Value of the label.
    mark: String,
}

impl Docker {
    /// The engine that `DOCKER_HOST` names, with the test image and without leftovers; `None` if it
    /// names none. Only for one test at a time.
    ///
    /// # Errors
    /// When it is no unix socket, or the engine does not answer or refuses.
    pub fn from_env() -> Result<Option<Self>> {
        let Ok(host) = std::env::var("DOCKER_HOST") else { return Ok(None) };
        let Some(socket) = host.strip_prefix("unix://").map(PathBuf::from) else {
            bail!("the suite needs an engine on a unix socket, not {host}")
        };
        Self::new(Api::new(socket), host).map(Some)
    }

    /// The engine behind a socket.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub fn at(socket: PathBuf) -> Result<Self> {
        let host = format!("unix://{}", socket.display());
        Self::new(Api::new(socket), host)
    }

    /// A private engine.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub fn of(engine: &Engine) -> Result<Self> {
        Self::new(engine.api(), engine.docker_host())
    }

    fn new(api: Api, host: String) -> Result<Self> {
        let docker = Self { api, host, mark: String::new() };
        docker.sweep().context("remove what an earlier test left")?;
        import_image(&docker.api, &[] as &[(&str, &Path)])?;
        Ok(docker)
    }

    /// Value of `DOCKER_HOST` for others.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The same engine, for things that stay from test to test of this process. They are removed by
    /// [`Docker::remove_lasting`], or by the next process.
    #[must_use]
    pub fn lasting(&self) -> Self {
        Self { mark: lasting_mark(), ..self.clone() }
    }

    /// Removes what stayed from test to test.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove_lasting(&self) -> Result<()> {
        let mark = lasting_mark();
        self.remove_if(|found| found == mark)
    }

    /// Removes what a test has left that ended without doing so.
    fn sweep(&self) -> Result<()> {
        let mark = lasting_mark();
        self.remove_if(|found| found != mark)
    }

    fn remove_if(&self, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let filter = format!("filters=%7B%22label%22%3A%5B%22{LABEL}%22%5D%7D");
        for (list, kind, options) in [
            ("/containers/json?all=1&", "containers", "?force=1&v=1"),
            ("/networks?", "networks", ""),
        ] {
            let found = self.api.call("GET", &format!("{list}{filter}"), &Value::Null)?;
            let found = found.as_array().into_iter().flatten();
            let mark = |one: &Value| is_it(one["Labels"][LABEL].as_str().unwrap_or_default());
            let found = found.filter(|one| is_named(one) && mark(one));
            for id in found.filter_map(|one| one["Id"].as_str()) {
                self.api.call("DELETE", &format!("/{kind}/{id}{options}"), &Value::Null)?;
            }
        }
        Ok(())
    }

    /// Makes a bridge network with the subnets `10.213.NUMBER.0/24` and `fd00:213:NUMBER::/64`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn network(&self, name: &str, number: u8) -> Result<Network> {
        let name = format!("{LABEL}-{name}");
        let body = json!({
            "Name": name,
            "Driver": "bridge",
            "EnableIPv6": true,
            "Labels": { LABEL: self.mark },
            "IPAM": { "Config": [
                { "Subnet": format!("10.213.{number}.0/24") },
                { "Subnet": format!("fd00:213:{number}::/64") },
            ]},
        });
        let answer = self.api.call("POST", "/networks/create", &body)?;
        let id = answer["Id"].as_str().context("a network without an id")?.to_owned();
        Ok(Network { api: self.api.clone(), id, name })
    }

    /// Makes a container that sleeps, with one label (`app=web`) besides ours, and does not start it.
    /// `mode` is the name of a network, or `host` or `none`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn create(&self, name: &str, label: &str, mode: &str) -> Result<Container> {
        // Longer than any test, and not for ever if nobody is left to remove it.
        self.create_with(name, label, mode, &["/bin/sleep", "86400"])
    }

    /// As [`Docker::create`], with another command.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn create_with(
        &self,
        name: &str,
        label: &str,
        mode: &str,
        command: &[&str],
    ) -> Result<Container> {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        self.create_labelled(name, &[(key.to_owned(), value.to_owned())], mode, command)
    }

    /// As [`Docker::create_with`], with any labels.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn create_labelled(
        &self,
        name: &str,
        labels: &[(String, String)],
        mode: &str,
        command: &[&str],
    ) -> Result<Container> {
        let name = format!("{LABEL}-{name}");
        let ours = (LABEL.to_owned(), self.mark.clone());
        let labels = labels.iter().cloned().chain([ours]).collect::<BTreeMap<_, _>>();
        let body = json!({
            "Image": IMAGE,
            "Cmd": command,
            "Labels": labels,
            "HostConfig": { "NetworkMode": mode },
        });
        let answer = self.api.call("POST", &format!("/containers/create?name={name}"), &body)?;
        let id = answer["Id"].as_str().context("a container without an id")?.to_owned();
        Ok(Container::new(self.api.clone(), id, name))
    }

    /// Makes a container in a network and starts it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn run(&self, name: &str, label: &str, network: &Network) -> Result<Container> {
        let container = self.create(name, label, &network.name)?;
        container.start()?;
        Ok(container)
    }
}

/// Whether a container or network has a name as we give it: others may use the label too.
fn is_named(one: &Value) -> bool {
    let name = one["Name"].as_str().or_else(|| one["Names"][0].as_str()).unwrap_or_default();
    name.trim_start_matches('/').strip_prefix(LABEL).is_some_and(|rest| rest.starts_with('-'))
}

/// Value of the label of what stays from test to test of this process.
fn lasting_mark() -> String {
    format!("lasts as long as process {}", std::process::id())
}

/// A network. Dropping it removes it; its containers must have gone before.
#[derive(Debug)]
pub struct Network {
    api: Api,
    id: String,
    name: String,
}

impl Network {
    /// Its name in the engine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a container.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn connect(&self, container: &Container) -> Result<()> {
        self.change("connect", container)
    }

    /// Takes a container out.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn disconnect(&self, container: &Container) -> Result<()> {
        self.change("disconnect", container)
    }

    fn change(&self, how: &str, container: &Container) -> Result<()> {
        let body = json!({ "Container": container.id() });
        self.api.call("POST", &format!("/networks/{}/{how}", self.id), &body)?;
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = self.api.call("DELETE", &format!("/networks/{}", self.id), &Value::Null)
        {
            eprintln!("network {} stays: {error:#}", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_name_of_ours_is_ever_swept() {
        for (one, ours) in [
            (json!({ "Names": ["/entropy-test-web"] }), true),
            (json!({ "Name": "entropy-test-net" }), true),
            (json!({ "Names": ["/shop-web"] }), false),
            (json!({ "Name": "entropy-tester" }), false),
            (json!({}), false),
        ] {
            assert_eq!(is_named(&one), ours, "{one}");
        }
    }
}
