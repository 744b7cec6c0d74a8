use std::ffi::CString;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

const GOOD: &str = "[[policy]]\ntarget = \"app=web\"\nloss = \"2%\"\n";

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn names(directory: &Path) -> Vec<String> {
    load_directory(directory).unwrap().into_iter().map(|policy| policy.name).collect()
}

/// The problems, without the name of the directory.
fn problems(directory: &Path) -> String {
    match load_directory(directory) {
        Err(LoadError::Invalid(problems)) => {
            problems.to_string().replace(&format!("{}/", directory.display()), "")
        }
        other => panic!("not problems but {other:?}"),
    }
}

#[test]
fn policies_come_in_the_order_of_the_file_names() {
    let two = format!("{GOOD}{GOOD}");
    let directory = directory(&[("b.toml", &two), ("a.toml", GOOD), ("B.toml", GOOD)]);
    assert_eq!(names(directory.path()), ["B-1", "a-1", "b-1", "b-2"]);
    let policies = load_directory(directory.path()).unwrap();
    assert_eq!(policies[3].origin.file, directory.path().join("b.toml"));
    assert_eq!(policies[3].origin.line, 4);
}

#[test]
fn an_empty_directory_and_empty_files_have_no_policies() {
    let directory = directory(&[("a.toml", ""), ("b.toml", "# nothing yet\n")]);
    assert_eq!(names(directory.path()), [""; 0]);
    assert_eq!(names(tempfile::tempdir().unwrap().path()), [""; 0]);
}

#[test]
fn hidden_files_backups_and_other_files_are_left_out() {
    let wrong = "not a policy";
    let left_out = [
        ".web.toml",
        ".web.toml.swp",
        "web.toml~",
        "#web.toml#",
        "#web.toml",
        "web.toml.bak",
        "README.md",
        "4913",
        ".toml",
        "toml",
    ];
    let mut files: Vec<_> = left_out.iter().map(|name| (*name, wrong)).collect();
    files.push(("web.toml", GOOD));
    let directory = directory(&files);
    symlink("user@host.1234:1", directory.path().join(".#web.toml")).unwrap();
    fs::create_dir(directory.path().join("old")).unwrap();
    fs::write(directory.path().join("old/x.toml"), wrong).unwrap();
    assert_eq!(names(directory.path()), ["web-1"]);
}

#[test]
fn a_missing_directory_is_told_from_one_that_is_none() {
    let directory = directory(&[("file", "")]);
    let missing = load_directory(&directory.path().join("missing"));
    assert!(matches!(&missing, Err(LoadError::Missing(_))), "{missing:?}");
    let file = load_directory(&directory.path().join("file"));
    assert!(matches!(&file, Err(LoadError::Unlisted { .. })), "{file:?}");
}

#[test]
fn all_problems_of_all_files_come_together_and_nothing_else_does() {
    let directory = directory(&[
        ("a.toml", "[[policy]]\nname = \"web\"\ntarget = \"app=web\"\nloss = \"2\"\n"),
        ("b.toml", GOOD),
        ("c.toml", "[[policy]]\nname = \"web\"\ntarget = \"app=web\"\nloss = \"3\"\n"),
    ]);
    let expected = "\
        a.toml:4:8: policy web: loss: \"2\" has no unit\n  \
          help: write \"2%\"\n\
        c.toml:2:8: policy web: name: the policy at a.toml:1 has the same name\n  \
          help: give each policy a name of its own\n\
        c.toml:4:8: policy web: loss: \"3\" has no unit\n  \
          help: write \"3%\"";
    assert_eq!(problems(directory.path()), expected);
}

