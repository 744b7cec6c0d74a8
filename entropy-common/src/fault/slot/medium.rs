//! Slots in the units that people use.

use crate::fault::{
    delay::{Delay, MAX_DELAY_NS},
    slot::{MAX_BYTES, MAX_PACKETS, Slot},
};

/// What is wrong with slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// No time between them.
    Nothing,
    /// More than 60 s, between them or in the queue.
    TooLong,
    /// A limit of more than [`MAX_PACKETS`].
    TooManyPackets,
    /// A limit of more than [`MAX_BYTES`].
    TooManyBytes,
}

impl core::fmt::Display for SlotError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Nothing => f.write_str("there is no time between the slots"),
            Self::TooLong => f.write_str("the slots or their queue take longer than 60 s"),
            Self::TooManyPackets => write!(f, "a slot has at most {MAX_PACKETS} packets"),
            Self::TooManyBytes => write!(f, "a slot has at most {MAX_BYTES} bytes"),
        }
    }
}

impl core::error::Error for SlotError {}

impl Slot {
    /// Slots with a time between them, a longest wait in nanoseconds, and limits for each of them in
    /// packets and bytes, 0 for none.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn new(every: Delay, queue_ns: u64, packets: u32, bytes: u64) -> Result<Self, SlotError> {
        if !every.acts() {
            return Err(SlotError::Nothing);
        }
        if every.base_ns > MAX_DELAY_NS || queue_ns > MAX_DELAY_NS {
            return Err(SlotError::TooLong);
        }
        if packets > MAX_PACKETS {
            return Err(SlotError::TooManyPackets);
        }
        let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_BYTES);
        Ok(Self { every, queue_ns, packets, bytes: bytes.ok_or(SlotError::TooManyBytes)? })
    }

    /// The time from a slot to the next one as netem has it: uniform from `min_ns` to `max_ns`. `None`
    /// above [`MAX_DELAY_NS`], and for a `max_ns` below `min_ns`.
    #[must_use]
    pub const fn between(min_ns: u64, max_ns: u64) -> Option<Delay> {
        if max_ns < min_ns || max_ns > MAX_DELAY_NS {
            return None;
        }
        let half = (max_ns - min_ns) / 2;
        if half == 0 { Some(Delay::constant(min_ns)) } else { Delay::uniform(min_ns + half, half) }
    }
}
