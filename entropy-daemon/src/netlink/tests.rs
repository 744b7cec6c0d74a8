//! Against the running kernel, in namespaces of their own.

use std::{
    fs,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::symlink,
    },
    path::Path,
    time::{Duration, Instant},
};

use futures_util::stream;
use netlink_packet_core::{ErrorMessage, NetlinkHeader};
use netlink_packet_route::link::InfoKind;

use super::{
    testing::{OtherNamespace, gettid, in_namespace, load_passing_classifier},
    *,
};

/// Deleting a device takes the kernel seconds when many namespaces come and go.
const PATIENCE: Duration = Duration::from_secs(60);

const NO_SUCH_INDEX: u32 = 0x7fff_fff0;
const OURS: FilterId<'_> = FilterId { name: "entropy_test", priority: 50_000, handle: 0x77 };

#[test]
fn veth_into_another_namespace_is_found_by_its_id() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let other = OtherNamespace::new();
        let (path, pid) = (other.path(), NetnsRef::Pid(other.tid));
        assert_eq!(netlink.netns_id(NetnsRef::Path(&path)).await.unwrap(), NetnsId::Unassigned);
        assert_eq!(netlink.netns_id(pid).await.unwrap(), NetnsId::Unassigned);

        let index = netlink.add_veth("host0", "eth0", Some((other.file.as_raw_fd(), 77))).await;
        let link = netlink.link(index).await.unwrap().unwrap();
        assert_eq!((link.name.as_str(), link.kind.as_deref()), ("host0", Some("veth")));
        assert_eq!((link.peer_index, link.master, link.up), (Some(77), None, false));
        let id = NetnsId::Id(link.peer_netns.unwrap());
        assert_eq!(netlink.netns_id(NetnsRef::Path(&path)).await.unwrap(), id);
        assert_eq!(netlink.netns_id(pid).await.unwrap(), id);
        assert!(netlink.links().await.unwrap().contains(&link));
    });
}

#[test]
fn own_namespace_is_told_from_others() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let own = Path::new("/proc/thread-self/ns/net");
        let same = NetnsId::SameNamespace;
        assert_eq!(netlink.netns_id(NetnsRef::Path(own)).await.unwrap(), same);
        assert_eq!(netlink.netns_id(NetnsRef::Pid(gettid())).await.unwrap(), same);
        // The main thread of the test stayed where it was.
        let init = NetnsRef::Path(Path::new("/proc/self/ns/net"));
        assert_eq!(netlink.netns_id(init).await.unwrap(), NetnsId::Unassigned);
    });
}

#[test]
fn what_is_no_namespace_any_more_is_gone() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("unmounted");
        fs::write(&file, "").unwrap();
        let dangling = directory.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();
        let missing = directory.path().join("missing");
        for path in [&file, &dangling, &missing] {
            let error = netlink.netns_id(NetnsRef::Path(path)).await.unwrap_err();
            assert!(matches!(error, Error::NetnsGone { .. }), "{path:?}: {error:?}");
        }
        for pid in [i32::MAX, 0, -1] {
            let error = netlink.netns_id(NetnsRef::Pid(pid)).await.unwrap_err();
            assert!(error.is_gone(), "{pid}: {error:?}");
        }
    });
}

#[test]
fn a_connection_that_has_ended_is_opened_again() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let copy = netlink.clone();
        let (connection, dead, _) =
            proto::new_connection_with_socket::<Raw, TokioSocket>(NETLINK_ROUTE).unwrap();
        drop(connection);
        *netlink.handle.lock().unwrap() = dead;
        for netlink in [copy, netlink] {
            assert!(netlink.links().await.unwrap().iter().any(|link| link.name == "lo"));
        }
    });
}

#[test]
fn many_links_are_all_listed() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        for number in 0..100 {
            netlink.add_link(&format!("d{number}"), InfoKind::Bridge).await;
        }
        let links = netlink.links().await.unwrap();
        let listed = links.iter().filter(|link| link.kind.as_deref() == Some("bridge")).count();
        assert_eq!(listed, 100);
        assert!(links.iter().any(|link| link.name == "lo" && link.kind.is_none()));
    });
}

