//! A look over all interfaces at once.

use std::collections::BTreeSet;

use netlink_packet_route::RouteNetlinkMessage;

use super::{
    Netlink, Operation, Result,
    qdisc::{self, HEADER_LEN, TCA_KIND},
    wire,
};

impl Netlink {
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
