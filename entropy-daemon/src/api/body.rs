//! What clients send: a policy as JSON or TOML, checked by the same code as policy files are. Pure.

use std::path::Path;

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::answer::Refused;
use crate::policy::{Policy, Problem, Problems, bare_table, parse, toml_of, validate::names};

/// What the body is called in messages.
const BODY: &str = "body";
const EXPECTED: &str = "send a policy with `Content-Type: application/json` or `application/toml`";

/// The policy in a body, named by the path of the request if that has a name.
pub(super) fn policy(
    content_type: Option<&str>,
    body: &[u8],
    name: Option<&str>,
) -> Result<Policy, Refused> {
    if let Some(Err(mistake)) = name.map(names::check) {
        let error = format!("policy name: {mistake}");
        return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, error));
    }
    let mut policy = match media_type(content_type).as_deref() {
        Some("application/json") => of_json(body, name)?,
        Some("application/toml") => of_toml(body, name)?,
        Some(other) => {
            let error = format!("the body is {}: {EXPECTED}", other.escape_debug());
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
        None => {
            let error = format!("the request has no content type: {EXPECTED}");
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
    };
    let own = policy.origin.written.get("name").is_some();
    match name {
        Some(name) if own && policy.name != name => {
            let error = format!("the policy is called {}, the path says {name}", policy.name);
            return Err(Refused::bad(error));
        }
        Some(name) => name.clone_into(&mut policy.name),
        None if !own => {
            let error = "the policy has no name: give it one, \"name\": \"slow-db\"";
            return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, error));
        }
        None => {}
    }
    if let Value::Object(written) = &mut policy.origin.written {
        written.insert("name".to_owned(), Value::from(policy.name.as_str()));
    }
    Ok(policy)
}

/// The type without its parameters, in small letters.
fn media_type(content_type: Option<&str>) -> Option<String> {
    let media = content_type?.split(';').next()?.trim().to_ascii_lowercase();
    (!media.is_empty()).then_some(media)
}

/// The JSON of a body that holds an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        // What some clients send unless the header is spelled as they expect it.
        let text = String::from_utf8_lossy(body);
        let is_form = !text.trim_start().starts_with(['{', '[', '"']) && text.contains('=');
        let hint = if is_form {
            " (it looks like a form: clients such as Chaos Toolkit send JSON only if the header is \
             spelled exactly `Content-Type: application/json`)"
        } else {
            ""
        };
        Refused::bad(format!("the body is not JSON: {error}{hint}"))
    })?;
    match value {
        Value::Object(map) => Ok(map),
        Value::String(_) => Err(Refused::bad(
            "the body is a JSON string, not an object: it was encoded twice; send TOML with \
             `Content-Type: application/toml`",
        )),
        _ => Err(Refused::bad("the body is not a JSON object")),
    }
}

fn of_json(body: &[u8], name: Option<&str>) -> Result<Policy, Refused> {
    let mut map = object(body)?;
    if let Some(list) = map.remove("policy") {
        map = match list {
            Value::Array(mut list) if list.len() == 1 && map.is_empty() => match list.remove(0) {
                Value::Object(policy) => policy,
                _ => return Err(Refused::bad("\"policy\" is not a list of objects")),
            },
            _ => return Err(Refused::bad(ONE)),
        };
    }
    of_map(map, name)
}

const ONE: &str = "a request is about one policy: send each on its own";

fn of_map(mut map: Map<String, Value>, name: Option<&str>) -> Result<Policy, Refused> {
    // Said in its messages.
    if let Some(name) = name {
        map.entry("name").or_insert_with(|| Value::from(name));
    }
    let invalid = |error: String| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    let text = toml_of(&[map]).map_err(|mistake| invalid(mistake.to_string()))?;
    let parsed = parse(Path::new(BODY), text.as_bytes());
    one(parsed.map_err(|problems| invalid(without_places(&problems)))?)
}

fn of_toml(body: &[u8], name: Option<&str>) -> Result<Policy, Refused> {
    // A single policy may come without a line [[policy]].
    if let Some(map) = std::str::from_utf8(body).ok().and_then(bare_table) {
        return of_map(map, name);
    }
    let invalid =
        |problems: Problems| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, problems.to_string());
    one(parse(Path::new(BODY), body).map_err(invalid)?)
}

fn one(policies: Vec<Policy>) -> Result<Policy, Refused> {
    let [policy]: [Policy; 1] = policies.try_into().map_err(|_| Refused::bad(ONE))?;
    Ok(policy)
}