#[test]
fn monitor_tells_leaving_a_bridge_from_vanishing() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let mut monitor = netlink.monitor().unwrap();
        let bridge = netlink.add_link("br0", InfoKind::Bridge).await;
        let index = netlink.add_veth("port0", "peer0", None).await;
        netlink.set_master(index, bridge).await;
        netlink.set_master(index, 0).await;
        netlink.delete_link(index).await.unwrap();
        netlink.delete_link(bridge).await.unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&(bridge, true)) {
            let event = tokio::time::timeout(PATIENCE, monitor.next()).await;
            match event.unwrap() {
                LinkEvent::Changed { index, removed } => seen.push((index, removed)),
                LinkEvent::Addresses => {}
                LinkEvent::Overrun => panic!("overrun after {seen:?}"),
            }
        }
        let removals = seen.iter().filter(|change| **change == (index, true)).count();
        assert_eq!(removals, 1, "{seen:?}");
        let removed_at = seen.iter().position(|change| *change == (index, true)).unwrap();
        let left_at = seen.iter().rposition(|change| *change == (index, false)).unwrap();
        assert!(left_at < removed_at, "{seen:?}");
        assert_eq!(netlink.link(index).await.unwrap(), None);
    });
}

#[test]
fn monitor_reports_lost_notifications_and_goes_on() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let index = netlink.add_link("d0", InfoKind::Bridge).await;
        let mut monitor = LinkMonitor::new(4096).unwrap();
        // Blocks the thread, so that nobody reads while the notifications pile up.
        toggle_blocking("d0", 200);
        let overrun = async { while monitor.next().await != LinkEvent::Overrun {} };
        tokio::time::timeout(PATIENCE, overrun).await.unwrap();
        netlink.delete_link(index).await.unwrap();
        let removed = LinkEvent::Changed { index, removed: true };
        let gone = async { while monitor.next().await != removed {} };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    });
}

/// Sets an interface up and down again and again with ioctls.
fn toggle_blocking(name: &str, times: usize) {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: `ifreq` is plain data for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    for time in 0..times {
        let up = if time % 2 == 0 { libc::IFF_UP } else { 0 };
        request.ifr_ifru.ifru_flags = up.try_into().unwrap();
        // SAFETY: the request is valid for the call and names a device by a terminated string.
        let result =
            unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
}

#[test]
fn line_is_made_once_and_never_speaks() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        // A host that forwards IPv6 has most to say on a new device.
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        fs::write("/proc/sys/net/ipv6/conf/default/forwarding", "1").unwrap();
        let line = netlink.ensure_line("entropy0", "entropy1").await.unwrap();
        let pair = netlink.ensure_veth_pair("entropy2", "entropy3").await.unwrap();
        assert_eq!(pair.hook, Hook::Ingress);
        for passage in [line, pair] {
            for index in [passage.entrance, passage.exit] {
                let link = netlink.link(index).await.unwrap().unwrap();
                assert_eq!((link.mtu, link.up, link.master), (65535, true, None));
            }
            let entrance = netlink.link(passage.entrance).await.unwrap().unwrap();
            assert_eq!((entrance.peer_index, entrance.peer_netns), (Some(passage.exit), None));
            let of_pair = entrance.is("veth");
            assert_eq!(of_pair, passage.hook == Hook::Ingress, "{entrance:?}");
        }
        assert_eq!(netlink.ensure_line("entropy0", "entropy1").await.unwrap(), line);
        assert_eq!(netlink.ensure_veth_pair("entropy2", "entropy3").await.unwrap(), pair);

        // An ordinary pair made after it shows that there was time to speak, and reason.
        let talkers = netlink.add_veth("talker0", "talker1", None).await;
        netlink.set_up(talkers).await;
        netlink.set_up(netlink.index_of("talker1").await).await;
        let deadline = Instant::now() + PATIENCE;
        while sent_packets("talker0") < 3 || sent_packets("talker1") < 3 {
            assert!(Instant::now() < deadline, "the ordinary pair sent nothing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for number in 0..4 {
            assert_eq!(sent_packets(&format!("entropy{number}")), 0, "entropy{number}");
        }
        let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
        assert!(addresses.contains("talker0") && !addresses.contains("entropy"), "{addresses}");
    });
}

