//! Durations, sizes and bandwidths.

use std::fmt;
use std::str::FromStr;

use super::quantity::Kind;
use crate::policy::problem::Mistake;

macro_rules! measure {
    ($(#[$meta:meta])* $name:ident in $unit:ident, $kind:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            $unit: u64,
        }

        impl $name {
            /// So many of the smallest unit.
            #[must_use]
            pub const fn new($unit: u64) -> Self {
                Self { $unit }
            }

            /// How many of the smallest unit.
            #[must_use]
            pub const fn $unit(self) -> u64 {
                self.$unit
            }

            /// The remedy for a number without unit.
            pub(crate) fn help_for_bare_number(number: &str) -> String {
                $kind.help_for_bare_number(number)
            }
        }

        impl FromStr for $name {
            type Err = Mistake;

            fn from_str(text: &str) -> Result<Self, Mistake> {
                $kind.parse(text).map(Self::new)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$kind.show(self.$unit))
            }
        }
    };
}

const DURATION: Kind = Kind {
    noun: "duration",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ],
    usual: "ms",
    example: "write a duration such as \"80ms\" or \"1.5s\"",
    traps: &[
        ("µs", "write \"us\" for microseconds"),
        ("μs", "write \"us\" for microseconds"),
        ("usec", "write \"us\" for microseconds"),
        ("msec", "write \"ms\" for milliseconds"),
        ("sec", "write \"s\" for seconds"),
        ("secs", "write \"s\" for seconds"),
        ("min", "write \"m\" for minutes"),
    ],
};

measure! {
    /// A duration: `"80ms"`, `"1.5s"`. Units are `ns`, `us`, `ms`, `s`, `m` and `h`.
    Span in nanoseconds, DURATION
}

const SIZE: Kind = Kind {
    noun: "size",
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
    ],
    usual: "B",
    example: "write a size such as \"1500B\" or \"64KiB\"",
    traps: &[
        ("k", "write \"kB\" for 1000 bytes or \"KiB\" for 1024 bytes"),
        ("K", "write \"kB\" for 1000 bytes or \"KiB\" for 1024 bytes"),
        ("kb", "write \"kB\" for 1000 bytes or \"KiB\" for 1024 bytes, which is the kb of tc"),
        ("KB", "write \"kB\" for 1000 bytes or \"KiB\" for 1024 bytes"),
        ("m", "write \"MB\" for 1000000 bytes or \"MiB\" for 1048576 bytes"),
        ("M", "write \"MB\" for 1000000 bytes or \"MiB\" for 1048576 bytes"),
        (
            "mb",
            "write \"MB\" for 1000000 bytes or \"MiB\" for 1048576 bytes, which is the mb of tc",
        ),
    ],
};

measure! {
    /// A number of bytes: `"1500B"`, `"64KiB"`. Units are `B`, `kB`, `MB`, `GB` (powers of 1000) and
    /// `KiB`, `MiB`, `GiB` (powers of 1024).
    Size in bytes, SIZE
}

const BANDWIDTH: Kind = Kind {
    noun: "bandwidth",
    units: &[
        ("bit", 1),
        ("kbit", 1_000),
        ("mbit", 1_000_000),
        ("gbit", 1_000_000_000),
        ("tbit", 1_000_000_000_000),
    ],
    usual: "mbit",
    example: "write a bandwidth such as \"10mbit\" or \"500kbit\"",
    traps: &[
        ("bps", "write bits: the bps of tc are bytes per second, 8bit each"),
        ("kbps", "write bits: the kbps of tc are kilobytes per second, 8kbit each"),
        ("mbps", "write bits: the mbps of tc are megabytes per second, 8mbit each"),
        ("gbps", "write bits: the gbps of tc are gigabytes per second, 8gbit each"),
        ("kb", "write \"kbit\" for kilobits per second"),
        ("mb", "write \"mbit\" for megabits per second"),
        ("gb", "write \"gbit\" for gigabits per second"),
    ],
};

