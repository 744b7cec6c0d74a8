//! Putting programs on interfaces: TCX where the kernel takes it, else clsact.

mod hand_over;

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context, anyhow};
use aya::{Ebpf, programs::SchedClassifier};
use entropy_common::{
    names,
    rule::{Direction, HookKey, Owned},
};
use serde::{Deserialize, Serialize};
use tracing::info;

pub(super) use self::hand_over::Attached;
use super::{
    Error, Interface,
    maps::Maps,
    pins,
    tcx::{Link, Pinned},
};
use crate::netlink::{AttachMode, ClsactAdd, FilterId, Hook, Netlink};

/// A program and the hook it belongs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) program: &'static str,
    pub(super) hook: Hook,
}

impl Place {
    /// Where the packets of a container are met, on its host veth.
    pub(super) const fn of(direction: Direction) -> Self {
        match direction {
            Direction::Egress => Self { program: names::PROGRAM_FROM, hook: Hook::Ingress },
            Direction::Ingress => Self { program: names::PROGRAM_TO, hook: Hook::Egress },
        }
    }
}

/// What goes on the line's exit, at the hook that meets its packets.
pub(super) const fn exit(hook: Hook) -> Place {
    Place { program: names::PROGRAM_EXIT, hook }
}

/// What goes on the wire's exit.
pub(super) const WIRE: Place = Place { program: names::PROGRAM_WIRE, hook: Hook::Ingress };

/// How programs are attached on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// TCX links, Linux 6.6 and later. They end with the process that holds them.
    Tcx,
    /// Filters of a clsact qdisc. They stay until somebody deletes them.
    Clsact,
}

/// What holds a program on an interface.
#[derive(Debug)]
enum Hold {
    Tcx(Link),
    Pinned(Pinned),
    Clsact,
}

/// The programs on one interface.
#[derive(Debug)]
pub(super) struct Attachment {
    interface: Interface,
    holds: Vec<(Place, Hold)>,
}

impl Attachment {
    /// Nothing on an interface yet.
    pub(super) fn none(interface: &Interface) -> Self {
        Self { interface: interface.clone(), holds: Vec::new() }
    }

    /// The interface.
    pub(super) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Whether nothing of ours is on the interface.
    pub(super) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// The directions of a container that are met here.
    pub(super) fn hooks(&self) -> impl Iterator<Item = HookKey> {
        let directions = Direction::ALL.into_iter();
        directions
            .filter(|direction| self.holds(Place::of(*direction)))
            .map(|direction| HookKey::new(self.interface.index, direction))
    }

    fn holds(&self, place: Place) -> bool {
        self.holds.iter().any(|(held, _)| *held == place)
    }
}

/// Identity of our filter on a clsact hook.
pub(super) fn filter_id(program: &str) -> FilterId<'_> {
    FilterId { name: program, priority: names::FILTER_PRIORITY, handle: names::FILTER_HANDLE }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| anyhow!("the object has no {name}"))?;
    let program = program.try_into().with_context(|| format!("program {name}"))?;
    Ok(program)
}

/// The descriptor of a program that is loaded.
fn descriptor(ebpf: &mut Ebpf, place: Place) -> Result<OwnedFd, Error> {
    let descriptor = program(ebpf, place.program)?.fd().context("program's descriptor")?;
    Ok(descriptor.as_fd().try_clone_to_owned().context("program's descriptor")?)
}

/// Loads every program.
pub(super) fn load(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    for name in names::PROGRAMS {
        program(ebpf, name)?.load().with_context(|| format!("load program {name}"))?;
    }
    Ok(())
}

/// Finds out how programs are attached here, by attaching the line's exit. A version would not tell:
/// the option may be compiled out, and distributions backport.
pub(super) fn probe(ebpf: &mut Ebpf, exit: &mut Attachment, place: Place) -> anyhow::Result<Mode> {
    match attach_tcx(ebpf, exit, place) {
        Ok(()) => Ok(Mode::Tcx),
        Err(Error::Other(error)) if is_no_tcx(&error) => {
            info!("this kernel has no TCX, using clsact filters");
            Ok(Mode::Clsact)
        }
        Err(error) => Err(error).context("attach the line's exit"),
    }
}