fn sent_packets(name: &str) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:")));
    // Eight columns about receiving, then bytes and packets sent.
    line.unwrap().split_whitespace().nth(9).unwrap().parse().unwrap()
}

#[test]
fn line_left_half_made_is_mended() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let left = netlink.add_veth("entropy0", "entropy1", None).await;
        // Also where the kernel could make it of something better.
        let line = netlink.ensure_line("entropy0", "entropy1").await.unwrap();
        assert_eq!((line.entrance, line.hook), (left, Hook::Ingress));
        for index in [line.entrance, line.exit] {
            let link = netlink.link(index).await.unwrap().unwrap();
            assert_eq!((link.mtu, link.up), (65535, true));
        }
        netlink.delete_link(line.exit).await.unwrap();
        assert_eq!(netlink.link(line.entrance).await.unwrap(), None);
        let error = netlink.delete_link(line.exit).await.unwrap_err();
        assert!(matches!(error, Error::LinkGone { .. }), "{error:?}");
    });
}

#[test]
fn foreign_device_in_place_of_the_line_is_refused_and_kept() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let occupied = netlink.add_link("a0", InfoKind::Bridge).await;
        netlink.add_veth("b0", "other", None).await;
        netlink.add_veth("unrelated", "c1", None).await;
        let bridge = netlink.add_link("br0", InfoKind::Bridge).await;
        let port = netlink.add_veth("d0", "d1", None).await;
        netlink.set_master(port, bridge).await;
        let other = OtherNamespace::new();
        netlink.add_veth("e0", "e1", Some((other.file.as_raw_fd(), occupied))).await;
        netlink.add_link("e1", InfoKind::Bridge).await;
        let before = netlink.links().await.unwrap();
        for (name0, name1, reason) in [
            ("a0", "a1", "not a veth"),
            ("b0", "b1", "there is no b1"),
            ("c0", "c1", "there is no c0"),
            ("b0", "c1", "other end is not c1"),
            ("d0", "d1", "belongs to interface"),
            ("e0", "a0", "other end is not a0"),
        ] {
            for result in [
                netlink.ensure_veth_pair(name0, name1).await,
                netlink.ensure_line(name0, name1).await,
            ] {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Foreign { .. }), "{name0}: {error:?}");
                assert!(error.to_string().contains(reason), "{error}");
            }
        }
        for (name0, name1) in [("", "x"), ("x", "x"), ("a_name_of_16_byt", "x")] {
            assert!(netlink.ensure_veth_pair(name0, name1).await.is_err());
            assert!(netlink.ensure_line(name0, name1).await.is_err());
        }
        assert_eq!(netlink.links().await.unwrap(), before);
    });
}

#[test]
fn clsact_is_added_once_and_deleted() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let index = netlink.add_link("d0", InfoKind::Bridge).await;
        let bystander = netlink.add_link("d1", InfoKind::Bridge).await;
        netlink.add_clsact(bystander).await.unwrap();
        assert!(!netlink.has_clsact(index).await.unwrap());
        assert_eq!(netlink.add_clsact(index).await.unwrap(), ClsactAdd::Created);
        assert_eq!(netlink.add_clsact(index).await.unwrap(), ClsactAdd::Existed);
        let qdiscs = netlink.qdiscs(index).await.unwrap();
        let clsact = Qdisc { kind: "clsact".into(), handle: 0xffff_0000, parent: 0xffff_fff1 };
        assert!(qdiscs.contains(&clsact), "{qdiscs:?}");
        assert!(netlink.delete_clsact(index).await.unwrap());
        assert!(!netlink.delete_clsact(index).await.unwrap());
        assert!(netlink.has_clsact(bystander).await.unwrap());
    });
}

