//! Ethernet frames that a receiver can tell apart: each ends with a tag and a sequence number.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use etherparse::PacketBuilder;

/// Bytes at the end of each frame: the tag of the flow and the number of the frame.
pub const MARK: usize = 16;

/// Upper protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A TCP segment with data, of no connection.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An echo request, of ICMP or ICMPv6.
    Icmp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Ethernet address.
    pub mac: [u8; 6],
    /// IP address.
    pub ip: IpAddr,
    /// Port, where the protocol has some.
    pub port: u16,
}

/// A series of frames from one end to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The sender.
    pub source: End,
    /// The receiver.
    pub destination: End,
    /// The upper protocol.
    pub protocol: Protocol,
    /// Tells the frames of this flow from those of all others.
    pub tag: u64,
}

impl Flow {
    /// Frame number `sequence`, with `filling` bytes between the headers and the mark.
    ///
    /// # Errors
    /// When the ends are of different families or the frame gets too long.
    pub fn frame(&self, sequence: u64, filling: usize) -> Result<Vec<u8>> {
        let mut payload = vec![0xe5; filling];
        payload.extend(self.tag.to_be_bytes());
        payload.extend(sequence.to_be_bytes());
        let mut frame = Vec::with_capacity(payload.len() + 80);
        let ethernet = PacketBuilder::ethernet2(self.source.mac, self.destination.mac);
        let (ip, v6) = match (self.source.ip, self.destination.ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (ethernet.ipv4(a.octets(), b.octets(), 64), false),
            (IpAddr::V6(a), IpAddr::V6(b)) => (ethernet.ipv6(a.octets(), b.octets(), 64), true),
            (a, b) => anyhow::bail!("{a} and {b} are of different families"),
        };
        let ports = (self.source.port, self.destination.port);
        let number = sequence as u32;
        match (self.protocol, v6) {
            (Protocol::Tcp, _) => {
                ip.tcp(ports.0, ports.1, number, 65_535).write(&mut frame, &payload)?;
            }
            (Protocol::Udp, _) => ip.udp(ports.0, ports.1).write(&mut frame, &payload)?,
            (Protocol::Icmp, false) => {
                ip.icmpv4_echo_request(ports.0, number as u16).write(&mut frame, &payload)?;
            }
            (Protocol::Icmp, true) => {
                ip.icmpv6_echo_request(ports.0, number as u16).write(&mut frame, &payload)?;
            }
        }
        ensure!(frame.len() < 65_536, "a frame of {} bytes is too long", frame.len());
        Ok(frame)
    }
}

/// Tag and sequence number at the end of a frame.
#[must_use]
pub fn mark(frame: &[u8]) -> Option<(u64, u64)> {
    let (rest, sequence) = frame.split_last_chunk()?;
    let (_, tag) = rest.split_last_chunk()?;
    Some((u64::from_be_bytes(*tag), u64::from_be_bytes(*sequence)))
}

#[cfg(test)]
mod tests {
    use entropy_common::packet::Packet;

    use super::*;

    #[test]
    fn frames_are_what_they_say() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for (protocol, numbers) in
                [(Protocol::Tcp, [6, 6]), (Protocol::Udp, [17, 17]), (Protocol::Icmp, [1, 58])]
            {
                let end = |ip: &str, port| End { mac: [2; 6], ip: ip.parse().unwrap(), port };
                let (source, destination) = (end(source, 7), end(destination, 9));
                let flow = Flow { source, destination, protocol, tag: 99 };
                let frame = flow.frame(5, 40).unwrap();
                let packet = Packet::parse(&frame[..]).unwrap();
                assert_eq!(packet.protocol, numbers[usize::from(source.ip.is_ipv6())]);
                assert_eq!(packet.ports.present, protocol != Protocol::Icmp);
                assert_eq!(mark(&frame), Some((99, 5)));
            }
        }
    }

    #[test]
    fn a_frame_without_a_mark_has_none() {
        assert_eq!(mark(&[0; MARK - 1]), None);
    }
}
