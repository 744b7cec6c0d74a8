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

/// What so many connections carried together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    /// Bits per second that the application received.
    pub(super) bits: f64,
    /// Share of the processors' time that nobody used: near nothing where they are the limit.
    pub(super) idle: f64,
}

/// Measures connections that send as much as they can, during `window` after `warm_up`.
pub(super) fn throughput(
    (from, to, address): (&Netns, &Netns, IpAddr),
    flows: usize,
    warm_up: Duration,
    window: Duration,
) -> Result<Carried> {
    let pairs = connect(from, to, address, flows)?;
    let (bytes, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let result = thread::scope(|scope| {
        for (sender, receiver) in &pairs {
            scope.spawn(|| send(sender, &stop));
            scope
                .spawn(|| receive(receiver, |count| _ = bytes.fetch_add(count, Ordering::Relaxed)));
        }
        thread::sleep(warm_up);
        let look = || (Instant::now(), bytes.load(Ordering::Relaxed), cpu_time());
        let before = look();
        thread::sleep(window);
        let after = look();
        end(&pairs, &stop);
        let ticks = after.2.1 - before.2.1;
        Carried {
            bits: (after.1 - before.1) as f64 * 8.0 / (after.0 - before.0).as_secs_f64(),
            idle: (after.2.0 - before.2.0) / ticks.max(1.0),
        }
    });
    ensure!(result.bits > 0.0, "nothing came through from {} to {address}", from.name());
    Ok(result)
}

/// Idle time and all time of the processors since the start, in ticks.
fn cpu_time() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // "cpu  user nice system idle ..."; guest time is part of user time.
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    (ticks.get(3).copied().unwrap_or(0.0), ticks.iter().sum())
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