/// Gives the link at the exit of the line or the wire a pin, where there is a link: the packets that
/// are in there when the daemon is killed need it. A filter stays anyway.
pub(super) fn pin_exit(exit: &mut Attachment) -> anyhow::Result<()> {
    for (place, hold) in std::mem::take(&mut exit.holds) {
        let hold = match hold {
            Hold::Tcx(link) => {
                let path = exit_pin(place);
                let context = format!("pin {}", path.display());
                Hold::Pinned(link.pin(path).context(context)?)
            }
            other => other,
        };
        exit.holds.push((place, hold));
    }
    Ok(())
}

/// What holds the exit of the line or the wire already, with the new program in its place: the pinned
/// link of the version before. Filters are replaced by [`attach`].
pub(super) fn take_over_exit(
    ebpf: &mut Ebpf,
    interface: &Interface,
    place: Place,
    mode: Mode,
) -> anyhow::Result<Attachment> {
    let mut exit = Attachment::none(interface);
    if mode == Mode::Clsact {
        return Ok(exit);
    }
    let (path, program) = (exit_pin(place), descriptor(ebpf, place)?);
    match Pinned::update(path.clone(), program.as_fd()) {
        Ok(link) => exit.holds.push((place, Hold::Pinned(link))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        // Its interface is gone.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Err(error) => return Err(error).with_context(|| format!("replace {}", place.program)),
    }
    Ok(exit)
}

/// Where the link of an exit is pinned.
fn exit_pin(place: Place) -> PathBuf {
    pins::path(if place == WIRE { names::LINK_WIRE } else { names::LINK_EXIT })
}

/// `BPF_LINK_CREATE` knows no such attach type: Linux before 6.6, or without `CONFIG_NET_XGRESS`.
fn is_no_tcx(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.and_then(io::Error::raw_os_error) == Some(libc::EINVAL)
}

/// Puts a program on an interface, if it is not there yet.
pub(super) async fn attach(
    ebpf: &mut Ebpf,
    maps: &mut Maps,
    netlink: &Netlink,
    mode: Mode,
    attachment: &mut Attachment,
    place: Place,
) -> Result<(), Error> {
    match mode {
        Mode::Tcx => attach_tcx(ebpf, attachment, place),
        Mode::Clsact => attach_clsact(ebpf, maps, netlink, attachment, place).await,
    }
}

fn attach_tcx(ebpf: &mut Ebpf, attachment: &mut Attachment, place: Place) -> Result<(), Error> {
    if attachment.holds(place) {
        return Ok(());
    }
    let Interface { index, name } = attachment.interface.clone();
    let program = descriptor(ebpf, place)?;
    let link = Link::create(program.as_fd(), index, place.hook).map_err(|error| {
        if error.raw_os_error() == Some(libc::ENODEV) {
            return Error::Gone(name.clone());
        }
        let context = format!("attach {} to {name}", place.program);
        anyhow::Error::new(error).context(context).into()
    })?;
    attachment.holds.push((place, Hold::Tcx(link)));
    Ok(())
}

async fn attach_clsact(
    ebpf: &mut Ebpf,
    maps: &mut Maps,
    netlink: &Netlink,
    attachment: &mut Attachment,
    place: Place,
) -> Result<(), Error> {
    if attachment.holds(place) {
        return Ok(());
    }
    let Interface { index, name } = attachment.interface.clone();
    ensure_clsact(maps, netlink, &attachment.interface).await?;
    let (program, id) = (descriptor(ebpf, place)?, filter_id(place.program));
    let (hook, replace) = (place.hook, AttachMode::Replace);
    if let Err(error) = netlink.attach_filter(index, hook, program.as_fd(), id, replace).await {
        if attachment.is_empty()
            && let Err(undo) = release_clsact(maps, netlink, index).await
        {
            tracing::warn!("undo a failed attach to {name}: {undo:#}");
        }
        return Err(error.into());
    }
    attachment.holds.push((place, Hold::Clsact));
    Ok(())
}

/// Makes sure there is a clsact qdisc, and notes down first that it may be ours.
async fn ensure_clsact(
    maps: &mut Maps,
    netlink: &Netlink,
    interface: &Interface,
) -> Result<(), Error> {
    let index = interface.index;
    if netlink.has_clsact(index).await? {
        return Ok(());
    }
    maps.owned.insert(index, Owned { clsact: 1 }, 0).context("note down the clsact qdisc")?;
    let added = netlink.add_clsact(index).await;
    if !matches!(added, Ok(ClsactAdd::Created)) {
        super::maps::if_there(maps.owned.remove(&index)).context("forget the clsact qdisc")?;
    }
    match added? {
        ClsactAdd::Created | ClsactAdd::Existed => Ok(()),
        ClsactAdd::BlockedByIngress => Err(Error::Unsupported(format!(
            "interface {} has an ingress qdisc, which leaves no place for clsact: remove it with \
             `tc qdisc del dev {} ingress`, or put its filters on a clsact qdisc",
            interface.name, interface.name
        ))),
    }
}

/// Takes a program off again, and with the last one whatever else is ours. An interface that is gone is
/// fine. What could not be taken off is still in `attachment`, for another try.
pub(super) async fn detach(
    maps: &mut Maps,
    netlink: &Netlink,
    attachment: &mut Attachment,
    place: Place,
) -> Result<(), Error> {
    let index = attachment.interface.index;
    let held = attachment.holds.iter().position(|(held, _)| *held == place);
    match held.map(|position| attachment.holds.swap_remove(position)) {
        // To close it is to detach.
        Some((_, Hold::Tcx(link))) => drop(link),
        Some((_, Hold::Pinned(link))) => match link.unpin() {
            // Somebody has removed it, with the whole directory perhaps.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            unpinned => unpinned.context("remove the link's pin")?,
        },
        Some((_, Hold::Clsact)) => {
            if let Err(error) = remove_filter(netlink, index, place).await {
                attachment.holds.push((place, Hold::Clsact));
                return Err(error);
            }
        }
        None => {}
    }
    if attachment.is_empty() { release_clsact(maps, netlink, index).await } else { Ok(()) }
}

/// Forgets the programs that somebody has taken off an interface. What cannot be asked is there.
pub(super) async fn drop_lost(netlink: &Netlink, attachment: &mut Attachment) {
    let index = attachment.interface.index;
    for (place, hold) in std::mem::take(&mut attachment.holds) {
        let is_there = match &hold {
            Hold::Tcx(link) => link.is_attached().unwrap_or(true),
            Hold::Pinned(link) => link.is_attached().unwrap_or(true),
            Hold::Clsact => has_filter(netlink, index, place).await.unwrap_or(true),
        };
        if is_there {
            attachment.holds.push((place, hold));
        }
    }
}

/// Whether our filter is there. A foreign one in our place has another name.
///
/// # Errors
/// When the kernel does not say. An interface that is gone has none.
pub(super) async fn has_filter(
    netlink: &Netlink,
    index: u32,
    place: Place,
) -> Result<bool, crate::netlink::Error> {
    match netlink.filters(index, place.hook).await {
        Ok(filters) => {
            Ok(filters.iter().any(|filter| filter.name.as_deref() == Some(place.program)))
        }
        Err(error) if error.is_gone() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes our filter, if it is there.
pub(super) async fn remove_filter(
    netlink: &Netlink,
    index: u32,
    place: Place,
) -> Result<(), Error> {
    match netlink.delete_filter(index, place.hook, filter_id(place.program)).await {
        Err(error) if !error.is_gone() => Err(error.into()),
        _ => Ok(()),
    }
}

async fn release_clsact(maps: &mut Maps, netlink: &Netlink, index: u32) -> Result<(), Error> {
    if maps.owned.get(&index, 0).is_err() {
        return Ok(());
    }
    delete_clsact_if_empty(netlink, index).await?;
    super::maps::if_there(maps.owned.remove(&index)).context("forget the clsact qdisc")?;
    Ok(())
}

/// Deletes a clsact qdisc that we made, unless somebody else uses it by now. Returns whether it is
/// gone.
pub(super) async fn delete_clsact_if_empty(netlink: &Netlink, index: u32) -> Result<bool, Error> {
    for hook in [Hook::Ingress, Hook::Egress] {
        match netlink.filters(index, hook).await {
            Ok(filters) if filters.is_empty() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.is_gone() => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    match netlink.delete_clsact(index).await {
        Err(error) if !error.is_gone() => Err(error.into()),
        _ => Ok(true),
    }
}

impl From<crate::netlink::Error> for Error {
    fn from(error: crate::netlink::Error) -> Self {
        if error.is_gone() { Self::Gone(error.to_string()) } else { Self::Other(error.into()) }
    }
}
