//! What this host sends to a container and Entropy loses is not reported to the sender.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::TcAttachType;
use entropy_common::{
    fault::partition::Partition,
    names,
    rule::{Direction, HookKey, Match, Rule},
    stats::Event,
};
use entropy_daemon::netlink::Hook;
use entropy_tests::{
    needs_root,
    netns::{Line, Netns},
    object::Object,
    wait::{patience, until_true},
};

use crate::site::{BRIDGE, INSIDE, VETH};

const PACKETS: u64 = 200;
/// The container listens here.
const PORT: u16 = 9;
const CONTAINER: [IpAddr; 2] = both_families(1);
const HOST: [IpAddr; 2] = both_families(254);

const fn both_families(number: u8) -> [IpAddr; 2] {
    [
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number as u16)),
    ]
}

/// A UDP socket that is told of errors at once (ip(7), ipv6(7): IP_RECVERR). Without the option the
/// kernel hides ENOBUFS, and the test could not fail.
fn told_of_errors(container: IpAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if container.is_ipv4() {
        SocketAddr::from(([0, 0, 0, 0], 0))
    } else {
        SocketAddr::from(([0_u16; 8], 0))
    };
    let socket = UdpSocket::bind(any)?;
    let (level, option) = if container.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is one int, which lives during the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size)
    };
    ensure!(done == 0, "ask for errors: {}", io::Error::last_os_error());
    Ok(socket)
}

/// How the host reaches the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Through a bridge, as Docker does. A bridge keeps to itself what becomes of a packet.
    Bridged,
    /// Straight into the veth. So the sender learns of a drop there.
    Routed,
}

/// A container that listens, on a host that knows its Ethernet address.
struct Listening {
    host: Netns,
    /// The container's, which also keep it alive.
    sockets: [UdpSocket; 2],
}

impl Listening {
    fn new(way: Way) -> Result<Self> {
        let (host, container) = (Netns::new("host")?, Netns::new("container")?);
        host.veth(VETH, &container, INSIDE)?;
        if way == Way::Bridged {
            host.bridge(BRIDGE)?;
            host.enslave(VETH, BRIDGE)?;
        }
        let outside = if way == Way::Bridged { BRIDGE } else { VETH };
        for (ip, own) in CONTAINER.into_iter().zip(HOST) {
            let prefix = if ip.is_ipv4() { 24 } else { 64 };
            container.add_address(INSIDE, ip, prefix)?;
            host.add_address(outside, own, prefix)?;
        }
        let [v4, v6] = CONTAINER.map(|ip| container.run(|| UdpSocket::bind((ip, PORT))));
        let listening = Self { host, sockets: [v4??, v6??] };
        // A packet that waits for its neighbour's address is sent later, by the kernel, and nobody
        // could be told: so the addresses have to be known.
        for number in 0..CONTAINER.len() {
            listening.wait_for_one(number)?;
        }
        Ok(listening)
    }

    fn wait_for_one(&self, number: usize) -> Result<()> {
        let socket = &self.sockets[number];
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        until_true("a first datagram arrives", patience(10), || {
            self.send(number, 1)?;
            Ok(socket.recv(&mut [0; 9]).is_ok())
        })
    }

    /// Sends from the host and returns how many packets the sender was told are lost.
    fn send(&self, number: usize, count: u64) -> Result<u64> {
        let ip = CONTAINER[number];
        self.host.run(|| {
            let socket = told_of_errors(ip)?;
            let mut reported = 0;
            for _ in 0..count {
                match socket.send_to(b"datagram", (ip, PORT)) {
                    Ok(_) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => reported += 1,
                    Err(error) => return Err(error).context("send a datagram"),
                }
            }
            Ok(reported)
        })?
    }

    /// How many packets the container has got and not read.
    fn arrived(&self, number: usize) -> Result<u64> {
        let socket = &self.sockets[number];
        socket.set_nonblocking(true)?;
        Ok((0..).take_while(|_| socket.recv(&mut [0; 9]).is_ok()).count() as u64)
    }
}

