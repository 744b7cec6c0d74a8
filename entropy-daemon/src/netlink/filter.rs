//! BPF classifiers on the hooks of a clsact qdisc.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcMessage, TcOption},
};

use super::{
    Error, Hook, Netlink, Operation, Result,
    qdisc::{self, HEADER_LEN, TCA_KIND},
    wire,
};

// Attributes of linux/rtnetlink.h and linux/pkt_cls.h.
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

const BPF: &str = "bpf";

/// `ETH_P_ALL` of `linux/if_ether.h`.
const ALL_PROTOCOLS: u16 = 3;

/// What identifies a filter of ours on a hook. The name is what tells it from a foreign one that
/// happens to have the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterId<'a> {
    /// Name of the program as the filter shows it, up to 255 bytes.
    pub name: &'a str,
    /// Place in the order of filters, 1 first. Zero would let the kernel choose.
    pub priority: u16,
    /// Number among the filters of that priority, not zero.
    pub handle: u32,
}

/// What to do about a filter that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// Fail with `EEXIST`.
    Exclusive,
    /// Put the new program in its place in one step, if it is ours; else refuse.
    Replace,
}

/// One filter on a hook, anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// `bpf`, `flower`, `u32`, ...
    pub kind: String,
    /// Place in the order of filters, 1 first.
    pub priority: u16,
    /// Number among the filters of that priority; zero for the head of a list.
    pub handle: u32,
    /// Ethernet protocol that it looks at, 3 (`ETH_P_ALL`) for all.
    pub protocol: u16,
    /// Name of the program, for `bpf`.
    pub name: Option<String>,
    /// Id of the program, for `bpf`.
    pub prog_id: Option<u32>,
    /// Filter chain, 0 unless somebody uses several.
    pub chain: u32,
}

impl Filter {
    fn has_place_of(&self, id: &FilterId<'_>) -> bool {
        (self.chain, self.priority, self.handle) == (0, id.priority, id.handle)
    }

    fn is_named(&self, id: &FilterId<'_>) -> bool {
        self.kind == BPF && self.name.as_deref() == Some(id.name)
    }

    fn foreign(&self, op: &Operation<'_>, id: &FilterId<'_>) -> Error {
        let name = self.name.as_deref().unwrap_or("without a name");
        Error::Foreign {
            operation: op.describe(),
            object: format!("filter {} at priority {}", self.handle, self.priority),
            reason: format!("it is {} {name}, not {BPF} {}", self.kind, id.name),
        }
    }
}

