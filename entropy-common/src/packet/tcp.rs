//! The TCP header, as far as decisions need it (RFC 9293 section 3.1).

/// Shortest header in bytes.
pub(super) const LENGTH: u32 = 20;
/// Offset of the byte whose upper half is the header's length in words, and of the flags behind it.
pub(super) const OFFSET_AND_FLAGS: u32 = 12;
/// Offset of the checksum.
pub(super) const CHECKSUM: u32 = 16;

/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// Synchronise sequence numbers: the connection is being set up.
pub const SYN: u8 = 0x02;
/// Reset the connection.
pub const RST: u8 = 0x04;
/// Push what there is to the application.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;
/// The urgent pointer counts.
pub const URG: u8 = 0x20;
/// Congestion was experienced (RFC 3168).
pub const ECE: u8 = 0x40;
/// The congestion window was reduced (RFC 3168).
pub const CWR: u8 = 0x80;
