use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"))
}

#[test]
fn each_kind_of_term_matches_as_kubernetes_does() {
    let web = labels(&[("app", "web"), ("tier", "")]);
    for (text, matches) in [
        ("app", true),
        ("App", false),
        ("other", false),
        ("!other", true),
        ("!app", false),
        ("app=web", true),
        ("app==web", true),
        ("app=Web", false),
        ("app=", false),
        ("tier=", true),
        ("tier!=", false),
        ("app!=db", true),
        ("app!=web", false),
        ("other!=web", true),
        ("other=web", false),
        ("app=web,tier", true),
        ("app=web,!tier", false),
        ("app=web,other", false),
        (" app = web , tier ", true),
        ("app != db,! other", true),
    ] {
        assert_eq!(selector(text).matches(&web), matches, "{text}");
    }
    assert!(!selector("app").matches(&BTreeMap::new()));
    assert!(selector("!app,app!=web").matches(&BTreeMap::new()));
}

#[test]
fn real_labels_can_be_selected() {
    for (key, value) in [
        ("com.docker.compose.service", "web-1"),
        ("io.kubernetes.pod/name", "a/b:c"),
        ("org.opencontainers.image.title", "My nice image (v1.2)"),
        ("größe", "東京!"),
        ("x", "!not"),
    ] {
        let text = format!("{key}={value}");
        assert!(selector(&text).matches(&labels(&[(key, value)])), "{text}");
        assert_eq!(selector(&text).to_string(), text);
    }
}

#[test]
fn mistakes_name_the_term_and_what_would_be_right() {
    let example = r#"name at least one label, such as "app=web""#;
    let terms = r#"write K, K=V, K!=V or !K, such as "app=web""#;
    let comma = r#"separate terms with a comma, such as "app=web,tier""#;
    let label = r#"write the name of a label, such as "app""#;
    for (text, expected) in [
        ("", format!("the selector is empty: {example}")),
        ("  ", format!("the selector is empty: {example}")),
        (",", format!(r#""," has an empty term: {example}"#)),
        ("app=web,", r#""app=web," has an empty term: write "app=web""#.into()),
        ("app, ,tier", r#""app, ,tier" has an empty term: write "app,tier""#.into()),
        ("=web", format!(r#""=web" has no label name: {label}"#)),
        ("!=web", format!(r#""!=web" has no label name: {label}"#)),
        ("!", format!(r#""!" has no label name: {label}"#)),
        ("!app=web", r#""!app=web" mixes "!" and "=": write "app!=web""#.into()),
        ("app:web", r#"label name "app:web" contains ':': write "app=web""#.into()),
        ("app: web", r#"label name "app: web" contains ':': write "app=web""#.into()),
        ("app web", format!(r#"label name "app web" contains ' ': {comma}"#)),
        ("app=web&tier=db", r#"the value in "app=web&tier=db" contains "=": separate terms with a comma, such as "app=web,tier=db""#.into()),
        ("app===web", r#"the value in "app===web" contains "=": separate terms with a comma, such as "app=web,tier=db""#.into()),
        ("app>1", format!(r#"label name "app>1" contains '>': {terms}"#)),
        ("app*", format!(r#"label name "app*" contains '*': {terms}"#)),
        ("!!app", format!(r#"label name "!app" contains '!': {terms}"#)),
        ("app='web'", r#"the value in "app='web'" is in quotes: write "app=web""#.into()),
        (r#"app="web""#, r#"the value in "app=\"web\"" is in quotes: write "app=web""#.into()),
        ("app=a\u{7}b", r#"the value in "app=a\u{7}b" contains '\u{7}': remove it; a value is one line of text"#.into()),
        ("app in (web,db)", r#""app in (web,db)" uses in (...), which selectors do not have: write one policy for each value"#.into()),
        ("app notin (web)", r#""app notin (web)" uses notin (...), which selectors do not have: write a term for each value, such as "app!=web,app!=db""#.into()),
        ("app=web,app=db", r#""app=web" and "app=db" cannot both hold: write one policy for each value"#.into()),
        ("app,x,!app", r#""app" and "!app" cannot both hold: remove one of the two"#.into()),
        ("app!=web,app=web", r#""app!=web" and "app=web" cannot both hold: remove one of the two"#.into()),
        (&["a"; 65].join(","), format!(r#""{}…" has more than 64 terms: put a label of its own on these containers"#, "a,".repeat(30))),
    ] {
        let mistake = text.parse::<Selector>().expect_err(text);
        assert_eq!(mistake.to_string(), expected, "{text:?}");
    }
}

#[test]
fn every_wrong_term_is_reported() {
    let mistakes = Selector::parse("=a,b c,ok=1,!d=e").expect_err("three wrong terms");
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
}

fn term() -> impl Strategy<Value = Term> {
    let key = "[A-Za-z0-9äß][A-Za-z0-9._/-]{0,9}";
    let value = prop_oneof![
        Just(String::new()),
        "[^\\x00-\\x20\\x7f-\\xa0,='\"\\s\\pC]([^\\x00-\\x1f\\x7f-\\x9f,=]{0,9}[a-z0-9!])?"
    ];
    (key, value, 0..4).prop_map(|(key, value, kind)| match kind {
        0 => Term::Exists(key),
        1 => Term::Absent(key),
        2 => Term::Equals(key, value),
        _ => Term::NotEquals(key, value),
    })
}

proptest! {
    #[test]
    fn display_parses_to_the_same_selector(terms in prop::collection::vec(term(), 1..6)) {
        prop_assume!(contradiction(&terms).is_none());
        let selector = Selector { terms };
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_parses_or_is_explained(text in "[a-c=!, :'\"()]{0,12}|.*") {
        match Selector::parse(&text) {
            Ok(selector) => {
                let displayed = selector.to_string();
                prop_assert_eq!(Selector::parse(&displayed), Ok(selector), "{}", displayed);
            }
            Err(mistakes) => for mistake in mistakes {
                prop_assert!(!mistake.to_string().contains(char::is_control));
            },
        }
    }

    #[test]
    fn a_term_and_its_negation_split_all_containers(
        key in "[ab]", value in "[xy]", have in prop::collection::btree_map("[ab]", "[xy]", 0..3),
    ) {
        let holds = |text: String| selector(&text).matches(&have);
        prop_assert_ne!(holds(key.clone()), holds(format!("!{key}")));
        prop_assert_ne!(holds(format!("{key}={value}")), holds(format!("{key}!={value}")));
    }
}
