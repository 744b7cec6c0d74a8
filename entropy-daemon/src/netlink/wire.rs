//! Netlink messages as bytes, and a reader of attributes that skips what it does not know.

use std::convert::Infallible;

use netlink_packet_core::{
    NLA_ALIGNTO, NLA_HEADER_SIZE, NLA_TYPE_MASK, NLM_F_ACK_TLVS, NLM_F_CAPPED,
    NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;

/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`: a text in the extended acknowledgement.
const ERROR_ATTRIBUTE_MESSAGE: u16 = 1;

/// Length of `struct nlmsghdr`.
const NETLINK_HEADER_LEN: usize = 16;

/// One routing message: its type and what follows the netlink header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

impl From<RouteNetlinkMessage> for Raw {
    fn from(message: RouteNetlinkMessage) -> Self {
        let mut body = vec![0; message.buffer_len()];
        message.serialize(&mut body);
        Self { kind: message.message_type(), body }
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, body: payload.to_vec() })
    }
}

impl From<Raw> for NetlinkPayload<Raw> {
    fn from(raw: Raw) -> Self {
        Self::InnerMessage(raw)
    }
}

impl Raw {
    /// The native-endian 32-bit word at `offset` of the message's fixed part.
    pub(super) fn word(&self, offset: usize) -> Option<u32> {
        as_u32(self.body.get(offset..offset + 4)?)
    }

    /// The attributes after a fixed part of `header_len` bytes.
    pub(super) fn attributes(&self, header_len: usize) -> impl Iterator<Item = Attribute<'_>> {
        attributes(self.body.get(header_len..).unwrap_or_default())
    }
}

/// One attribute: type without flags, and value.
pub(super) type Attribute<'a> = (u16, &'a [u8]);

/// Walks a list of attributes up to its end or to the first that is damaged.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(as_u16(rest)?);
        let kind = as_u16(rest.get(2..)?)? & NLA_TYPE_MASK;
        let value = rest.get(NLA_HEADER_SIZE..length)?;
        rest = rest.get(length.next_multiple_of(NLA_ALIGNTO)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn as_u16(value: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(value.get(..2)?.try_into().ok()?))
}

pub(super) fn as_u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

pub(super) fn as_u64(value: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?))
}

pub(super) fn as_i32(value: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A string attribute, which the kernel ends with a zero byte.
pub(super) fn as_string(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// The kernel's explanation in an `NLMSG_ERROR`: `request` is what follows the error number, the
/// request's header, then the request itself unless capped, then attributes.
pub(super) fn extended_ack(flags: u16, request: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let quoted = match flags & NLM_F_CAPPED {
        0 => usize::try_from(as_u32(request)?).ok()?.next_multiple_of(4),
        _ => NETLINK_HEADER_LEN,
    };
    attributes(request.get(quoted..)?)
        .find(|(kind, _)| *kind == ERROR_ATTRIBUTE_MESSAGE)
        .map(|(_, text)| as_string(text).trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_stop_at_a_damaged_one() {
        // A good one of two bytes (padded), then one that claims more than there is.
        let bytes = [6, 0, 3, 0x80, 1, 2, 0, 0, 200, 0, 4, 0, 9];
        let seen: Vec<_> = attributes(&bytes).collect();
        assert_eq!(seen, [(3, &[1, 2][..])]);
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0, 1]).count(), 0);
    }

    #[test]
    fn strings_end_at_the_zero_byte() {
        assert_eq!(as_string(b"veth\0\0"), "veth");
        assert_eq!(as_string(b"veth"), "veth");
        assert_eq!(as_string(b""), "");
    }

    #[test]
    fn extended_ack_is_found_behind_a_whole_and_a_capped_request() {
        let text = [9, 0, 1, 0, b'n', b'o', b'!', b'.', 0, 0, 0, 0];
        let mut whole = vec![0; 20];
        whole[..4].copy_from_slice(&18_u32.to_ne_bytes());
        whole.extend_from_slice(&text);
        assert_eq!(extended_ack(NLM_F_ACK_TLVS, &whole).as_deref(), Some("no!"));
        let mut capped = vec![0xff; 16];
        capped.extend_from_slice(&text);
        assert_eq!(extended_ack(NLM_F_ACK_TLVS | NLM_F_CAPPED, &capped).as_deref(), Some("no!"));
        assert_eq!(extended_ack(0, &whole), None);
        assert_eq!(extended_ack(NLM_F_ACK_TLVS, &[1, 0]), None);
        assert_eq!(extended_ack(NLM_F_ACK_TLVS, &[0xff; 16]), None);
    }
}
