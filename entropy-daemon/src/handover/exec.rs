//! Another program takes over this process.

use std::{
    convert::Infallible,
    ffi::{CStr, CString, OsString},
    fs::File,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::PathBuf,
    ptr,
};

use anyhow::{Context, Result, ensure};

use super::{Descriptor, Handover, VARIABLE, memory_file};
use crate::systemd;

impl Handover {
    /// Executes the program that this process was started as, from where it was started, which may be
    /// another version by now: with the same arguments, the same environment, and this.
    ///
    /// # Errors
    /// When that is not possible. Everything is as before then.
    pub(crate) fn execute(&self) -> Result<Infallible> {
        let program = program().context("find the program that this process was started as")?;
        let mut file = File::from(memory_file().context("make a file in memory")?);
        let text = serde_json::to_vec(self).context("write what is handed over")?;
        file.write_all(&text).context("write what is handed over")?;
        let file = Descriptor::from(OwnedFd::from(file));
        let arguments = std::env::args_os().map(terminated).collect::<Result<Vec<_>>>()?;
        let environment = environment(&file)?;
        let all = || self.descriptors().chain([&file]);
        all().try_for_each(|descriptor| descriptor.stay_open(true)).context("keep descriptors")?;
        // The service manager gave it to this process, which it stays.
        systemd::keep_sockets(true).context("keep the control socket")?;
        let error = execve(&program, &arguments, &environment);
        // They are copies, and close when this is dropped; until then no other program may get them.
        all().try_for_each(|descriptor| descriptor.stay_open(false)).context("keep descriptors")?;
        systemd::keep_sockets(false).context("keep the control socket")?;
        Err(error).with_context(|| format!("execute {}", program.to_string_lossy()))
    }
}

/// What `execve` was given for this process: `/proc/self/exe` would be the old file, wherever that is by
/// now, and the first argument may be anything.
fn program() -> Result<CString> {
    // SAFETY: the kernel gives a pointer to a string that lives as long as the process, or 0.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    ensure!(!name.is_null(), "the kernel does not say");
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name) };
    let path = PathBuf::from(OsString::from_vec(name.to_bytes().to_vec()));
    // The daemon stays in the directory that it was started in.
    terminated(std::path::absolute(path).context("find the working directory")?.into_os_string())
}

/// The environment of this process, with what is handed over in it.
fn environment(file: &Descriptor) -> Result<Vec<CString>> {
    let ours = format!("{VARIABLE}={}:{}", std::process::id(), file.number());
    let others = std::env::vars_os().filter(|(name, _)| name != VARIABLE).map(|(name, value)| {
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        entry
    });
    others.chain([ours.into()]).map(terminated).collect()
}

fn terminated(text: OsString) -> Result<CString> {
    CString::new(text.into_vec()).context("a string with a zero in it")
}

/// Returns only when it fails. Unlike `Command::exec` of the standard library it changes nothing of the
/// process then.
fn execve(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: all pointers are to strings that live through the call, and each list ends with a null.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
