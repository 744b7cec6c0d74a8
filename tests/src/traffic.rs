//! Frames sent and counted from outside: what arrives at the other end, by sequence number.

pub mod socket;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    cpu,
    frames::{self, Flow},
    netns::Netns,
    threads::outcome,
};
use socket::PacketSocket;

/// When nothing has come for this long after the last frame was sent, nothing will. Everything here
/// happens in one machine's memory; the time is for a machine that is busy with other things.
const QUIET: Duration = Duration::from_millis(500);
/// Frames that are sent without a look at the clock. Far below what a veth's receiver takes in at
/// once (`net.core.netdev_max_backlog`, 1000).
const BURST: u32 = 32;
/// Frames per second that even a machine emulated in software carries without a loss of its own.
const GENTLE: u32 = 20_000;
/// Bytes between the headers and the mark of a frame.
const FILLING: usize = 26;
/// Bytes that a receiver may leave unread before frames are lost.
const RECEIVE_BUFFER: usize = 128 << 20;

/// Sends frames from a device, [`GENTLE`] per second at most, in this order: from one CPU, because
/// two of them would each have a queue. Returns for each whether the device took it, or a program
/// there dropped it on the spot (`ENOBUFS`).
///
/// # Errors
/// When a frame cannot be made, or the device refuses it for another reason.
pub fn send<'a>(
    from: &Netns,
    device: &str,
    frames: impl Iterator<Item = Result<Vec<u8>>> + Send + 'a,
) -> Result<Vec<bool>> {
    let socket = PacketSocket::sender(from, device)?;
    from.run(move || {
        cpu::pin(*cpu::allowed()?.first().context("no CPU")?)?;
        let start = Instant::now();
        let mut taken = Vec::new();
        for (number, frame) in (1_u32..).zip(frames) {
            taken.push(socket.send(&frame?)?);
            if number.is_multiple_of(BURST) {
                let due = start + number * (Duration::from_secs(1) / GENTLE);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(taken)
    })?
}

/// What a receiver saw of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How often each sequence number came, up to the greatest that came.
    pub copies: Vec<u32>,
    /// Frames that came after one with a greater number.
    pub late: u64,
}

impl Received {
    /// How many different frames came.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.copies.iter().filter(|&&copies| copies > 0).count() as u64
    }

    /// How many frames came beyond the first of each number.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.copies.iter().map(|&copies| u64::from(copies.saturating_sub(1))).sum()
    }

    /// Whether the frame with this number came.
    #[must_use]
    pub fn has(&self, sequence: u64) -> bool {
        self.copies.get(sequence as usize).is_some_and(|&copies| copies > 0)
    }

    fn note(&mut self, sequence: u64) {
        let index = sequence as usize;
        if index >= self.copies.len() {
            self.copies.resize(index + 1, 0);
        } else if index + 1 < self.copies.len() {
            self.late += 1;
        }
        self.copies[index] += 1;
    }
}

/// Counts the frames of a flow that come in on a device, from its making on.
#[derive(Debug)]
pub struct Receiver {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Received>>>,
}

/// [`Receiver::stop`]: go on.
const RUN: u64 = 0;
const STOP: u64 = 1;

impl Receiver {
    /// Begins to count frames with the flow's tag.
    ///
    /// # Errors
    /// When the device is not there, or the socket cannot be made large enough.
    pub fn start(at: &Netns, device: &str, flow: &Flow) -> Result<Self> {
        let socket = PacketSocket::receiver(at, device, RECEIVE_BUFFER)?;
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(RUN)));
        let (counted, stopped, tag) = (Arc::clone(&count), Arc::clone(&stop), flow.tag);
        let thread = thread::spawn(move || receive(&socket, tag, &counted, &stopped));
        Ok(Self { count, stop, thread: Some(thread) })
    }

    /// Waits until `expected` frames have come or none comes any more, and ends.
    ///
    /// # Errors
    /// When the receiver itself lost frames: then its numbers mean nothing.
    pub fn finish(mut self, expected: u64) -> Result<Received> {
        let mut last = (self.count.load(Ordering::Relaxed), Instant::now());
        while last.0 < expected && last.1.elapsed() < QUIET {
            thread::sleep(Duration::from_millis(1));
            let count = self.count.load(Ordering::Relaxed);
            if count != last.0 {
                last = (count, Instant::now());
            }
        }
        self.stop.store(STOP, Ordering::Relaxed);
        let thread = self.thread.take().context("the receiver has ended")?;
        outcome(thread.join())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(STOP, Ordering::Relaxed);
    }
}

fn receive(
    socket: &PacketSocket,
    tag: u64,
    count: &AtomicU64,
    stop: &AtomicU64,
) -> Result<Received> {
    let mut received = Received::default();
    loop {
        let stopping = stop.load(Ordering::Relaxed) != RUN;
        let mut any = false;
        socket.receive(|frame| {
            any = true;
            if let Some((of, sequence)) = frames::mark(frame)
                && of == tag
            {
                received.note(sequence);
                count.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        if stopping && !any {
            break;
        }
    }
    let dropped = socket.dropped()?;
    ensure!(dropped == 0, "the receiver was too slow and lost {dropped} frames");
    Ok(received)
}

/// Sends a flow through and returns what arrived: [`send`] and [`Receiver`] together.
///
/// # Errors
/// As these two; also when more frames arrive than were sent, or copies.
pub fn through(
    flow: &Flow,
    (from, device): (&Netns, &str),
    (to, other_device): (&Netns, &str),
    count: u64,
) -> Result<Received> {
    let receiver = Receiver::start(to, other_device, flow)?;
    let taken = send(from, device, (0..count).map(|number| flow.frame(number, FILLING)))?;
    ensure!(taken.iter().all(|&taken| taken), "the sender's own device dropped frames");
    let received = receiver.finish(count)?;
    ensure!(received.distinct() <= count, "{} frames of {count}", received.distinct());
    ensure!(received.duplicates() == 0, "{} frames came twice", received.duplicates());
    Ok(received)
}
