//! What a test of the daemon needs: its turn, an engine, an installation.

mod cast;
pub(crate) mod flows;

use std::sync::Arc;

use anyhow::{Result, anyhow};
use entropy_daemon::api::{Client, ClientError, Method};
use entropy_tests::{
    daemon::{self, Installation},
    datagrams::Way,
    docker::{Container, Docker, Interface, Network},
    netns::Netns,
    wait::{patience, until},
};

pub(crate) use self::cast::Cast;

/// An installation of the daemon beside an engine.
pub(crate) struct Stage {
    pub(crate) docker: Docker,
    pub(crate) installation: Installation,
}

/// Makes the [`Stage`], or ends the test as skipped.
///
/// A container takes half a minute to start under emulation, so the virtual machines run what is about
/// packets and the kernel, `stage!(every kernel)`, and leave to the machine what is about the engine,
/// unless `ENTROPY_FULL` is set.
macro_rules! stage {
    () => {{
        $crate::stage::machine_only!();
        stage!(every kernel)
    }};
    (every kernel) => {
        match $crate::stage::Stage::new()? {
            Ok(stage) => stage,
            Err(reason) => entropy_tests::skip!("{reason}"),
        }
    };
}
pub(crate) use stage;

/// Ends a test that a virtual machine leaves to the machine; with `daemon`, also where none can run.
macro_rules! machine_only {
    (daemon) => {
        $crate::stage::machine_only!();
        if let Some(reason) = entropy_tests::daemon::obstacle() {
            entropy_tests::skip!("{reason}");
        }
    };
    () => {
        if entropy_tests::skip::saves_time() {
            entropy_tests::skip!("runs on the machine: the kernel makes no difference to it");
        }
    };
}
pub(crate) use machine_only;

impl Stage {
    /// `Err` inside: why this cannot be tested here.
    pub(crate) fn new() -> Result<Result<Self, &'static str>> {
        if let Some(reason) = daemon::obstacle() {
            return Ok(Err(reason));
        }
        if std::env::var_os("DOCKER_HOST").is_none() {
            return Ok(Err("needs a Docker engine: run the suite by `entropy-lab engine`"));
        }
        let mut installation = Installation::new()?;
        let docker = Docker::from_env()?.ok_or_else(|| anyhow!("DOCKER_HOST has gone"))?;
        installation.follow(docker.host());
        Ok(Ok(Self { docker, installation }))
    }

    /// Writes a file with one policy called as the file is, `file.toml`.
    pub(crate) fn policy(&self, name: &str, rest: &str) -> Result<()> {
        let text = format!("[[policy]]\nname = \"{name}\"\n{rest}\n");
        self.installation.write(&format!("{name}.toml"), &text)
    }

    /// Removes the file of a policy.
    pub(crate) fn end_policy(&self, name: &str) -> Result<()> {
        self.installation.remove(&format!("{name}.toml"))
    }

    /// Runs a container in a network and finds its interface there.
    pub(crate) fn run(&self, name: &str, label: &str, network: &Network) -> Result<Running> {
        Running::new(self.docker.run(name, label, network)?, network)
    }

    /// Asks the control API as programs do; the status and the body of the answer.
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<(u16, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::at(&self.installation.socket());
        let body = body.map(|(kind, body)| (kind, body.as_bytes().to_vec()));
        match runtime.block_on(client.ask(method, path, body)) {
            Ok(body) => Ok((200, String::from_utf8(body.to_vec())?)),
            Err(ClientError::Refused { status, error }) => Ok((status, error)),
            Err(error) => Err(error.into()),
        }
    }

    /// The containers that tests share.
    pub(crate) fn cast(&self) -> Result<Arc<Cast>> {
        Cast::call(&self.docker)
    }
}

/// A container that runs, and its interface.
pub(crate) struct Running {
    pub(crate) container: Container,
    pub(crate) at: Interface,
}

impl Running {
    pub(crate) fn new(container: Container, network: &Network) -> Result<Self> {
        let at = Self::at(&container, network)?;
        Ok(Self { container, at })
    }

    /// The interface of a container in a network.
    pub(crate) fn at(container: &Container, network: &Network) -> Result<Interface> {
        container.interface(network)
    }

    /// Looks for the interface anew, as after a restart.
    pub(crate) fn refresh(&mut self, network: &Network) -> Result<()> {
        self.at = self.container.interface(network)?;
        Ok(())
    }

    /// The ways to another container, by IPv4 and IPv6.
    pub(crate) fn ways_to(&self, other: &Self) -> Result<[Way; 2]> {
        self.ways_into(&other.container, &other.at)
    }

    /// The ways from the host, once they are open: a bridge may use its IPv6 address only when it has
    /// made sure, for a second or two, that it is nobody else's (RFC 4862).
    pub(crate) fn ways_from_host(&self) -> Result<[Way; 2]> {
        let (host, inside) = (Netns::host()?, self.container.netns()?);
        let ways = || -> Result<[Way; 2]> {
            Ok([Way::new(&host, &inside, self.at.v4)?, Way::new(&host, &inside, self.at.v6)?])
        };
        until("the host reaches the container", patience(10), || {
            // A socket that was connected earlier keeps the wrong address of its own.
            let ways = ways()?;
            Ok((pass(&ways, 1)? == [1; 2]).then_some(ways))
        })
    }

    /// The ways to one interface of another container.
    pub(crate) fn ways_into(&self, other: &Container, at: &Interface) -> Result<[Way; 2]> {
        let (from, to) = (self.container.netns()?, other.netns()?);
        Ok([Way::new(&from, &to, at.v4)?, Way::new(&from, &to, at.v6)?])
    }
}

/// How many of `count` datagrams get through on each way.
pub(crate) fn pass(ways: &[Way; 2], count: u64) -> Result<[u64; 2]> {
    // Both first, so that silence is waited for once.
    ways.iter().try_for_each(|way| way.send_burst(count))?;
    Ok([ways[0].arrived(count)?, ways[1].arrived(count)?])
}
