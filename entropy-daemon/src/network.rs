//! Networks of a peer group.

use std::{fmt, str::FromStr};

use ipnet::{AddrParseError, IpNet};

/// A network that belongs to a peer group, or one that does not though a wider one does: of all that
/// hold an address, the longest prefix decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// Without host bits; an address is a network of its full length.
    pub net: IpNet,
    /// Whether it is left out.
    pub excluded: bool,
}

impl From<IpNet> for Network {
    fn from(net: IpNet) -> Self {
        Self { net: net.trunc(), excluded: false }
    }
}

impl FromStr for Network {
    type Err = AddrParseError;

    /// `10.0.0.0/8`, or `!10.1.0.0/16` for one that is left out.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let (excluded, net) = text.strip_prefix('!').map_or((false, text), |net| (true, net));
        Ok(Self { excluded, ..Self::from(net.parse::<IpNet>()?) })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.excluded { "!" } else { "" }, self.net)
    }
}