/// An object that cuts off the test's datagrams to the container. Not more: the kernel speaks of its
/// own accord too, of multicast groups for one.
fn cut(listening: &Listening) -> Result<Object> {
    let mut object = Object::load()?;
    object.attach(names::PROGRAM_TO, &listening.host, VETH, TcAttachType::Egress)?;
    let matcher = Match { protocol: 17, port_first: PORT, port_last: PORT, ..Match::ALL };
    let rule = Rule { id: 1, partition: Partition::CUT, matcher, ..Rule::NONE };
    let hook = HookKey::new(listening.host.index(VETH)?, Direction::Ingress);
    object.set_rules(hook, &[rule])?;
    Ok(object)
}

/// The control: a plain drop at the egress hook is reported, as loss on a real wire never is.
#[test]
fn without_the_line_the_sender_is_told_of_every_lost_packet() -> Result<()> {
    needs_root!();
    let listening = Listening::new(Way::Routed)?;
    let object = cut(&listening)?;
    for (number, ip) in CONTAINER.into_iter().enumerate() {
        listening.arrived(number)?;
        assert_eq!(listening.send(number, PACKETS)?, PACKETS, "{ip}");
        assert_eq!(listening.arrived(number)?, 0, "{ip}");
    }
    assert_eq!(object.event(Event::Sunk)?, 0);
    Ok(())
}

#[test]
fn with_the_line_the_sender_is_told_nothing_and_every_lost_packet_is_freed() -> Result<()> {
    needs_root!();
    for way in [Way::Routed, Way::Bridged] {
        let listening = Listening::new(way)?;
        let host = &listening.host;
        let mut object = cut(&listening)?;
        host.line(&mut object, Line::SHORT)?;
        for (number, ip) in CONTAINER.into_iter().enumerate() {
            listening.arrived(number)?;
            let reported = listening.send(number, PACKETS)?;
            assert_eq!(reported, 0, "reported, {way:?}, {ip}");
            assert_eq!(listening.arrived(number)?, 0, "arrived, {way:?}, {ip}");
        }
        assert_eq!(object.state(1)?.lost, 2 * PACKETS, "{way:?}");
        assert_eq!(object.event(Event::Sunk)?, 2 * PACKETS, "{way:?}");
        wait_for_freed(&object, 2 * PACKETS)?;
    }
    Ok(())
}

/// Waits until so many packets have come out of the line, and no more.
fn wait_for_freed(object: &Object, count: u64) -> Result<()> {
    until_true(&format!("{count} packets come out of the line"), patience(10), || {
        Ok(object.event(Event::Freed)? >= count)
    })?;
    assert_eq!(object.event(Event::Freed)?, count);
    Ok(())
}

#[test]
fn the_line_is_a_macvlan_upon_a_dummy_where_the_kernel_has_both() -> Result<()> {
    needs_root!();
    const NAMES: [&str; 2] = [names::LINE_ENTRANCE, names::LINE_EXIT];
    let host = Netns::new("host")?;
    if !Netns::kernel_has_macvlan_and_dummy()? {
        entropy_tests::skip!("needs the VM: this kernel has no macvlan, or no dummy device");
    }
    host.as_daemon(async |netlink| {
        let line = netlink.ensure_line(NAMES[0], NAMES[1]).await?;
        assert_eq!(line.hook, Hook::Egress);
        assert_eq!(netlink.ensure_line(NAMES[0], NAMES[1]).await?, line);
        // Half of it is gone: somebody removed it, or the daemon was killed in the middle.
        netlink.delete_link(line.entrance).await?;
        let mended = netlink.ensure_line(NAMES[0], NAMES[1]).await?;
        assert_eq!((mended.exit, mended.hook), (line.exit, Hook::Egress));
        for index in [mended.entrance, mended.exit] {
            let link = netlink.link(index).await?.context("it is not there")?;
            assert_eq!((link.up, link.mtu), (true, 65535), "{link:?}");
        }
        netlink.delete_link(mended.exit).await?;
        assert_eq!(netlink.link(mended.entrance).await?, None);
        Ok(())
    })?;
    // Of somebody else, as its size tells.
    host.dummy(NAMES[1])?;
    host.as_daemon(async |netlink| {
        let error = netlink.ensure_line(NAMES[0], NAMES[1]).await.unwrap_err().to_string();
        assert!(error.contains("it is a dummy, not a veth"), "{error}");
        assert_eq!(netlink.links().await?.iter().filter(|link| link.is("dummy")).count(), 1);
        Ok(())
    })
}