#[test]
fn clsact_is_blocked_by_an_ingress_qdisc_that_stays() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let index = netlink.add_link("d0", InfoKind::Bridge).await;
        netlink.add_ingress_qdisc(index).await;
        assert_eq!(netlink.add_clsact(index).await.unwrap(), ClsactAdd::BlockedByIngress);
        assert!(!netlink.has_clsact(index).await.unwrap());
        assert!(!netlink.delete_clsact(index).await.unwrap());
        let qdiscs = netlink.qdiscs(index).await.unwrap();
        assert!(qdiscs.iter().any(|qdisc| qdisc.kind == "ingress"), "{qdiscs:?}");
    });
}

#[test]
fn vanished_interface_is_its_own_error() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let program = load_passing_classifier();
        let attach = netlink.attach_filter(
            NO_SUCH_INDEX,
            Hook::Ingress,
            program.as_fd(),
            OURS,
            AttachMode::Exclusive,
        );
        for error in [
            netlink.add_clsact(NO_SUCH_INDEX).await.unwrap_err(),
            attach.await.unwrap_err(),
            netlink.delete_link(NO_SUCH_INDEX).await.unwrap_err(),
            netlink.delete_link(0).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::LinkGone { .. }), "{error:?}");
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        }
        assert!(!netlink.delete_clsact(NO_SUCH_INDEX).await.unwrap());
        assert!(!netlink.delete_filter(NO_SUCH_INDEX, Hook::Egress, OURS).await.unwrap());
        assert_eq!(netlink.filters(NO_SUCH_INDEX, Hook::Egress).await.unwrap(), []);
    });
}

#[test]
fn filter_is_attached_replaced_and_deleted_beside_a_foreign_one() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let (one, two) = (load_passing_classifier(), load_passing_classifier());
        let index = netlink.add_link("d0", InfoKind::Bridge).await;
        netlink.add_clsact(index).await.unwrap();
        let (hook, exclusive) = (Hook::Egress, AttachMode::Exclusive);
        let theirs = FilterId { name: "theirs", priority: OURS.priority, handle: 1 };
        netlink.attach_filter(index, hook, one.as_fd(), theirs, exclusive).await.unwrap();
        let foreign = netlink.filters(index, hook).await.unwrap();
        assert!(foreign.iter().any(|f| f.name.as_deref() == Some("theirs")), "{foreign:?}");

        let attach = async |program: &std::os::fd::OwnedFd, mode| {
            netlink.attach_filter(index, Hook::Egress, program.as_fd(), OURS, mode).await
        };
        attach(&one, AttachMode::Exclusive).await.unwrap();
        let first = our_filter(&netlink, index).await.unwrap();
        assert_eq!((first.protocol, first.chain, first.handle), (3, 0, 0x77));
        let error = attach(&two, AttachMode::Exclusive).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        assert_eq!(our_filter(&netlink, index).await.unwrap(), first);
        attach(&two, AttachMode::Replace).await.unwrap();
        let second = our_filter(&netlink, index).await.unwrap();
        assert!(first.prog_id.is_some() && first.prog_id != second.prog_id, "{second:?}");
        assert_eq!(netlink.filters(index, Hook::Ingress).await.unwrap(), []);

        assert!(netlink.delete_filter(index, Hook::Egress, OURS).await.unwrap());
        assert!(!netlink.delete_filter(index, Hook::Egress, OURS).await.unwrap());
        assert_eq!(netlink.filters(index, Hook::Egress).await.unwrap(), foreign);
    });
}

async fn our_filter(netlink: &Netlink, index: u32) -> Option<Filter> {
    let filters = netlink.filters(index, Hook::Egress).await.unwrap();
    let mut ours = filters.into_iter().filter(|f| f.name.as_deref() == Some(OURS.name));
    let found = ours.next();
    assert_eq!(ours.next(), None);
    found
}

