//! Partition: nothing gets through, or nothing new.

use crate::{packet::Packet, record};

/// [`Partition::cut`]: nothing is cut off.
const OFF: u32 = 0;
/// Only new connections are.
const NEW: u32 = 2;

record! {
    /// Cuts off what the rule matches.
    pub struct Partition {
        /// 0: nothing, 2: new connections, anything else: everything.
        pub cut: u32,
    }
}

impl Partition {
    /// No partition.
    pub const NONE: Self = Self { cut: OFF };
    /// Everything is cut off.
    pub const CUT: Self = Self { cut: 1 };
    /// New TCP connections are cut off, those that exist go on: segments with SYN and without ACK
    /// vanish, in the direction of the rule. So a rule for one direction only stops the connections
    /// that are opened that way.
    ///
    /// Packets of other protocols pass. UDP and ICMP have no beginning that one packet could show;
    /// to cut them off too, a second policy that matches their protocol does it.
    pub const NEW_CONNECTIONS: Self = Self { cut: NEW };

    /// Whether a packet is cut off.
    #[inline(always)]
    #[must_use]
    pub const fn hits(&self, packet: &Packet) -> bool {
        self.cut != OFF && (self.cut != NEW || packet.opens_connection())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tcp;

    #[test]
    fn only_the_first_segment_of_a_handshake_opens_a_connection() {
        for (protocol, flags, opens) in [
            (6, tcp::SYN, true),
            (6, tcp::SYN | 0xc0, true),
            (6, tcp::SYN | tcp::ACK, false),
            (6, tcp::ACK, false),
            (6, tcp::RST, false),
            (17, 0, false),
            (1, 0, false),
        ] {
            let packet = Packet { protocol, tcp_flags: flags, ..Packet::EXAMPLE };
            assert_eq!(Partition::NEW_CONNECTIONS.hits(&packet), opens, "{protocol} {flags:#x}");
            assert!(Partition::CUT.hits(&packet));
            assert!(!Partition::NONE.hits(&packet));
        }
    }
}
