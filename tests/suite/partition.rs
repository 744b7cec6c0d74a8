//! A partition stops all IP traffic between those it names, and nothing else.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    ops::Deref,
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use entropy_tests::{
    daemon::Daemon,
    wait::{patience, until_true},
};

use crate::stage::{
    Cast, Running, Stage,
    flows::{Kind, through},
    pass, stage,
};

/// Datagrams for one look.
const FEW: u64 = 20;
/// Frames of each kind.
const FRAMES: u64 = 100;

/// The two that are cut off from one another, and somebody who is not.
struct Three(Arc<Cast>);

impl Deref for Three {
    type Target = Cast;

    fn deref(&self) -> &Cast {
        &self.0
    }
}

impl Three {
    /// Without a policy everything gets through.
    fn new(stage: &Stage) -> Result<Self> {
        let three = Self(stage.cast()?);
        for ways in [three.web.ways_to(&three.db)?, three.db.ways_to(&three.web)?] {
            ensure!(pass(&ways, FEW)? == [FEW; 2], "control");
        }
        Ok(three)
    }

    /// How many frames of each kind must arrive.
    fn expect(&self, from: &Running, to: &Running, count: u64) -> Result<()> {
        for kind in Kind::all() {
            let arrived = through(from, to, kind, FRAMES)?;
            let names = (from.container.name(), to.container.name());
            ensure!(arrived == count, "{arrived} of {FRAMES} {kind:?} arrived, {names:?}");
        }
        Ok(())
    }

    /// The third container reaches both and is reached, and the host reaches both.
    fn others_are_untouched(&self) -> Result<()> {
        for one in [&self.web, &self.db] {
            let from_host = one.ways_from_host()?;
            let (to, from) = (self.client.ways_to(one)?, one.ways_to(&self.client)?);
            for (what, ways) in [("from host", from_host), ("to it", to), ("from it", from)] {
                let arrived = pass(&ways, FEW)?;
                let name = one.container.name();
                ensure!(arrived == [FEW; 2], "{arrived:?} of {FEW}, {name}, {what}");
            }
        }
        Ok(())
    }

    fn start(&self, stage: &Stage, rest: &str) -> Result<Daemon> {
        let text =
            format!("target = 'app=web'\nmatch = {{ peer = 'app=db' }}\npartition = true\n{rest}");
        stage.policy("cut", &text)?;
        let daemon = stage.installation.start(&[])?;
        daemon.await_on("cut", &self.web.at)?;
        Ok(daemon)
    }
}

/// Whether a TCP connection comes about; an error other than silence is one of the test.
fn connects(from: &Running, to: &Running, address: IpAddr) -> Result<bool> {
    let listener = to.container.netns()?.run(|| TcpListener::bind((address, 0)))??;
    let target: SocketAddr = listener.local_addr()?;
    let limit = patience(1) / 2;
    let tried = from.container.netns()?.run(move || TcpStream::connect_timeout(&target, limit))?;
    match tried {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error).context("connect"),
    }
}

/// Both ends of a connection.
fn open(from: &Running, to: &Running, address: IpAddr) -> Result<[TcpStream; 2]> {
    let listener = to.container.netns()?.run(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    let near = from.container.netns()?.run(move || TcpStream::connect(target))??;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_read_timeout(Some(patience(10)))?;
    }
    Ok([near, far])
}

/// Something is said in both directions.
fn talk([near, far]: &mut [TcpStream; 2]) -> Result<()> {
    for (from, to) in [(&*near, &*far), (&*far, &*near)] {
        let (mut from, mut to) = (from, to);
        from.write_all(b"still there?").context("send")?;
        let mut heard = [0; 12];
        to.read_exact(&mut heard).context("receive")?;
        ensure!(&heard == b"still there?", "{heard:?}");
    }
    Ok(())
}