impl Netlink {
    /// Lists the filters of one hook; none if there is no clsact qdisc or no interface.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn filters(&self, index: u32, hook: Hook) -> Result<Vec<Filter>> {
        let op = Operation::on("list filters", index);
        let mut request = qdisc::message(index);
        request.header.parent = hook.parent();
        let answers = self.dump(&op, RouteNetlinkMessage::GetTrafficFilter(request)).await?;
        answers
            .iter()
            .map(|raw| parse(raw).ok_or_else(|| op.invalid("truncated filter message")))
            .collect()
    }

    /// Attaches a classifier program in direct-action mode for all protocols.
    ///
    /// # Errors
    ///
    /// [`Error::LinkGone`] if the interface does not exist, [`Error::Foreign`] if somebody else's
    /// filter has the place, `EEXIST` for an existing one with [`AttachMode::Exclusive`], `EINVAL`
    /// without clsact qdisc or for a descriptor that is no classifier program.
    pub async fn attach_filter(
        &self,
        index: u32,
        hook: Hook,
        program: BorrowedFd<'_>,
        id: FilterId<'_>,
        mode: AttachMode,
    ) -> Result<()> {
        let what = format!("attach filter {} to {}", id.name, hook.as_str());
        let op = Operation::on(&what, index);
        check(&op, &id)?;
        if mode == AttachMode::Replace {
            let filters = self.filters(index, hook).await?;
            if let Some(other) = filters.iter().find(|f| f.has_place_of(&id) && !f.is_named(&id)) {
                return Err(other.foreign(&op, &id));
            }
        }
        let program = program.try_clone_to_owned().map_err(|e| op.failed(e))?;
        let request = attach_request(index, hook, &program, &id);
        let flags = match mode {
            AttachMode::Exclusive => NLM_F_CREATE | NLM_F_EXCL,
            AttachMode::Replace => NLM_F_CREATE,
        };
        self.send_with_program(what, index, request, flags, program).await
    }

    /// A task of its own keeps the descriptor open until the kernel has seen it, even if the caller
    /// stops waiting: its number must not mean another program by then.
    async fn send_with_program(
        &self,
        what: String,
        index: u32,
        request: TcMessage,
        flags: u16,
        program: OwnedFd,
    ) -> Result<()> {
        let netlink = self.clone();
        let sending = tokio::spawn(async move {
            let message = RouteNetlinkMessage::NewTrafficFilter(request);
            let result = netlink.request(&Operation::on(&what, index), message, flags).await;
            drop(program);
            result
        });
        sending.await.map_err(|e| Error::io("attach filter", std::io::Error::other(e)))?
    }

    /// Deletes exactly the filter `id`, after a look at its name; returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if the place belongs to somebody else, [`Error::LinkGone`] if the
    /// interface vanishes meanwhile, else what the kernel says.
    pub async fn delete_filter(&self, index: u32, hook: Hook, id: FilterId<'_>) -> Result<bool> {
        let what = format!("delete filter {} from {}", id.name, hook.as_str());
        let op = Operation::on(&what, index);
        // With a zero in it, the request would mean all filters of a priority or of the hook.
        check(&op, &id)?;
        let filters = self.filters(index, hook).await?;
        let Some(found) = filters.iter().find(|filter| filter.has_place_of(&id)) else {
            return Ok(false);
        };
        if !found.is_named(&id) {
            return Err(found.foreign(&op, &id));
        }
        let request = request(index, hook, &id, found.protocol);
        match self.request(&op, RouteNetlinkMessage::DelTrafficFilter(request), 0).await {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn check(op: &Operation<'_>, id: &FilterId<'_>) -> Result<()> {
    if id.priority == 0 || id.handle == 0 || id.name.is_empty() || id.name.len() > 255 {
        return Err(op.kernel(libc::EINVAL, Some("incomplete filter identity".into())));
    }
    Ok(())
}

fn request(index: u32, hook: Hook, id: &FilterId<'_>, protocol: u16) -> TcMessage {
    let mut message = qdisc::message(index);
    message.header.handle = id.handle.into();
    message.header.parent = hook.parent();
    // Priority above, protocol in network byte order below (TC_H_MAKE in iproute2).
    message.header.info = u32::from(id.priority) << 16 | u32::from(protocol.to_be());
    message.attributes.push(TcAttribute::Kind(BPF.into()));
    message
}

fn attach_request(index: u32, hook: Hook, program: &OwnedFd, id: &FilterId<'_>) -> TcMessage {
    let mut message = request(index, hook, id, ALL_PROTOCOLS);
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
        TcOption::Bpf(TcFilterBpfOption::ProgName(id.name.into())),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    message
}

fn parse(raw: &wire::Raw) -> Option<Filter> {
    let info = raw.word(16)?;
    let [upper, lower] = [info >> 16, info & 0xffff].map(|half| u16::try_from(half).ok());
    let mut filter = Filter {
        kind: String::new(),
        priority: upper?,
        handle: raw.word(8)?,
        protocol: u16::from_be(lower?),
        name: None,
        prog_id: None,
        chain: 0,
    };
    for (kind, value) in raw.attributes(HEADER_LEN) {
        match kind {
            TCA_KIND => filter.kind = wire::as_string(value),
            TCA_CHAIN => filter.chain = wire::as_u32(value)?,
            TCA_OPTIONS if filter.kind == BPF => {
                for (kind, value) in wire::attributes(value) {
                    match kind {
                        TCA_BPF_NAME => filter.name = Some(wire::as_string(value)),
                        TCA_BPF_ID => filter.prog_id = wire::as_u32(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer about a filter of `kind`, with an attribute of the future in it.
    fn answer(kind: &str, options: &[(u16, &[u8])]) -> wire::Raw {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let words = [0, 4, 0x77, 0xffff_fff3, 50_000 << 16 | u32::from(3_u16.to_be())];
        let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        body.extend(attribute(TCA_KIND, format!("{kind}\0").as_bytes()));
        body.extend(attribute(4711, &[1, 2, 3]));
        let options = options.iter().flat_map(|(kind, value)| attribute(*kind, value));
        body.extend(attribute(TCA_OPTIONS, &options.collect::<Vec<_>>()));
        wire::Raw { kind: 44, body }
    }

    #[test]
    fn options_of_another_kind_are_not_taken_for_a_name() {
        let id = FilterId { name: "ours", priority: 50_000, handle: 0x77 };
        let bpf = parse(&answer("bpf", &[(TCA_BPF_NAME, b"ours\0")])).unwrap();
        assert!(bpf.has_place_of(&id) && bpf.is_named(&id), "{bpf:?}");
        assert_eq!((bpf.priority, bpf.protocol, bpf.chain), (50_000, ALL_PROTOCOLS, 0));
        let flower = parse(&answer("flower", &[(TCA_BPF_NAME, b"ours\0")])).unwrap();
        assert!(flower.has_place_of(&id) && !flower.is_named(&id), "{flower:?}");
        let other_chain = Filter { chain: 1, ..bpf };
        assert!(!other_chain.has_place_of(&id));
    }

    #[test]
    fn truncated_answer_is_no_filter() {
        let mut raw = answer("bpf", &[]);
        raw.body.truncate(19);
        assert_eq!(parse(&raw), None);
    }
}
