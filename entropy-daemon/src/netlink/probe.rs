//! Questions that are answered by trying, and a look over all interfaces at once.

use std::collections::BTreeSet;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle},
};

use super::{
    Netlink, Operation, Result,
    qdisc::{self, HEADER_LEN, TCA_KIND},
    wire,
};

impl Netlink {
    /// Finds out whether the kernel has a queueing discipline, by making it the root of an interface
    /// of the caller's own, where it stays. The kernel may load a module for it.
    ///
    /// # Errors
    ///
    /// What the kernel says, unless that is that it knows no such discipline.
    pub async fn try_root_qdisc(&self, index: u32, kind: &str) -> Result<bool> {
        let what = format!("add qdisc {kind}");
        let op = Operation::on(&what, index);
        let mut message = qdisc::message(index);
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind(kind.into()));
        let request = RouteNetlinkMessage::NewQueueDiscipline(message);
        match self.request(&op, request, NLM_F_CREATE | NLM_F_REPLACE).await {
            Ok(()) => Ok(true),
            // "Specified qdisc kind is unknown" (qdisc_create, net/sched/sch_api.c).
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The interfaces that have a queueing discipline of this kind.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn interfaces_with_qdisc(&self, kind: &str) -> Result<BTreeSet<u32>> {
        let op = Operation::new("list qdiscs");
        let request = RouteNetlinkMessage::GetQueueDiscipline(qdisc::message(0));
        let answers = self.dump(&op, request).await?;
        let is_of_kind = |raw: &wire::Raw| {
            let found = raw.attributes(HEADER_LEN).find(|(number, _)| *number == TCA_KIND);
            found.is_some_and(|(_, name)| wire::as_string(name) == kind)
        };
        Ok(answers.iter().filter(|raw| is_of_kind(raw)).filter_map(|raw| raw.word(4)).collect())
    }
}