measure! {
    /// Bits per second in the units of `tc`: `"10mbit"`. Units are `bit`, `kbit`, `mbit`, `gbit` and
    /// `tbit`, powers of 1000.
    Bandwidth in bits_per_second, BANDWIDTH
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mistake<T: FromStr<Err = Mistake> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().map_or_else(|m| m.to_string(), |v| panic!("{text} is {v:?}"))
    }

    #[test]
    fn quantities_are_exact_in_all_their_units() {
        for (text, ns) in [
            ("0ms", 0),
            ("1ns", 1),
            ("2.5us", 2_500),
            ("80ms", 80_000_000),
            ("1.5s", 1_500_000_000),
            ("0.000000001s", 1),
            ("1m", 60_000_000_000),
            ("0.5h", 1_800_000_000_000),
            ("007ms", 7_000_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().nanoseconds(), ns, "{text}");
        }
        assert_eq!("64KiB".parse::<Size>().unwrap().bytes(), 65_536);
        assert_eq!("1.5kB".parse::<Size>().unwrap().bytes(), 1_500);
        assert_eq!("2.5mbit".parse::<Bandwidth>().unwrap().bits_per_second(), 2_500_000);
    }

    #[test]
    fn quantities_are_shown_in_their_shortest_form() {
        for (text, shown) in [
            ("1000ms", "1s"),
            ("1500us", "1.5ms"),
            ("90s", "90s"),
            ("120s", "2m"),
            ("0s", "0ns"),
            ("999ns", "999ns"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown);
        }
        for (text, shown) in [("65536B", "64KiB"), ("1500B", "1.5kB"), ("0B", "0B")] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), shown);
        }
        assert_eq!("2500kbit".parse::<Bandwidth>().unwrap().to_string(), "2.5mbit");
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (text, expected) in [
            ("", "the duration is empty: write a duration such as \"80ms\" or \"1.5s\""),
            ("80", "\"80\" has no unit: write \"80ms\""),
            ("80 ms", "\"80 ms\" contains a space: write \"80ms\""),
            ("-80ms", "\"-80ms\" is negative: write \"80ms\""),
            ("+80ms", "\"+80ms\" has a sign: write \"80ms\""),
            ("1,5s", "\"1,5s\" contains a comma: write \"1.5s\""),
            (".5s", "\".5s\" lacks a digit beside the point: write \"0.5s\""),
            ("80MS", "\"80MS\" has an unknown unit: write \"80ms\""),
            ("80msec", "\"80msec\" has an unknown unit: write \"ms\" for milliseconds"),
            ("1d", "\"1d\" has an unknown unit: the units are ns, us, ms, s, m, h"),
            ("1.5ns", "\"1.5ns\" is no whole number of ns: leave out decimals of ns"),
            ("ms", "\"ms\" is no duration: write a duration such as \"80ms\" or \"1.5s\""),
            ("1e3ms", "\"1e3ms\" has an unknown unit: the units are ns, us, ms, s, m, h"),
            (
                "99999999999999999999s",
                "\"99999999999999999999s\" is too large: \
                 write a duration such as \"80ms\" or \"1.5s\"",
            ),
        ] {
            assert_eq!(mistake::<Span>(text), expected);
        }
        assert_eq!(
            mistake::<Bandwidth>("10mbps"),
            "\"10mbps\" has an unknown unit: write bits: the mbps of tc are megabytes per second, \
             8mbit each"
        );
        assert_eq!(
            mistake::<Bandwidth>("10Mbit"),
            "\"10Mbit\" has an unknown unit: write \"10mbit\""
        );
        assert!(mistake::<Size>("64k").contains("KiB"));
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(value in any::<u64>()) {
            prop_assert_eq!(Span::new(value).to_string().parse(), Ok(Span::new(value)));
            prop_assert_eq!(Size::new(value).to_string().parse(), Ok(Size::new(value)));
            let bandwidth = Bandwidth::new(value);
            prop_assert_eq!(bandwidth.to_string().parse(), Ok(bandwidth));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,12}|[0-9.,+-]{0,25}(ms|s|h|KiB|mbit)?") {
            let _ = (text.parse::<Span>(), text.parse::<Size>(), text.parse::<Bandwidth>());
        }
    }
}
