//! A TCP stream whose content is known.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{cpu, netns::Netns, random::Random, threads::outcome, wait::patience};

/// What is sent over and over; its length is a prime, so that no segment is like another one.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; 1_000_003];
    Random::new(1).fill(&mut bytes);
    bytes
});

/// What became of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Streamed {
    /// Bits that came wrong.
    pub wrong_bits: u64,
    /// How long it took.
    pub time: Duration,
}

impl Streamed {
    /// Megabits per second.
    #[must_use]
    pub fn rate(&self, bytes: usize) -> f64 {
        bytes as f64 * 8e-6 / self.time.as_secs_f64()
    }
}

/// Sends so many bytes to an address in another namespace, and compares what comes.
///
/// # Errors
/// When another number of bytes comes, or nothing for long.
pub fn send(from: &Netns, to: &Netns, address: IpAddr, bytes: usize) -> Result<Streamed> {
    transfer(from, to, address, bytes, None)
}

/// The same on one CPU: two of them would each have a queue between the namespaces, and segments would
/// overtake one another there.
///
/// # Errors
/// As for [`send`].
pub fn send_on_one_cpu(
    from: &Netns,
    to: &Netns,
    address: IpAddr,
    bytes: usize,
) -> Result<Streamed> {
    let cpu = *cpu::allowed()?.first().context("no CPU")?;
    let work = || transfer(from, to, address, bytes, Some(cpu));
    outcome(thread::scope(|scope| scope.spawn(work).join()))
}

fn transfer(
    from: &Netns,
    to: &Netns,
    address: IpAddr,
    bytes: usize,
    cpu: Option<usize>,
) -> Result<Streamed> {
    // Threads that are made from here on stay there, too.
    cpu.map_or(Ok(()), cpu::pin)?;
    let listener = to.run(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&listener, bytes));
        let mut sender = from.run(|| TcpStream::connect(target))?.context("connect")?;
        sender.set_write_timeout(Some(patience(60)))?;
        let start = Instant::now();
        let mut rest = bytes;
        while rest > 0 {
            let part = &CONTENT[..rest.min(CONTENT.len())];
            sender.write_all(part).context("send")?;
            rest -= part.len();
        }
        drop(sender);
        let wrong_bits = outcome(receiving.join())?;
        Ok(Streamed { wrong_bits, time: start.elapsed() })
    })
}

fn receive(listener: &TcpListener, bytes: usize) -> Result<u64> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(patience(60)))?;
    let mut buffer = vec![0; 256 << 10];
    let (mut came, mut wrong_bits) = (0, 0);
    loop {
        let length = stream.read(&mut buffer).with_context(|| format!("after {came} bytes"))?;
        if length == 0 {
            break;
        }
        wrong_bits += compare(&buffer[..length], came);
        came += length;
    }
    ensure!(came == bytes, "{came} of {bytes} bytes came");
    Ok(wrong_bits)
}

fn compare(mut part: &[u8], mut place: usize) -> u64 {
    let mut wrong = 0;
    while !part.is_empty() {
        let expected = &CONTENT[place % CONTENT.len()..];
        let length = expected.len().min(part.len());
        if part[..length] != expected[..length] {
            let bits = |(a, b): (&u8, &u8)| u64::from((a ^ b).count_ones());
            wrong += part.iter().zip(expected).map(bits).sum::<u64>();
        }
        (part, place) = (&part[length..], place + length);
    }
    wrong
}
