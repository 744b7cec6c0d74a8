//! The programs on real devices.

use anyhow::{Context as _, Result};
use aya::{
    programs::{
        SchedClassifier, TcAttachType,
        tc::{SchedClassifierLink, TcError, qdisc_add_clsact},
    },
    util::KernelVersion,
};

use super::Object;
use crate::netns::Netns;

impl Object {
    /// Puts a program on a device's ingress or egress hook, in its namespace. It stays there as long
    /// as the object.
    ///
    /// # Errors
    /// When the device is not there, or the kernel refuses.
    pub fn attach(
        &mut self,
        program: &str,
        namespace: &Netns,
        device: &str,
        hook: TcAttachType,
    ) -> Result<()> {
        let classifier = self.classifier(program)?;
        let link = namespace
            .run(|| attach_here(classifier, device, hook))?
            .with_context(|| format!("attach {program} to {device} in {}", namespace.name()))?;
        self.attached.push((namespace.try_clone()?, link));
        Ok(())
    }
}

fn attach_here(
    classifier: &mut SchedClassifier,
    device: &str,
    hook: TcAttachType,
) -> Result<SchedClassifierLink> {
    // As aya itself chooses between TCX and a clsact filter.
    if KernelVersion::current()? < KernelVersion::new(6, 6, 0) {
        match qdisc_add_clsact(device) {
            Ok(()) => {}
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error).context("add clsact"),
        }
    }
    let id = classifier.attach(device, hook)?;
    Ok(classifier.take_link(id)?)
}