#[test]
fn made_up_names_keep_clear_of_given_ones() {
    let given = GOOD.replace("[[policy]]", "[[policy]]\nname = \"b-1\"");
    let directory = directory(&[("a.toml", &given), ("b.toml", GOOD), ("web (old).toml", GOOD)]);
    assert_eq!(names(directory.path()), ["b-1", "b-1-2", "web--old--1"]);
    let long = format!("{}.toml", "-ä".repeat(3) + &"x".repeat(100));
    fs::write(directory.path().join(&long), GOOD).unwrap();
    let name = names(directory.path()).remove(0);
    assert_eq!(name, "x".repeat(61) + "-1");
}

#[test]
fn what_is_no_regular_file_is_a_problem_and_does_not_block() {
    let directory = directory(&[("web.toml", GOOD)]);
    let path = |name: &str| directory.path().join(name);
    let fifo = CString::new(path("fifo.toml").as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a NUL-terminated string that lives through the call.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    fs::create_dir(path("dir.toml")).unwrap();
    let _socket = UnixListener::bind(path("socket.toml")).unwrap();
    symlink("/dev/zero", path("device.toml")).unwrap();
    symlink("nowhere", path("dangling.toml")).unwrap();
    symlink("loop.toml", path("loop.toml")).unwrap();
    let aside = "move it elsewhere, or give it a name that does not end in .toml";
    let expected = [
        "dangling.toml: is a symbolic link to a file that does not exist",
        "  help: mend the link or remove it",
        "device.toml: is a device, not a policy file",
        &format!("  help: {aside}"),
        "dir.toml: is a directory, not a policy file",
        &format!("  help: {aside}"),
        "fifo.toml: is a FIFO, not a policy file",
        &format!("  help: {aside}"),
        "loop.toml: cannot be read: Too many levels of symbolic links (os error 40)",
        "  help: mend or remove the file",
        "socket.toml: is a socket, not a policy file",
        &format!("  help: {aside}"),
    ];
    assert_eq!(problems(directory.path()), expected.join("\n"));
}

#[test]
fn an_unreadable_file_is_explained() {
    let mistake = why_unreadable(Path::new("x"), &io::Error::from(ErrorKind::PermissionDenied));
    assert_eq!(mistake.reason, "cannot be read: permission denied");
}

#[test]
fn links_to_policies_are_followed() {
    let directory = directory(&[("policy", GOOD)]);
    symlink("policy", directory.path().join("link.toml")).unwrap();
    assert_eq!(names(directory.path()), ["link-1"]);
}

#[test]
fn a_file_may_have_one_mebibyte_and_no_byte_more() {
    let directory = directory(&[]);
    let comment = |length: usize| format!("{GOOD}#{}", "x".repeat(length - GOOD.len() - 1));
    fs::write(directory.path().join("long.toml"), comment(MAX_BYTES)).unwrap();
    assert_eq!(names(directory.path()), ["long-1"]);
    fs::write(directory.path().join("long.toml"), comment(MAX_BYTES + 1)).unwrap();
    let expected = "long.toml: is longer than 1 MiB\n  \
        help: split it; a policy takes a few hundred bytes";
    assert_eq!(problems(directory.path()), expected);
}

#[test]
fn a_file_name_cannot_disturb_the_terminal() {
    let directory = directory(&[("\u{1b}[2J\n\u{202e}.toml", "x = 1")]);
    let expected =
        "\\u{1b}[2J\\n\\u{202e}.toml:1:1: x: unknown key\n  help: the keys here are policy";
    assert_eq!(problems(directory.path()), expected);
}

#[test]
fn files_named_are_loaded_in_their_order_whatever_they_are_called() {
    let directory = directory(&[("z.txt", GOOD), ("a.toml", GOOD)]);
    let path = |name: &str| directory.path().join(name);
    let policies = load_files(&[path("z.txt"), path("a.toml")]).unwrap();
    assert_eq!(policies.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["z-1", "a-1"]);
    let problems = load_files(&[path("a.toml"), path("missing")]).unwrap_err().to_string();
    assert!(problems.ends_with("missing: does not exist\n  help: check the path"), "{problems}");
}
