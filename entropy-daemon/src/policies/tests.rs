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

/// Policies without a runtime directory that could be written to.
fn watched(directory: &Path) -> Policies {
    Policies::watch(directory, Runtime::at(Path::new("/nonexistent")))
}

/// A directory with these files, loaded.
fn loaded(files: &[(&str, String)]) -> (TempDir, Policies) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut policies = watched(directory.path());
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
    let mut policies = watched(&directory);
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
    let mut policies = watched(&directory);
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

mod beside_the_api {
    use super::*;
    use crate::policy::parse;

    struct Site {
        directory: TempDir,
        policies: Policies,
    }

    impl Site {
        fn new(files: &[(&str, String)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let site = |name: &str| directory.path().join(name);
            fs::create_dir(site("policies")).unwrap();
            for (name, text) in files {
                fs::write(site("policies").join(name), text).unwrap();
            }
            let policies = Self::daemon(&directory);
            Self { directory, policies }
        }

        /// A daemon that starts here.
        fn daemon(directory: &TempDir) -> Policies {
            let runtime = Runtime::at(&directory.path().join("run"));
            runtime.make().unwrap();
            let mut policies = Policies::watch(&directory.path().join("policies"), runtime);
            policies.load();
            policies
        }

        fn restart(&mut self) {
            self.policies = Self::daemon(&self.directory);
        }

        fn put(&mut self, name: &str) -> Result<Effect, Refusal> {
            let text = policy(name, "5%");
            let mut policy = parse(Path::new("x"), text.as_bytes()).unwrap().remove(0);
            policy.origin.written["name"] = name.into();
            let put = Put { policy, create: false, dry_run: false, ttl: None };
            self.policies.put(put, 0, Instant::now())
        }

        fn write(&mut self, name: &str) {
            let file = self.directory.path().join("policies").join(format!("{name}.toml"));
            fs::write(file, policy(name, "1%")).unwrap();
            self.policies.load();
        }
    }

    #[tokio::test]
    async fn policies_of_the_api_follow_those_of_files_and_survive_a_restart() {
        let mut site = Site::new(&[("web.toml", policy("web", "1%"))]);
        site.put("b").unwrap();
        site.put("a").unwrap();
        assert_eq!(names(&site.policies), ["web", "a", "b"]);
        site.restart();
        assert_eq!(names(&site.policies), ["web", "a", "b"]);
        assert_eq!(site.policies.of_files(), 1);
        site.policies.delete("a").unwrap();
        site.restart();
        assert_eq!(names(&site.policies), ["web", "b"]);
    }

    #[tokio::test]
    async fn a_policy_of_a_file_is_not_changed_over_the_api_and_wins_over_one_of_its_name() {
        let mut site = Site::new(&[("web.toml", policy("web", "1%"))]);
        for refusal in [site.put("web").unwrap_err(), site.policies.delete("web").unwrap_err()] {
            assert!(matches!(&refusal, Refusal::Conflict(why) if why.contains("web.toml:1")));
        }
        site.put("db").unwrap();
        site.write("db");
        assert_eq!((names(&site.policies), site.policies.of_files()), (vec!["db", "web"], 2));
        fs::remove_file(site.directory.path().join("policies/db.toml")).unwrap();
        site.policies.load();
        assert_eq!(names(&site.policies), ["web"], "the other one does not come back");
    }

    #[tokio::test]
    async fn a_pause_holds_for_the_policy_of_a_file_that_takes_the_name() {
        let mut site = Site::new(&[]);
        site.put("db").unwrap();
        site.policies.pause("db", true).unwrap();
        site.write("db");
        assert_eq!(site.policies.of_files(), 1);
        for _ in 0..2 {
            assert!(site.policies.paused().contains("db"));
            site.restart();
        }
    }

    #[tokio::test]
    async fn what_was_ended_or_paused_is_unwanted() {
        let mut site = Site::new(&[("web.toml", policy("web", "1%"))]);
        site.put("db").unwrap();
        let unwanted = |site: &Site| ["web", "db", "x"].map(|name| site.policies.is_unwanted(name));
        assert_eq!(unwanted(&site), [false; 3]);
        site.policies.pause("web", true).unwrap();
        site.policies.delete("db").unwrap();
        assert_eq!(unwanted(&site), [true, true, false]);
        site.policies.pause("web", false).unwrap();
        site.put("db").unwrap();
        assert_eq!(unwanted(&site), [false; 3]);
    }

    #[tokio::test]
    async fn a_pause_lasts_over_a_restart_and_ends_with_the_policy() {
        let mut site = Site::new(&[("web.toml", policy("web", "1%"))]);
        site.put("api").unwrap();
        for name in ["web", "api"] {
            assert!(site.policies.pause(name, true).unwrap());
            assert!(!site.policies.pause(name, true).unwrap(), "once is enough");
        }
        site.restart();
        assert_eq!(site.policies.paused().len(), 2);
        assert!(site.policies.pause("web", false).unwrap());
        site.policies.delete("api").unwrap();
        site.put("api").unwrap();
        site.restart();
        assert!(site.policies.paused().is_empty());
        assert!(matches!(site.policies.pause("x", true), Err(Refusal::Unknown(_))));
        assert!(site.policies.pause("web", true).unwrap());
        fs::remove_file(site.directory.path().join("policies/web.toml")).unwrap();
        site.policies.load();
        assert!(site.policies.paused().is_empty());
    }

    #[tokio::test]
    async fn a_lease_ends_even_if_that_cannot_be_noted() {
        let mut site = Site::new(&[]);
        let text = policy("web", "5%");
        let mut policy = parse(Path::new("x"), text.as_bytes()).unwrap().remove(0);
        policy.origin.written["name"] = "web".into();
        let ttl = Some(Duration::from_secs(1));
        let now = Instant::now();
        site.policies.put(Put { policy, create: true, dry_run: false, ttl }, 0, now).unwrap();
        assert!(!site.policies.end_leases(now));
        // A directory in the place of the file cannot be removed as one.
        let kept = site.directory.path().join("run/policies/web.json");
        fs::remove_file(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        assert!(site.policies.end_leases(now + Duration::from_secs(1)));
        assert_eq!((names(&site.policies), site.policies.next_end()), (vec![], None));
    }

    #[tokio::test]
    async fn a_wrong_file_is_a_problem_until_it_is_mended() {
        let mut site = Site::new(&[]);
        let file = site.directory.path().join("policies/web.toml");
        fs::write(&file, "nonsense").unwrap();
        site.policies.load();
        assert!(site.policies.problem().unwrap().contains("web.toml:1"));
        fs::write(&file, policy("web", "1%")).unwrap();
        site.policies.load();
        assert_eq!(site.policies.problem(), None);
    }
}
