use std::{fs, time::Duration};

use tempfile::TempDir;

use super::*;

/// Longer than it takes on a busy machine until a change is noticed.
const DEADLINE: Duration = Duration::from_secs(20);

fn policy(name: &str, loss: &str) -> String {
    format!("[[policy]]\nname = \"{name}\"\ntarget = \"app=web\"\nloss = \"{loss}\"\n")
}

fn names(policies: &Policies) -> Vec<&str> {
    policies.current().iter().map(|policy| policy.name.as_str()).collect()
}

/// A directory with these files, loaded.
fn loaded(files: &[(&str, String)]) -> (TempDir, Policies) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut policies = Policies::watch(directory.path());
    assert_eq!(names(&policies), [""; 0], "nothing before the first load");
    policies.load();
    (directory, policies)
}

#[tokio::test]
async fn all_files_are_in_force_in_their_order() {
    let files =
        [("b.toml", policy("web", "1%")), ("a.toml", policy("z", "2%") + &policy("y", "3%"))];
    let (_directory, policies) = loaded(&files);
    assert_eq!(names(&policies), ["z", "y", "web"]);
}

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_state_of_all_files() {
    let (directory, mut policies) =
        loaded(&[("a.toml", policy("a", "1%")), ("b.toml", policy("b", "1%"))]);
    let before = policies.current().to_vec();
    for bad in ["loss = ", "[[policy]]\ntarget = \"app=web\"\nloss = \"2\"\n", &policy("b", "1%")] {
        // Good news in one file do not get past bad news in another.
        fs::write(directory.path().join("a.toml"), policy("a", "9%")).unwrap();
        fs::write(directory.path().join("c.toml"), bad).unwrap();
        policies.load();
        assert_eq!(policies.current(), before, "{bad}");
    }
    fs::remove_file(directory.path().join("c.toml")).unwrap();
    policies.load();
    assert_eq!(names(&policies), ["a", "b"]);
    let loss = policies.current()[0].faults.records().unwrap().loss.p[0];
    assert_eq!(loss.parts(), "9%".parse::<crate::policy::Rate>().unwrap().parts());
}

#[tokio::test]
async fn a_bad_file_at_the_start_leaves_no_policies() {
    let (_directory, policies) =
        loaded(&[("a.toml", policy("a", "1%")), ("b.toml", "nonsense".to_owned())]);
    assert_eq!(names(&policies), [""; 0]);
}

#[tokio::test]
async fn a_removed_file_ends_its_policies() {
    let (directory, mut policies) =
        loaded(&[("a.toml", policy("a", "1%")), ("b.toml", policy("b", "1%"))]);
    fs::remove_file(directory.path().join("a.toml")).unwrap();
    policies.load();
    assert_eq!(names(&policies), ["b"]);
}

#[tokio::test]
async fn a_removed_directory_ends_all_policies_and_one_made_later_is_used() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("policies");
    let mut policies = Policies::watch(&directory);
    policies.load();
    assert_eq!(names(&policies), [""; 0]);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.toml"), policy("a", "1%")).unwrap();
    policies.load();
    assert_eq!(names(&policies), ["a"]);
    fs::remove_dir_all(&directory).unwrap();
    policies.load();
    assert_eq!(names(&policies), [""; 0]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_listed_keeps_the_last_good_state() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("policies");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.toml"), policy("a", "1%")).unwrap();
    let mut policies = Policies::watch(&directory);
    policies.load();
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "a file in its place").unwrap();
    policies.load();
    assert_eq!(names(&policies), ["a"]);
}

#[tokio::test]
async fn an_edit_is_noticed_and_loading_shows_it() {
    let (directory, mut policies) = loaded(&[("a.toml", policy("a", "1%"))]);
    fs::write(directory.path().join("b.toml"), policy("b", "1%")).unwrap();
    let noticed = tokio::time::timeout(DEADLINE, policies.changed()).await;
    assert!(noticed.is_ok(), "not noticed");
    policies.load();
    assert_eq!(names(&policies), ["a", "b"]);
}
