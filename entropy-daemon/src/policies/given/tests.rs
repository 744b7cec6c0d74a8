use tempfile::TempDir;

use super::*;

fn put(text: &str) -> Put {
    let mut policy = parse(Path::new("test"), text.as_bytes()).unwrap().remove(0);
    policy.origin.written["name"] = policy.name.clone().into();
    Put { policy, create: false, dry_run: false, ttl: None }
}

fn web(loss: &str) -> Put {
    put(&format!("[[policy]]\nname = \"web\"\ntarget = \"app=web\"\nloss = \"{loss}\"\n"))
}

fn runtime() -> (TempDir, Runtime) {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Runtime::at(directory.path());
    runtime.make().unwrap();
    (directory, runtime)
}

fn names(given: &Given) -> Vec<&str> {
    given.policies().map(|policy| policy.name.as_str()).collect()
}

#[test]
fn a_policy_is_created_left_and_replaced_and_a_dry_run_says_so_beforehand() {
    let (_directory, runtime) = runtime();
    let (mut given, now) = (Given::default(), Instant::now());
    for (loss, expected, since_ns) in
        [("1%", Effect::Created, 1), ("1.0%", Effect::Unchanged, 1), ("2%", Effect::Replaced, 3)]
    {
        let dry = Put { dry_run: true, ..web(loss) };
        assert_eq!(given.put(dry, &runtime, 9, now).unwrap(), expected, "{loss}");
        let at = since_ns.max(if loss == "1.0%" { 2 } else { 0 });
        assert_eq!(given.put(web(loss), &runtime, at, now).unwrap(), expected, "{loss}");
        let policy = given.policies().next().unwrap();
        assert_eq!(policy.origin.since_ns, Some(since_ns), "{loss}");
    }
    let create = Put { create: true, ..web("3%") };
    let refusal = given.put(create, &runtime, 4, now).unwrap_err();
    assert!(matches!(refusal, Refusal::Conflict(_)), "{refusal}");
}

#[test]
fn a_restart_keeps_policies_with_their_leases_and_beginnings() {
    let (_directory, runtime) = runtime();
    let (mut given, now) = (Given::default(), Instant::now());
    let ttl = Some(Duration::from_secs(3));
    given.put(Put { ttl, ..web("1%") }, &runtime, 5, now).unwrap();
    let other = put("[[policy]]\nname = \"db\"\ntarget = \"app=db\"\npartition = true\n\
                     schedule = { start = 2026-12-01T09:00:00Z, for = \"10s\" }\n");
    given.put(other, &runtime, 6, now).unwrap();
    given.delete("db", &runtime).unwrap();
    let other = put("[[policy]]\nname = \"a\"\ntarget = \"app=db\"\npartition = true\n\
                     schedule = { start = 2026-12-01T09:00:00Z, for = \"10s\" }\n");
    given.put(other, &runtime, 7, now).unwrap();
    let again = Given::restore(&runtime);
    assert_eq!(names(&again), ["a", "web"]);
    for (one, same) in given.policies().zip(again.policies()) {
        assert!(means_the_same(one, same), "{one:?} {same:?}");
        assert_eq!(one.origin.since_ns, same.origin.since_ns);
    }
    let leases = again.leases();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases["web"].ttl, Duration::from_secs(3));
    assert!(leases["web"].until > now + Duration::from_secs(2));
}

#[test]
fn a_file_of_another_name_or_meaning_is_left_out() {
    let (_directory, runtime) = runtime();
    let written = serde_json::json!({ "name": "web", "target": "app=web", "loss": "1%" });
    let written = written.as_object().unwrap().clone();
    let kept = Kept { policy: written.clone(), since_ns: 0, ttl_ns: None };
    runtime.keep("web", &kept).unwrap();
    runtime.keep("db", &kept).unwrap();
    let mut wrong = written;
    wrong["loss"] = "1".into();
    wrong["name"] = "x".into();
    runtime.keep("x", &Kept { policy: wrong, since_ns: 0, ttl_ns: None }).unwrap();
    assert_eq!(names(&Given::restore(&runtime)), ["web"]);
}

#[test]
fn a_lease_that_is_not_renewed_ends() {
    let (_directory, runtime) = runtime();
    let (mut given, start) = (Given::default(), Instant::now());
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    given.put(Put { ttl: Some(Duration::from_secs(3)), ..web("1%") }, &runtime, 0, at(0)).unwrap();
    assert_eq!(given.next_end(), Some(at(3)));
    given.renew("web", at(2)).unwrap();
    assert_eq!((given.next_end(), given.ended(at(4))), (Some(at(5)), vec![]));
    assert_eq!(given.ended(at(5)), ["web"]);
    // To be put again without a lease is to stay.
    assert_eq!(given.put(web("1%"), &runtime, 0, at(4)).unwrap(), Effect::Replaced);
    assert_eq!(given.next_end(), None);
    assert!(matches!(given.renew("web", at(5)), Err(Refusal::Conflict(_))));
    assert!(matches!(given.renew("db", at(5)), Err(Refusal::Unknown(_))));
}

#[test]
fn what_cannot_be_noted_is_not_done() {
    let (mut given, now) = (Given::default(), Instant::now());
    let nowhere = Runtime::at(Path::new("/nonexistent"));
    let refusal = given.put(web("1%"), &nowhere, 0, now).unwrap_err();
    assert!(matches!(refusal, Refusal::Failed(_)), "{refusal}");
    assert!(!given.has("web"));
}