#[test]
fn a_partition_of_new_connections_stops_those_and_nothing_else() -> Result<()> {
    let stage = stage!();
    let three = Three::new(&stage)?;
    let (web, db) = (&three.web, &three.db);
    let mut standing = [open(db, web, web.at.v4.into())?, open(db, web, web.at.v6.into())?];
    let text = "target = 'app=web'\ndirection = 'ingress'\nmatch = { peer = 'app=db' }\n\
                partition = 'new-connections'";
    stage.policy("cut", text)?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    for address in [IpAddr::from(web.at.v4), web.at.v6.into()] {
        ensure!(!connects(db, web, address)?, "a new connection to {address}");
    }
    for address in [IpAddr::from(db.at.v4), db.at.v6.into()] {
        ensure!(connects(web, db, address)?, "no connection the other way, to {address}");
    }
    standing.iter_mut().try_for_each(talk)?;
    assert_eq!(pass(&db.ways_to(web)?, FEW)?, [FEW; 2], "datagrams");
    three.others_are_untouched()?;
    stage.end_policy("cut")?;
    daemon.await_off(&web.at)?;
    ensure!(connects(db, web, web.at.v4.into())?, "afterwards");
    daemon.stop()
}

/// Makes a container ask anew who has an address, by ARP and by neighbour discovery. `false` where
/// there is no `ip` program to do it.
fn forget_neighbours(running: &Running) -> Result<bool> {
    let device = &running.at.device;
    for family in ["-4", "-6"] {
        let flushed = running
            .container
            .netns()?
            .run(|| Command::new("ip").args([family, "neigh", "flush", "dev", device]).output())?;
        match flushed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            output => ensure!(output?.status.success(), "ip {family} neigh flush failed"),
        }
    }
    Ok(true)
}

/// Whether ARP has told a container who has an address.
fn knows_by_arp(running: &Running, address: IpAddr) -> Result<bool> {
    let table =
        running.container.netns()?.run(|| fs::read_to_string("/proc/thread-self/net/arp"))??;
    let line =
        table.lines().find(|line| line.split_whitespace().next() == Some(&address.to_string()));
    // Flags: 2 is a complete entry (ATF_COM, linux/if_arp.h).
    Ok(line.is_some_and(|line| line.split_whitespace().nth(2) == Some("0x2")))
}

#[test]
fn web_and_db_are_cut_off_from_one_another_and_from_nobody_else() -> Result<()> {
    let stage = stage!(every kernel);
    let three = Three::new(&stage)?;
    let Cast { web, db, client, .. } = &*three;
    assert!(connects(web, db, db.at.v4.into())? && connects(web, db, db.at.v6.into())?, "control");
    three.others_are_untouched().context("control")?;
    three.expect(web, db, FRAMES).context("control")?;
    three.expect(db, web, FRAMES).context("control")?;
    let daemon = three.start(&stage, "")?;
    three.expect(web, db, 0)?;
    three.expect(db, web, 0)?;
    three.others_are_untouched()?;
    for address in [db.at.v4.into(), db.at.v6.into()] {
        assert!(!connects(web, db, address)?, "{address}");
    }
    assert!(connects(web, client, client.at.v4.into())?);
    assert!(connects(client, db, db.at.v6.into())?);

    stage.end_policy("cut")?;
    daemon.await_off(&web.at)?;
    three.expect(web, db, FRAMES)?;
    three.expect(db, web, FRAMES)?;
    daemon.stop()
}

#[test]
fn arp_goes_on_under_a_partition() -> Result<()> {
    let stage = stage!();
    let three = Three::new(&stage)?;
    let daemon = three.start(&stage, "")?;
    if !forget_neighbours(&three.web)? || !forget_neighbours(&three.db)? {
        entropy_tests::skip!("needs the program ip");
    }
    let address = three.db.at.v4.into();
    assert!(!knows_by_arp(&three.web, address)?, "control");
    let ways = three.web.ways_to(&three.db)?;
    until_true("ARP has an answer", patience(10), || {
        ways[0].send()?;
        knows_by_arp(&three.web, address)
    })?;
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    daemon.stop()
}

