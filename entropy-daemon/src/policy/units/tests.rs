use proptest::prelude::*;

use super::*;

fn parts(text: &str) -> u64 {
    text.parse::<Rate>().unwrap_or_else(|mistake| panic!("{text}: {mistake}")).parts()
}

fn mistake(text: &str) -> String {
    text.parse::<Rate>().map_or_else(|m| m.to_string(), |rate| panic!("{text} parses to {rate}"))
}

#[test]
fn percentages_become_the_nearest_parts_of_2_to_the_32() {
    assert_eq!(parts("0%"), 0);
    assert_eq!(parts("100%"), 1 << 32);
    assert_eq!(parts("50%"), 1 << 31);
    assert_eq!(parts("25.000%"), 1 << 30);
    assert_eq!(parts("2%"), 85_899_346); // 85 899 345.92
    assert_eq!(parts("0.01%"), 429_497); // 429 496.73
    assert_eq!(parts("0.1%"), 4_294_967); // 4 294 967.296
    assert_eq!(parts("1%"), 42_949_673); // 42 949 672.96
    assert_eq!(parts("0.000000012%"), 1); // 0.515
    assert_eq!(parts("00002%"), parts("2%"));
}

#[test]
fn less_than_always_never_becomes_always() {
    assert_eq!(parts("99.999999999%"), (1 << 32) - 1);
    assert_eq!(parts("99.99999998%"), (1 << 32) - 1);
}

#[test]
fn display_is_the_shortest_form() {
    for (text, shortest) in [
        ("2%", "2%"),
        ("2.50%", "2.5%"),
        ("002.000%", "2%"),
        ("0.010%", "0.01%"),
        ("100.0%", "100%"),
        ("0.000000012%", "0.000000012%"),
    ] {
        assert_eq!(text.parse::<Rate>().unwrap().to_string(), shortest);
    }
}

#[test]
fn mistakes_say_what_would_be_right() {
    let example = r#"write a percentage such as "2%" or "0.01%""#;
    let range = r#"write a percentage from "0%" to "100%""#;
    for (text, expected) in [
        ("", format!("the percentage is empty: {example}")),
        ("2", r#""2" has no unit: write "2%""#.into()),
        ("0", r#""0" has no unit: write "0%""#.into()),
        ("0.02", r#""0.02" has no unit: write "0.02%", or "2%" if a fraction of one is meant"#.into()),
        ("250", format!(r#""250" has no unit: {example}"#)),
        ("2 %", r#""2 %" contains a space: write "2%""#.into()),
        (" 2%", r#"" 2%" contains a space: write "2%""#.into()),
        ("2%\n", r#""2%\n" contains '\n': write "2%""#.into()),
        ("2 percent", format!(r#""2 percent" contains a space: {example}"#)),
        ("-2%", format!(r#""-2%" is negative: {range}"#)),
        ("--2%", format!(r#""--2%" is no percentage: {range}"#)),
        ("+2%", r#""+2%" has a sign: write "2%""#.into()),
        ("2,5%", r#""2,5%" contains a comma: write "2.5%""#.into()),
        (".5%", r#"".5%" lacks a digit beside the point: write "0.5%""#.into()),
        ("5.%", r#""5.%" lacks a digit beside the point: write "5%""#.into()),
        ("1e-3%", r#""1e-3%" has an exponent: write the number out, such as "0.001%""#.into()),
        ("1E1%", r#""1E1%" has an exponent: write the number out, such as "0.001%""#.into()),
        ("100.000000001%", format!(r#""100.000000001%" is more than 100%: {range}"#)),
        ("101%", format!(r#""101%" is more than 100%: {range}"#)),
        ("99999999999999999999999%", format!(r#""99999999999999999999999%" is more than 100%: {range}"#)),
        ("0.0000000001%", r#""0.0000000001%" has more than 9 decimals: round it to 9 decimals"#.into()),
        (
            "0.000000011%",
            r#""0.000000011%" is less than the smallest rate there is: write "0.000000012%" or more, or "0%""#.into(),
        ),
        ("NaN%", format!(r#""NaN%" is no percentage: {example}"#)),
        ("inf%", format!(r#""inf%" is no percentage: {example}"#)),
        ("%", format!(r#""%" is no percentage: {example}"#)),
        ("2%%", format!(r#""2%%" is no percentage: {example}"#)),
        ("2_0%", format!(r#""2_0%" is no percentage: {example}"#)),
        ("٢%", format!(r#""٢%" is no percentage: {example}"#)),
        ("1.2.3%", format!(r#""1.2.3%" is no percentage: {example}"#)),
        ("2\u{ff05}", format!("\"2\u{ff05}\" is no percentage: {example}")),
        ("two", format!(r#""two" is no percentage: {example}"#)),
    ] {
        assert_eq!(mistake(text), expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_parses_or_is_explained_without_control_characters(text in "\\PC*|[0-9.%+e, \n-]{0,12}|.*") {
        if let Err(mistake) = text.parse::<Rate>() {
            prop_assert!(!mistake.to_string().contains(char::is_control));
        }
    }

    #[test]
    fn the_displayed_rate_parses_to_the_same_rate(billionths in 12..=100 * PERCENT) {
        let rate = Rate { billionths_of_percent: billionths };
        prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
    }

    #[test]
    fn parts_are_off_by_half_a_part_at_most(billionths in 12..99_999_999_980_u64) {
        let rate = Rate { billionths_of_percent: billionths };
        let one = u128::from(100 * PERCENT);
        let exact = u128::from(billionths) << 32;
        let off = exact.abs_diff(u128::from(rate.parts()) * one);
        prop_assert!(off * 2 <= one);
    }
}