/// The problems without lines and columns, which JSON has none of.
fn without_places(problems: &Problems) -> String {
    let line = |problem: &Problem| {
        let policy = problem.policy.as_ref().map(|policy| format!("policy {policy}: "));
        let key = problem.key.as_ref().map(|key| format!("{key}: "));
        let (policy, key) = (policy.unwrap_or_default(), key.unwrap_or_default());
        format!("{policy}{key}{}: {}", problem.reason, problem.help)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json");
    const TOML: Option<&str> = Some("application/toml");

    fn refused(content_type: Option<&str>, body: &str, name: Option<&str>) -> (u16, String) {
        let refused = policy(content_type, body.as_bytes(), name).unwrap_err();
        (refused.status.as_u16(), refused.error)
    }

    #[test]
    fn all_forms_of_the_same_policy_are_the_same() {
        let json = r#"{"name": "web", "target": "app=web", "loss": {"rate": "2%", "burst": 3}}"#;
        let file = "[[policy]]\nname = \"web\"\ntarget = \"app=web\"\nloss = { rate = \"2%\", burst = 3 }\n";
        let bare = "target = \"app=web\"\n[loss]\nrate = \"2%\"\nburst = 3\n";
        let nameless = r#"{"loss": {"rate": "2%", "burst": 3}, "target": "app=web"}"#;
        let listed = format!("{{\"policy\": [{json}]}}");
        let first = policy(JSON, json.as_bytes(), None).unwrap();
        for (content_type, body, name) in [
            (Some("Application/JSON; charset=utf-8"), json, Some("web")),
            (JSON, nameless, Some("web")),
            (JSON, &listed, None),
            (TOML, file, None),
            (TOML, bare, Some("web")),
        ] {
            let mut same = policy(content_type, body.as_bytes(), name).unwrap();
            assert_eq!(same.origin.written, first.origin.written, "{body}");
            same.origin = first.origin.clone();
            assert_eq!(same, first, "{body}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_would_be() {
        let (status, error) = refused(Some("application/x-www-form-urlencoded"), "a=1", None);
        assert!(status == 415 && error.contains("application/toml"), "{error}");
        assert_eq!(refused(None, "{}", None).0, 415);
        let (status, error) = refused(JSON, "target=x&loss=2", None);
        assert!(status == 400 && error.contains("looks like a form"), "{error}");
        let (status, error) = refused(JSON, "\"{}\"", None);
        assert!(status == 400 && error.contains("encoded twice"), "{error}");
        let (status, error) = refused(JSON, "[]", None);
        assert!(status == 400 && error.contains("not a JSON object"), "{error}");
        let (status, error) = refused(TOML, "", None);
        assert_eq!(status, 422, "{error}");
    }

    #[test]
    fn a_wrong_policy_is_told_in_the_words_of_validate() {
        let body = r#"{"target": "app=web", "loss": "2", "dleay": "1s"}"#;
        let (status, error) = refused(JSON, body, Some("web"));
        assert_eq!(status, 422);
        assert_eq!(
            error,
            "policy web: dleay: unknown key: did you mean \"delay\"?\n\
             policy web: loss: \"2\" has no unit: write \"2%\""
        );
        let file = "[[policy]]\nname = \"web\"\ntarget = \"app=web\"\nloss = \"2\"\n";
        let (status, error) = refused(TOML, file, None);
        assert!(status == 422 && error.starts_with("body:4:8: policy web: loss:"), "{error}");
        let (status, error) = refused(JSON, r#"{"target": null}"#, Some("web"));
        assert!(status == 422 && error.contains("leave the key out"), "{error}");
        let (status, error) = refused(JSON, "{}", Some("-"));
        assert!(status == 422 && error.contains("begins with"), "{error}");
    }

    #[test]
    fn the_name_is_that_of_the_path() {
        let body = r#"{"name": "db", "target": "app=web", "loss": "2%"}"#;
        let (status, error) = refused(JSON, body, Some("web"));
        assert!(status == 400 && error.contains("the path says web"), "{error}");
        let (status, error) = refused(JSON, r#"{"target": "app=web", "loss": "2%"}"#, None);
        assert!(status == 422 && error.contains("has no name"), "{error}");
        // Where the policy itself has none, too: the name becomes one of a file.
        for path in ["../halted", "/etc/x", "a/b", ".x", "a\nb", "", &"x".repeat(64)] {
            for body in
                ["[[policy]]\ntarget = \"a\"\nloss = \"1%\"\n", "target = \"a\"\nloss = \"1%\"\n"]
            {
                assert_eq!(refused(TOML, body, Some(path)).0, 422, "{path:?}");
            }
        }
    }

    /// Dotted keys in tables in line: the parser limits the depth of tables, not that of keys.
    #[test]
    fn what_is_nested_without_end_is_refused() {
        let key = ["a"; 79].join(".");
        for depth in [1, 40, 79] {
            let mut value = "1".to_owned();
            for _ in 0..depth {
                value = format!("{{ {key} = {value} }}");
            }
            let bare = format!("target = \"a\"\nloss = {value}\n");
            for body in [format!("[[policy]]\n{bare}"), bare] {
                assert_eq!(refused(TOML, &body, Some("x")).0, 422, "depth {depth}");
            }
            let keys = vec!["a"; 2_000].join(".");
            let status = refused(TOML, &format!("target = \"a\"\n{keys} = 1\n"), Some("x")).0;
            assert_eq!(status, 422);
        }
    }

    #[test]
    fn a_request_is_about_one_policy() {
        let two = "[[policy]]\ntarget = \"a\"\nloss = \"1%\"\n".repeat(2);
        assert_eq!(refused(TOML, &two, None), (400, ONE.to_owned()));
        assert_eq!(refused(JSON, r#"{"policy": []}"#, None), (400, ONE.to_owned()));
    }
}
