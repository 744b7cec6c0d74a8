//! TCP from the host: a packet that was dropped under its eyes means congestion to it, and it slows
//! down at once (`tcp_enter_cwr` in net/ipv4/tcp_output.c). One lost on a wire it learns of by
//! silence.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
};

use anyhow::{Result, ensure};
use aya::programs::TcAttachType;
use entropy_common::{
    fault::partition::Partition,
    names,
    rule::{Direction, HookKey, Rule},
};
use entropy_tests::{
    needs_root,
    netns::{Line, Netns},
    object::Object,
    wait::{patience, until_true},
};

use crate::stage::stage;

/// `TCP_CA_Open`, `TCP_CA_CWR` and `TCP_CA_Loss` (linux/tcp.h).
const OPEN: u8 = 0;
const CWR: u8 = 2;
const LOSS: u8 = 4;
const VETH: &str = "vethc";

/// What the kernel says of a connection.
fn info(stream: &TcpStream) -> Result<libc::tcp_info> {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to the structure.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    ensure!(done == 0, "TCP_INFO: {}", std::io::Error::last_os_error());
    Ok(info)
}

/// A connection between two sockets of this process.
fn connect(listener: &TcpListener, from: &Netns) -> Result<[TcpStream; 2]> {
    let target = listener.local_addr()?;
    let mut client = from.run(|| TcpStream::connect(target))??;
    let mut server = listener.accept()?.0;
    server.set_read_timeout(Some(patience(30)))?;
    client.write_all(b"before")?;
    server.read_exact(&mut [0; 6])?;
    Ok([client, server])
}

/// A host that reaches a container through its veth directly, so that it could see a drop there.
struct Routed {
    host: Netns,
    connection: [TcpStream; 2],
    object: Object,
}

impl Routed {
    fn new(with_line: bool) -> Result<Self> {
        let (host, container) = (Netns::new("host")?, Netns::new("container")?);
        host.veth(VETH, &container, "eth0")?;
        let address: IpAddr = Ipv4Addr::new(10, 9, 0, 2).into();
        host.add_address(VETH, Ipv4Addr::new(10, 9, 0, 1).into(), 24)?;
        container.add_address("eth0", address, 24)?;
        let listener = container.run(|| TcpListener::bind((address, 0)))??;
        let mut object = Object::load()?;
        object.attach(names::PROGRAM_TO, &host, VETH, TcAttachType::Egress)?;
        if with_line {
            host.line(&mut object, Line::SHORT)?;
        }
        let connection = connect(&listener, &host)?;
        Ok(Self { host, connection, object })
    }

    /// Loses everything, and returns the connection's state right after it sent.
    fn send_into_the_void(&mut self) -> Result<u8> {
        let hook = HookKey::new(self.host.index(VETH)?, Direction::Ingress);
        let rule = Rule { id: 1, partition: Partition::CUT, ..Rule::NONE };
        self.object.set_rules(hook, &[rule])?;
        self.connection[0].write_all(b"during")?;
        Ok(info(&self.connection[0])?.tcpi_ca_state)
    }
}

/// The control: this is what a drop does that the sender sees.
#[test]
fn without_the_line_tcp_sees_congestion_on_its_own_host() -> Result<()> {
    needs_root!();
    let mut routed = Routed::new(false)?;
    assert_eq!(routed.send_into_the_void()?, CWR);
    Ok(())
}

#[test]
fn with_the_line_tcp_learns_of_a_loss_by_silence_only() -> Result<()> {
    needs_root!();
    let mut routed = Routed::new(true)?;
    assert_eq!(routed.send_into_the_void()?, OPEN);
    until_true("it sends again", patience(10), || {
        let info = info(&routed.connection[0])?;
        ensure!(info.tcpi_ca_state != CWR, "it saw congestion");
        Ok(info.tcpi_ca_state == LOSS && info.tcpi_total_retrans > 0)
    })
}

#[test]
fn tcp_from_the_host_repairs_what_the_daemon_loses() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let web = &cast.web;
    web.ways_from_host()?;
    let listener = web.container.netns()?.run(|| TcpListener::bind((web.at.v6, 0)))??;
    let [mut client, mut server] = connect(&listener, &Netns::host()?)?;
    stage.policy("lossy", "target = 'app=web'\nmatch = { protocol = 'tcp' }\ndirection = 'ingress'\nseed = 1\nloss = '20%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("lossy", &web.at)?;
    // Small writes, each a segment of its own.
    client.set_nodelay(true)?;
    for number in 0..100_u8 {
        client.write_all(&[number; 100])?;
    }
    let mut got = vec![0; 100 * 100];
    server.read_exact(&mut got)?;
    let sent: Vec<u8> = (0..100_u8).flat_map(|number| [number; 100]).collect();
    assert!(got == sent, "the stream is damaged");
    let lost = daemon.lost("lossy", &web.at, Direction::Ingress);
    let again = info(&client)?.tcpi_total_retrans;
    // Not one for each: the kernel puts small segments together before it sends them again.
    assert!(lost > 0 && again > 0, "{lost} lost, {again} sent again");
    daemon.stop()
}
