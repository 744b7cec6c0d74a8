//! TCP connections that carry as much as they can.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{clock::now_ns, netns::Netns};

const CHUNK: usize = 128 << 10;

/// Connected pairs: sender, receiver.
fn connect(
    from: &Netns,
    to: &Netns,
    address: IpAddr,
    flows: usize,
) -> Result<Vec<(TcpStream, TcpStream)>> {
    let listener = to.run(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    (0..flows)
        .map(|_| {
            let sender = from
                .run(|| TcpStream::connect_timeout(&target, Duration::from_secs(30)))?
                .with_context(|| format!("connect from {} to {target}", from.name()))?;
            Ok((sender, listener.accept()?.0))
        })
        .collect()
}

/// Bits per second that the application receives over so many connections at once, during `window`
/// after `warm_up`.
pub(super) fn throughput(
    (from, to, address): (&Netns, &Netns, IpAddr),
    flows: usize,
    warm_up: Duration,
    window: Duration,
) -> Result<f64> {
    let pairs = connect(from, to, address, flows)?;
    let (bytes, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let result = thread::scope(|scope| {
        for (sender, receiver) in &pairs {
            scope.spawn(|| send(sender, &stop));
            scope
                .spawn(|| receive(receiver, |count| _ = bytes.fetch_add(count, Ordering::Relaxed)));
        }
        thread::sleep(warm_up);
        let (start, before) = (Instant::now(), bytes.load(Ordering::Relaxed));
        thread::sleep(window);
        let (took, after) = (start.elapsed(), bytes.load(Ordering::Relaxed));
        end(&pairs, &stop);
        (after - before) as f64 * 8.0 / took.as_secs_f64()
    });
    ensure!(result > 0.0, "nothing came through from {} to {address}", from.name());
    Ok(result)
}

/// When how many bytes came over one connection, from its first byte on.
pub(super) fn arrivals(
    (from, to, address): (&Netns, &Netns, IpAddr),
    length: Duration,
) -> Result<Vec<(u64, u64)>> {
    let pairs = connect(from, to, address, 1)?;
    let (sender, receiver) = pairs.first().context("no connection")?;
    let stop = AtomicBool::new(false);
    let mut seen = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| send(sender, &stop));
        let seen = &mut seen;
        scope.spawn(move || receive(receiver, |count| seen.push((now_ns(), count))));
        thread::sleep(length);
        end(&pairs, &stop);
    });
    Ok(seen)
}

/// Ends at once, whatever is still on its way.
fn end(pairs: &[(TcpStream, TcpStream)], stop: &AtomicBool) {
    stop.store(true, Ordering::Relaxed);
    for (sender, receiver) in pairs {
        linger_not(sender);
        // Fails only for a connection that has ended already.
        let _ = receiver.shutdown(Shutdown::Both);
        let _ = sender.shutdown(Shutdown::Both);
    }
}

/// What is unsent is thrown away when the socket is closed.
fn linger_not(socket: &TcpStream) {
    use std::os::fd::AsRawFd as _;
    let value = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option's value is one linger, which lives during the call. A failure leaves some
    // packets on their way a little longer.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const value).cast(),
            size,
        );
    }
}

fn send(mut socket: &TcpStream, stop: &AtomicBool) {
    let chunk = vec![0x5a; CHUNK];
    while !stop.load(Ordering::Relaxed) && socket.write(&chunk).is_ok() {}
}

fn receive(mut socket: &TcpStream, mut note: impl FnMut(u64)) {
    let mut chunk = vec![0; 2 * CHUNK];
    while let Ok(count @ 1..) = socket.read(&mut chunk) {
        note(count as u64);
    }
}
