//! The addresses of this host.

use std::{collections::BTreeSet, net::IpAddr};

use netlink_packet_route::{RouteNetlinkMessage, address::AddressMessage};

use super::{Netlink, Operation, Result, wire::Raw};

/// Length of `struct ifaddrmsg`.
const HEADER_LEN: usize = 8;

// Attributes of linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

impl Netlink {
    /// Lists the addresses of all interfaces, without those of the loopback network, which nobody
    /// else can reach.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn addresses(&self) -> Result<BTreeSet<IpAddr>> {
        let op = Operation::new("list addresses");
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump(&op, request).await?;
        Ok(answers.iter().filter_map(parse).filter(|address| !address.is_loopback()).collect())
    }
}

/// The address of an `RTM_NEWADDR`. On a point-to-point interface `IFA_ADDRESS` is the other end's.
fn parse(raw: &Raw) -> Option<IpAddr> {
    let mut address = None;
    for (kind, value) in raw.attributes(HEADER_LEN) {
        let read = || {
            <[u8; 4]>::try_from(value)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
                .ok()
        };
        match kind {
            IFA_LOCAL => return read(),
            IFA_ADDRESS => address = read(),
            _ => {}
        }
    }
    address
}
