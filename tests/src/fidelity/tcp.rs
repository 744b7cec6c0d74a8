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
/// `USER_HZ`.
const TICKS_A_SECOND: f64 = 100.0;

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
    /// Bytes of a packet of the sender's, on average, headers and all: its kernel chooses by what it
    /// sees of the connection.
    pub(super) packet: f64,
    /// Packets of the receiver's for each of the sender's.
    pub(super) answers: f64,
    /// How often the sender found that segments had overtaken one another.
    pub(super) reordered: f64,
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
        let look = || {
            let [packets, sent, answers] = from.run(traffic).unwrap_or_default();
            let traffic = [packets, sent, answers, reorderings(from)];
            (Instant::now(), bytes.load(Ordering::Relaxed), cpu_time(), traffic)
        };
        let before = look();
        thread::sleep(window);
        let after = look();
        end(&pairs, &stop);
        let ticks = after.2.1 - before.2.1;
        let [packets, sent, answers, reordered] =
            [0, 1, 2, 3].map(|i| (after.3[i] - before.3[i]) as f64);
        Carried {
            packet: sent / packets.max(1.0),
            answers: answers / packets.max(1.0),
            reordered,
            bits: (after.1 - before.1) as f64 * 8.0 / (after.0 - before.0).as_secs_f64(),
            idle: (after.2.0 - before.2.0) / ticks.max(1.0),
        }
    });
    ensure!(result.bits > 0.0, "nothing came through from {} to {address}", from.name());
    Ok(result)
}

/// Writes on one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writes {
    pub(super) count: u32,
    /// Bytes of each.
    pub(super) size: usize,
    /// From one to the next: long enough for the processors to be idle in between.
    pub(super) gap: Duration,
}

/// Seconds that the processors are busy until all writes have been read.
pub(super) fn busy((from, to, address): (&Netns, &Netns, IpAddr), writes: Writes) -> Result<f64> {
    let pairs = connect(from, to, address, 1)?;
    let (sender, receiver) = pairs.first().context("no connection")?;
    sender.set_nodelay(true)?;
    let processors = crate::cpu::allowed()?.len() as f64;
    let (chunk, total) = (vec![0x5a; writes.size], u64::from(writes.count) * writes.size as u64);
    thread::scope(|scope| {
        let start = (Instant::now(), cpu_time().0);
        let reader = scope.spawn(|| {
            let mut read = 0;
            receive_until(receiver, |count| {
                read += count;
                read < total
            });
            read
        });
        for number in 0..writes.count {
            let due = start.0 + writes.gap * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            { sender }.write_all(&chunk).context("write")?;
        }
        let read = crate::threads::outcome(reader.join());
        ensure!(read == total, "{read} of {total} bytes came");
        let idle = (cpu_time().0 - start.1) / TICKS_A_SECOND;
        Ok(start.0.elapsed().as_secs_f64() * processors - idle)
    })
}

/// Packets and bytes sent, and packets received, over all devices of this thread's namespace.
fn traffic() -> [u64; 3] {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let mut sums = [0; 3];
    for line in text.lines() {
        let Some((_, counts)) = line.split_once(':') else { continue };
        // Eight columns about receiving, bytes and packets first, then eight about sending.
        let counts: Vec<u64> =
            counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        for (sum, at) in sums.iter_mut().zip([9, 8, 1]) {
            *sum += counts.get(at).copied().unwrap_or(0);
        }
    }
    sums
}

/// How often the kernel of a namespace saw segments overtake one another.
fn reorderings(namespace: &Netns) -> u64 {
    ["TcpExt TCPSACKReorder", "TcpExt TCPTSReorder"]
        .iter()
        .filter_map(|name| namespace.counter(name).ok())
        .sum()
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

fn receive(socket: &TcpStream, mut note: impl FnMut(u64)) {
    receive_until(socket, |count| {
        note(count);
        true
    });
}

/// As long as `goes_on` says so of the bytes of a read.
fn receive_until(mut socket: &TcpStream, mut goes_on: impl FnMut(u64) -> bool) {
    let mut chunk = vec![0; 2 * CHUNK];
    while let Ok(count @ 1..) = socket.read(&mut chunk)
        && goes_on(count as u64)
    {}
}