/// The way that is to stay open must not break for want of an answer on the other: what asks for and
/// tells Ethernet addresses passes, over IPv6 too.
#[test]
fn a_partition_of_one_direction_leaves_the_other_open_also_for_strangers() -> Result<()> {
    let stage = stage!();
    let three = Three::new(&stage)?;
    let Cast { web, db, .. } = &*three;
    three.others_are_untouched().context("control")?;
    for direction in ["ingress", "egress"] {
        let daemon = three.start(&stage, &format!("direction = '{direction}'"))?;
        let (open, shut) =
            if direction == "ingress" { ((web, db), (db, web)) } else { ((db, web), (web, db)) };
        if !forget_neighbours(web)? || !forget_neighbours(db)? {
            entropy_tests::skip!("needs the program ip");
        }
        let open_ways = open.0.ways_to(open.1)?;
        assert_eq!(pass(&open_ways, FEW)?, [FEW; 2], "{direction}: the open way");
        let shut_ways = shut.0.ways_to(shut.1)?;
        assert_eq!(pass(&shut_ways, FEW)?, [0; 2], "{direction}: the way that is cut");
        three.expect(open.0, open.1, FRAMES).context(direction)?;
        three.expect(shut.0, shut.1, 0).context(direction)?;
        three.others_are_untouched().context(direction)?;
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_db_that_is_replaced_by_one_with_another_address_is_cut_off_too() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, client, network, .. } = &*cast;
    let old = stage.run("store", "app=store", network)?;
    stage.policy("cut", "target = 'app=web'\nmatch = { peer = 'app=store' }\npartition = true")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    assert_eq!(pass(&web.ways_to(&old)?, FEW)?, [0; 2], "the old one");
    // While the old one still has its address, so that the new one gets another.
    let new = stage.run("store2", "app=store", network)?;
    assert_ne!((new.at.v4, new.at.v6), (old.at.v4, old.at.v6));
    old.container.remove()?;
    let now = [format!("{}/32", new.at.v4), format!("{}/128", new.at.v6)];
    until_true("the peer group has the new addresses only", patience(20), || {
        let Some(maps) = daemon.maps() else { return Ok(false) };
        // Beside it there is the one of the host's own addresses.
        let groups = maps.groups.iter().filter(|group| group.description == "app=store");
        let networks = groups.flat_map(|group| &group.networks);
        let networks: Vec<_> = networks.map(ToString::to_string).collect();
        Ok(networks.len() == 2 && now.iter().all(|network| networks.contains(network)))
    })?;
    assert_eq!(pass(&web.ways_to(&new)?, FEW)?, [0; 2]);
    assert_eq!(pass(&new.ways_to(web)?, FEW)?, [0; 2]);
    assert_eq!(pass(&client.ways_to(&new)?, FEW)?, [FEW; 2], "nobody else");
    assert_eq!(pass(&web.ways_to(client)?, FEW)?, [FEW; 2], "nobody else");
    daemon.stop()?;
    assert_eq!(pass(&web.ways_to(&new)?, FEW)?, [FEW; 2], "after the end");
    Ok(())
}

/// A connection that exists hangs, as on a broken cable, and goes on when the cable is mended.
#[test]
fn an_established_connection_hangs_and_goes_on_afterwards() -> Result<()> {
    use std::io::{Read as _, Write as _};

    let stage = stage!();
    let three = Three::new(&stage)?;
    let listener = three.db.container.netns()?.run(|| TcpListener::bind((three.db.at.v4, 0)))??;
    let target = listener.local_addr()?;
    let mut client = three.web.container.netns()?.run(|| TcpStream::connect(target))??;
    let mut server = listener.accept()?.0;
    server.set_read_timeout(Some(Duration::from_millis(300)))?;
    client.write_all(b"before")?;
    server.read_exact(&mut [0; 6])?;
    let daemon = three.start(&stage, "")?;
    client.write_all(b"during")?;
    let silence = server.read(&mut [0; 6]).map_err(|error| error.kind());
    assert_eq!(silence, Err(io::ErrorKind::WouldBlock));
    daemon.stop()?;
    server.set_read_timeout(Some(patience(20)))?;
    server.read_exact(&mut [0; 6]).context("the connection goes on")?;
    Ok(())
}
