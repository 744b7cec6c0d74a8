//! A container of our own.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Network;
use crate::{engine::Api, netns::Netns, snapshot};

/// A container. Dropping it removes it.
#[derive(Debug)]
pub struct Container {
    api: Api,
    id: String,
    name: String,
}

/// One network interface of a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name inside.
    pub device: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// Its other end: the host veth.
    pub veth: snapshot::Link,
}

impl Container {
    pub(super) fn new(api: Api, id: String, name: String) -> Self {
        Self { api, id, name }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name in the engine, when it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn start(&self) -> Result<()> {
        self.post("start")
    }

    /// Kills its process. It can be started again.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn stop(&self) -> Result<()> {
        self.post("stop?t=0")
    }

    /// Kills its process and starts it again, with new interfaces.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn restart(&self) -> Result<()> {
        self.post("restart?t=0")
    }

    /// Waits for its process to end and returns the exit code.
    ///
    /// # Errors
    /// When the engine refuses or does not answer for long.
    pub fn wait(&self) -> Result<i64> {
        let answer = self.api.call("POST", &self.path("/wait"), &Value::Null)?;
        answer["StatusCode"].as_i64().with_context(|| format!("{} has no exit code", self.name))
    }

    /// Gives it another name, which starts with our label as the first one did.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn rename(&self, name: &str) -> Result<String> {
        let name = format!("{}-{name}", super::LABEL);
        self.post(&format!("rename?name={name}"))?;
        Ok(name)
    }

    /// Removes it now.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove(mut self) -> Result<()> {
        let path = self.path("?force=1&v=1");
        self.id.clear();
        self.api.call("DELETE", &path, &Value::Null)?;
        Ok(())
    }

    /// The process inside.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        let pid = self.about()?["State"]["Pid"].as_u64().filter(|pid| *pid != 0);
        Ok(pid.with_context(|| format!("{} does not run", self.name))?.try_into()?)
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// When it does not run.
    pub fn netns(&self) -> Result<Netns> {
        Netns::open(format!("/proc/{}/ns/net", self.pid()?))
    }

    /// Its interface in a network. The calling thread must be in the namespace of the engine.
    ///
    /// # Errors
    /// When it does not run or is not in the network.
    pub fn interface(&self, network: &Network) -> Result<Interface> {
        self.find_interface(network)
            .with_context(|| format!("interface of {} in {}", self.name, network.name()))
    }

    fn find_interface(&self, network: &Network) -> Result<Interface> {
        let about = self.about()?;
        let endpoint = &about["NetworkSettings"]["Networks"][network.name()];
        let text = |key: &str| {
            endpoint[key]
                .as_str()
                .filter(|text| !text.is_empty())
                .with_context(|| format!("no {key}"))
        };
        let mac = mac(text("MacAddress")?)?;
        let inside = self.netns()?.run(snapshot::links)??;
        let inside = inside.into_iter().find(|link| link.mac == mac).context("not inside")?;
        let outside = snapshot::links()?.into_iter().find(|link| link.index == inside.peer);
        Ok(Interface {
            device: inside.name,
            mac,
            v4: text("IPAddress")?.parse()?,
            v6: text("GlobalIPv6Address")?.parse()?,
            veth: outside.context("its host veth is not here")?,
        })
    }

    /// Runs a program in it to its end and returns what it printed.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        // With a terminal there is one stream, and it is not framed.
        let body = serde_json::json!({ "Cmd": command, "AttachStdout": true, "AttachStderr": true, "Tty": true });
        let answer = self.api.call("POST", &self.path("/exec"), &body)?;
        let id = answer["Id"].as_str().context("an exec without an id")?;
        let body = serde_json::json!({ "Tty": true }).to_string();
        let path = format!("/exec/{id}/start");
        let (status, output) =
            self.api.request("POST", &path, body.as_bytes(), "application/json")?;
        anyhow::ensure!(status < 300, "run {command:?} in {}: {status}", self.name);
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn about(&self) -> Result<Value> {
        self.api.call("GET", &self.path("/json"), &Value::Null)
    }

    fn post(&self, what: &str) -> Result<()> {
        self.api.call("POST", &self.path(&format!("/{what}")), &Value::Null)?;
        Ok(())
    }

    fn path(&self, rest: &str) -> String {
        format!("/containers/{}{rest}", self.id)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        if let Err(error) = self.api.call("DELETE", &self.path("?force=1&v=1"), &Value::Null) {
            eprintln!("container {} stays: {error:#}", self.name);
        }
    }
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().with_context(|| format!("{text} is no Ethernet address"))
}
