//! The daemon's datapath makes the wire and removes it, and does without where it cannot be.

use std::{fs, io, path::Path, ptr};

use anyhow::{Context as _, Result, ensure};
use entropy_common::names;
use entropy_daemon::{
    datapath::{Kernel, Options, cleanup},
    netlink::Netlink,
};
use entropy_tests::{
    needs_root,
    netns::Netns,
    snapshot::{filters, links, tcx_programs},
};

/// Runs `test` in a namespace of its own with a bpffs of its own.
fn in_sandbox<F: Future<Output = Result<()>>>(test: impl FnOnce() -> F + Send) -> Result<()> {
    Netns::new("sandbox")?.run(|| {
        own_bpffs().context("mount a bpffs")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(test())
    })?
}

fn own_bpffs() -> io::Result<()> {
    let check = |result| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: unshare takes a number and changes the calling thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the strings end with zeros, the others may be null.
    check(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()) })?;
    let (kind, place) = (c"bpf".as_ptr(), c"/sys/fs/bpf".as_ptr());
    // SAFETY: as above.
    check(unsafe { libc::mount(kind, place, kind, 0, ptr::null()) })
}

/// The devices but for `lo`.
fn devices() -> Result<Vec<String>> {
    Ok(links()?.into_iter().map(|link| link.name).filter(|name| name != "lo").collect())
}

/// What is at the exit of the wire.
fn at_exit() -> Result<Vec<String>> {
    let links = links()?;
    let exit = links.iter().find(|link| link.name == names::WIRE_EXIT).context("no exit")?;
    let all = filters(exit)?.into_iter().chain(tcx_programs(exit));
    Ok(all.filter(|line| line.contains(names::PROGRAM_WIRE)).collect())
}

fn pins() -> usize {
    fs::read_dir(Path::new(names::PIN_DIR)).map_or(0, Iterator::count)
}

#[test]
fn the_wire_comes_with_the_datapath_and_goes_with_it() -> Result<()> {
    needs_root!();
    in_sandbox(async || {
        let kernel = Kernel::start(Netlink::new()?, Options::default()).await?;
        ensure!(kernel.unwired().is_none(), "{:?}", kernel.unwired());
        let pair = [names::WIRE_ENTRANCE, names::WIRE_EXIT].map(str::to_owned);
        ensure!(pair.iter().all(|name| devices().is_ok_and(|all| all.contains(name))));
        ensure!(at_exit()?.len() == 1, "{:?}", at_exit()?);
        let problems = kernel.stop().await;
        ensure!(problems.is_empty(), "{problems:?}");
        ensure!(devices()?.is_empty() && pins() == 0, "left: {:?}", devices()?);
        Ok(())
    })
}

/// Frames that are on their way when a daemon is killed still come out.
#[test]
fn the_exit_outlives_the_datapath_until_the_cleanup() -> Result<()> {
    needs_root!();
    in_sandbox(async || {
        // As a crash does: nothing is undone, but all descriptors are closed.
        drop(Kernel::start(Netlink::new()?, Options::default()).await?);
        ensure!(at_exit()?.len() == 1, "{:?}", at_exit()?);
        let report = cleanup::remove(&Netlink::new()?).await;
        ensure!(report.problems.is_empty(), "{:?}", report.problems);
        ensure!(report.removed.iter().any(|line| line.contains(names::WIRE_ENTRANCE)));
        ensure!(devices()?.is_empty() && pins() == 0, "left: {:?}", devices()?);
        Ok(())
    })
}

#[test]
fn a_device_of_somebody_else_in_its_place_is_the_reason_why_there_is_none_until_it_goes()
-> Result<()> {
    needs_root!();
    in_sandbox(async || {
        let here = Netns::open("/proc/thread-self/ns/net")?;
        here.bridge(names::WIRE_EXIT)?;
        let mut kernel = Kernel::start(Netlink::new()?, Options::default()).await?;
        let untimed = kernel.untimed().map(str::to_owned);
        let is_named = |kernel: &Kernel| {
            let reason = kernel.unwired().context("there is a wire")?;
            ensure!(reason.contains(names::WIRE_EXIT) && reason.contains("not ours"), "{reason}");
            anyhow::Ok(())
        };
        is_named(&kernel)?;
        here.delete(names::WIRE_EXIT)?;
        kernel.check().await?;
        ensure!(kernel.unwired().is_none(), "its place is free: {:?}", kernel.unwired());
        here.delete(names::WIRE_ENTRANCE)?;
        here.bridge(names::WIRE_EXIT)?;
        for check in ["first", "second"] {
            kernel.check().await?;
            is_named(&kernel).context(check)?;
            ensure!(kernel.untimed() == untimed.as_deref(), "the line: {:?}", kernel.untimed());
        }
        let problems = kernel.stop().await;
        ensure!(problems.is_empty(), "{problems:?}");
        ensure!(devices()? == [names::WIRE_EXIT], "{:?}", devices()?);
        Ok(())
    })
}