#[test]
fn filter_of_another_name_or_kind_in_our_place_stays() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let program = load_passing_classifier();
        let index = netlink.add_link("d0", InfoKind::Bridge).await;
        netlink.add_clsact(index).await.unwrap();
        let theirs = FilterId { name: "theirs", ..OURS };
        let (hook, exclusive) = (Hook::Ingress, AttachMode::Exclusive);
        netlink.attach_filter(index, hook, program.as_fd(), theirs, exclusive).await.unwrap();
        let before = netlink.filters(index, hook).await.unwrap();
        let replace = AttachMode::Replace;
        for error in [
            netlink.attach_filter(index, hook, program.as_fd(), OURS, replace).await.unwrap_err(),
            netlink.delete_filter(index, hook, OURS).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
            assert!(error.to_string().contains("theirs"), "{error}");
        }
        // Numbers that would mean more than one filter are not taken.
        for id in [FilterId { priority: 0, ..theirs }, FilterId { handle: 0, ..theirs }] {
            assert!(netlink.delete_filter(index, hook, id).await.is_err());
        }
        assert_eq!(netlink.filters(index, hook).await.unwrap(), before);
    });
}

#[test]
fn filter_without_clsact_fails_with_the_kernels_words() {
    in_namespace(async || {
        let netlink = Netlink::new().unwrap();
        let program = load_passing_classifier();
        let index = netlink.add_link("d0", InfoKind::Bridge).await;
        let mode = AttachMode::Exclusive;
        let attach = netlink.attach_filter(index, Hook::Ingress, program.as_fd(), OURS, mode);
        let error = attach.await.unwrap_err();
        let Error::Kernel { operation, message, source } = &error else { panic!("{error:?}") };
        assert_eq!(source.raw_os_error(), Some(libc::EINVAL));
        assert!(operation.contains("entropy_test") && operation.contains("ingress"), "{error}");
        assert!(message.as_ref().is_some_and(|m| m.contains("Qdisc")), "{error}");
    });
}

#[tokio::test]
async fn interrupted_dump_is_repeated_and_given_up_in_the_end() {
    let op = Operation::new("list");
    let one = Raw { kind: 16, body: vec![1] };
    let mut left = 3;
    let mut dump = || {
        left -= 1;
        let answers = Answers { messages: vec![one.clone()], interrupted: left > 0 };
        std::future::ready(Ok(answers))
    };
    assert_eq!(until_consistent(&op, &mut dump).await.unwrap(), vec![one.clone()]);
    assert_eq!(left, 0);
    let mut endless = || std::future::ready(Ok(Answers { messages: vec![], interrupted: true }));
    let error = until_consistent(&op, &mut endless).await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
}

#[tokio::test]
async fn answers_end_with_acknowledgement_end_of_dump_or_error() {
    let op = Operation::on("test", 5);
    let raw = Raw { kind: 16, body: vec![] };
    let message = |flags, payload| {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        NetlinkMessage::new(header, payload)
    };
    let inner = || NetlinkPayload::InnerMessage(raw.clone());
    let error = |errno: i32| {
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(-errno);
        NetlinkPayload::Error(error)
    };

    let whole = stream::iter([message(0, inner()), message(0, error(0))]);
    let answers = collect(&op, whole).await.unwrap();
    assert_eq!((answers.messages.len(), answers.interrupted), (1, false));
    let changed = stream::iter([message(NLM_F_DUMP_INTR, inner()), message(0, error(0))]);
    assert!(collect(&op, changed).await.unwrap().interrupted);
    let gone = collect(&op, stream::iter([message(0, error(libc::ENODEV))])).await.unwrap_err();
    assert!(matches!(gone, Error::LinkGone { index: 5, .. }));
    let refused = collect(&op, stream::iter([message(0, error(libc::EPERM))])).await.unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    let cut = collect(&op, stream::iter([message(0, inner())])).await.unwrap_err();
    assert!(matches!(cut, Error::Io { .. }));
}
