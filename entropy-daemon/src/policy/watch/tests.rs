use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use super::*;

/// Longer than any change may take to be reported on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// inotify does the work: a comparison would come after the deadline.
const INOTIFY: Timing = Timing {
    quiet: Duration::from_millis(20),
    longest: Duration::from_millis(200),
    poll: Duration::from_secs(600),
};

/// The comparison does the work.
const COMPARE: Timing = Timing { poll: Duration::from_millis(50), ..INOTIFY };

/// Longer than a change takes to be reported on a machine with time.
const QUIET: Duration = Duration::from_millis(250);

async fn expect_change(watch: &mut Watch, what: &str) {
    let changed = tokio::time::timeout(DEADLINE, watch.changed()).await;
    assert!(changed.is_ok(), "not reported: {what}");
    settle(watch).await;
}

/// Lets everything that happened so far be reported, and says in how many reports.
async fn settle(watch: &mut Watch) -> usize {
    let mut reports = 0;
    while tokio::time::timeout(QUIET, watch.changed()).await.is_ok() {
        reports += 1;
    }
    reports
}

/// Every kind of change, each reported with `timing` and with or without inotify.
async fn reports_changes(timing: Timing, inotify: bool) {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("policies");
    let file = directory.join("web.toml");
    let mut watch = Watch::arm_with(&directory, timing, inotify);

    fs::create_dir(&directory).unwrap();
    expect_change(&mut watch, "directory created").await;
    fs::write(&file, "a").unwrap();
    expect_change(&mut watch, "file created").await;
    File::options().append(true).open(&file).unwrap().write_all(b"b").unwrap();
    expect_change(&mut watch, "file written").await;
    fs::write(directory.join(".new"), "abc").unwrap();
    fs::rename(directory.join(".new"), &file).unwrap();
    expect_change(&mut watch, "file replaced as editors do").await;
    fs::remove_file(&file).unwrap();
    expect_change(&mut watch, "file removed").await;
    fs::remove_dir(&directory).unwrap();
    expect_change(&mut watch, "directory removed").await;
    fs::create_dir(&directory).unwrap();
    expect_change(&mut watch, "directory created again").await;
    fs::write(&file, "a").unwrap();
    expect_change(&mut watch, "file created in the new directory").await;
    fs::rename(&directory, above.path().join("old")).unwrap();
    expect_change(&mut watch, "directory renamed").await;
    fs::create_dir(above.path().join("new")).unwrap();
    symlink("new", &directory).unwrap();
    expect_change(&mut watch, "directory replaced by a link").await;
    fs::write(&file, "abcd").unwrap();
    expect_change(&mut watch, "file created behind the link").await;
    symlink("old", above.path().join("link")).unwrap();
    fs::rename(above.path().join("link"), &directory).unwrap();
    expect_change(&mut watch, "link turned elsewhere").await;
    fs::write(&file, "abcde").unwrap();
    expect_change(&mut watch, "file written where the link leads now").await;
}

#[tokio::test]
async fn inotify_reports_every_kind_of_change() {
    reports_changes(INOTIFY, true).await;
}

#[tokio::test]
async fn comparing_reports_every_kind_of_change_without_inotify() {
    reports_changes(COMPARE, false).await;
}

#[tokio::test]
async fn a_link_turned_as_kubernetes_does_is_reported() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path();
    for version in ["..1", "..2"] {
        fs::create_dir(directory.join(version)).unwrap();
        fs::write(directory.join(version).join("web.toml"), version).unwrap();
    }
    symlink("..1", directory.join("..data")).unwrap();
    symlink("..data/web.toml", directory.join("web.toml")).unwrap();
    let mut watch = Watch::arm_with(directory, INOTIFY, true);
    symlink("..2", directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    expect_change(&mut watch, "link turned").await;
    assert_eq!(fs::read_to_string(directory.join("web.toml")).unwrap(), "..2");
}

#[tokio::test]
async fn a_change_of_a_file_elsewhere_that_a_link_leads_to_is_found_by_comparing() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("web.toml");
    fs::write(&target, "a").unwrap();
    symlink(&target, directory.path().join("web.toml")).unwrap();
    let mut watch = Watch::arm_with(directory.path(), COMPARE, true);
    fs::write(&target, "ab").unwrap();
    expect_change(&mut watch, "target of the link written").await;
}

#[tokio::test]
async fn what_happens_between_arming_and_waiting_is_not_missed() {
    let directory = tempfile::tempdir().unwrap();
    for inotify in [true, false] {
        let timing = if inotify { INOTIFY } else { COMPARE };
        let mut watch = Watch::arm_with(directory.path(), timing, inotify);
        fs::write(directory.path().join(format!("{inotify}.toml")), "a").unwrap();
        expect_change(&mut watch, "file created after arming").await;
    }
}

#[tokio::test]
async fn reading_the_directory_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.toml");
    fs::write(&file, "").unwrap();
    let mut watch = Watch::arm_with(directory.path(), INOTIFY, true);
    settle(&mut watch).await;
    for _ in 0..3 {
        crate::policy::load_directory(directory.path()).unwrap();
    }
    assert_eq!(settle(&mut watch).await, 0, "reading was reported as a change");
    fs::write(&file, "a").unwrap();
    expect_change(&mut watch, "file written").await;
}

#[tokio::test]
async fn what_happens_beside_the_directory_is_no_change() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("policies");
    fs::create_dir(&directory).unwrap();
    let mut watch = Watch::arm_with(&directory, INOTIFY, true);
    settle(&mut watch).await;
    fs::write(above.path().join("policies2"), "a").unwrap();
    assert_eq!(settle(&mut watch).await, 0, "a neighbour was reported as a change");
}

#[tokio::test]
async fn a_burst_is_reported_in_one_or_few_reports() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::arm_with(directory.path(), INOTIFY, true);
    for index in 0..200 {
        fs::write(directory.path().join(format!("{index}.toml")), "a").unwrap();
    }
    let reports = settle(&mut watch).await;
    assert!((1..10).contains(&reports), "{reports} reports");
}

#[tokio::test]
async fn endless_changes_are_reported_while_they_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::arm_with(directory.path(), INOTIFY, true);
    let file = directory.path().join("web.toml");
    let writer = async {
        let mut tick = tokio::time::interval(INOTIFY.quiet / 5);
        loop {
            tick.tick().await;
            fs::write(&file, "a").unwrap();
        }
    };
    tokio::select! {
        changed = tokio::time::timeout(DEADLINE, watch.changed()) => changed.unwrap(),
        () = writer => {}
    }
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = Watch::arm_with(directory.path(), INOTIFY, true);
    fs::write(directory.path().join("web.toml"), "a").unwrap();
    // Given up while the burst is not over, again and again, as in a `select!` loop.
    for _ in 0..20 {
        let wait = tokio::time::timeout(INOTIFY.quiet / 10, watch.changed()).await;
        assert!(wait.is_err() || watch.pending.is_none());
        if wait.is_ok() {
            return;
        }
    }
    expect_change(&mut watch, "file written").await;
}
