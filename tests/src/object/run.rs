//! The programs run on given bytes (`BPF_PROG_TEST_RUN`).

use anyhow::{Context as _, Result, bail};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

use super::LOOPBACK;

/// What a program is told of a packet besides its bytes (`struct __sk_buff`,
/// include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skb {
    /// The interface that the program runs on; must exist in the network namespace of the caller.
    pub ifindex: u32,
    /// The interface that the packet came in through; 0 if this host made it.
    pub ingress_ifindex: u32,
}

impl Skb {
    /// A packet of this host's own on the loopback device.
    pub const LOCAL: Self = Self { ifindex: LOOPBACK, ingress_ifindex: 0 };
    /// A packet on the loopback device that came in through some other interface.
    pub const FORWARDED: Self = Self { ifindex: LOOPBACK, ingress_ifindex: 7 };

    /// The fields up to and with `ifindex`. The kernel takes the missing rest for zeros, and refuses
    /// other fields than `mark`, `priority` and these two that are not zero
    /// (`convert___skb_to_skb`, net/bpf/test_run.c).
    fn bytes(self) -> [u8; 44] {
        let mut bytes = [0; 44];
        bytes[36..40].copy_from_slice(&self.ingress_ifindex.to_ne_bytes());
        bytes[40..44].copy_from_slice(&self.ifindex.to_ne_bytes());
        bytes
    }
}

/// A loaded program.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a>(&'a SchedClassifier);

impl<'a> Program<'a> {
    pub(super) const fn new(classifier: &'a SchedClassifier) -> Self {
        Self(classifier)
    }

    /// Runs the program on a frame and returns its return code (`TC_ACT_*`).
    ///
    /// # Errors
    /// `None` inside when the kernel refuses to make a packet of these bytes (see
    /// [`longest_test_frame`]); else the kernel's error.
    pub fn try_run(&self, frame: &[u8], skb: Skb) -> Result<Option<i32>> {
        match self.repeat(frame, skb, 1) {
            Ok(code) => Ok(Some(code)),
            Err(error) if is_invalid(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs the program on a frame and returns its return code and what became of the frame; `None` as
    /// for [`Program::try_run`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn transform(&self, frame: &[u8], skb: Skb) -> Result<Option<(i32, Vec<u8>)>> {
        let context = skb.bytes();
        let mut after = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        match self.0.test_run(options).map_err(anyhow::Error::from) {
            Ok(result) => {
                after.truncate(result.data_size_out as usize);
                Ok(Some((result.return_value as i32, after)))
            }
            Err(error) if is_invalid(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs the program on the same frame `times` times and returns the last return code.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn repeat(&self, frame: &[u8], skb: Skb, times: u32) -> Result<i32> {
        let context = skb.bytes();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: times,
            ..TestRunOptions::new()
        };
        Ok(self.0.test_run(options)?.return_value as i32)
    }

    /// Number of instructions that the verifier looked at.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn verified_instructions(&self) -> Result<u32> {
        self.0.info()?.verified_instruction_count().context("the kernel does not count them")
    }

    /// The program itself.
    #[must_use]
    pub const fn classifier(&self) -> &SchedClassifier {
        self.0
    }
}

fn is_invalid(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.raw_os_error() == Some(libc::EINVAL))
}

/// The longest frame that this kernel takes for a test run: a page less head and tail room for most
/// (`bpf_test_init`, net/bpf/test_run.c). What is longer has to go over a real wire.
///
/// # Errors
/// When it takes none at all.
pub fn longest_test_frame(program: Program<'_>) -> Result<usize> {
    let mut frame = vec![0; 10_000];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let (mut good, mut bad) = (14, frame.len() + 1);
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        match program.try_run(&frame[..middle], Skb::LOCAL)? {
            Some(_) => good = middle,
            None => bad = middle,
        }
    }
    if good == 14 {
        bail!("the kernel takes no frame for a test run");
    }
    Ok(good)
}
