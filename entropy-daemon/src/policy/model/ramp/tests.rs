use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::policy::{Policy, parse};

const S: u64 = 1_000_000_000;

/// A policy with these lines.
fn policy(lines: &str) -> Policy {
    let text = format!("[[policy]]\nname = 'p'\ntarget = 'app'\n{lines}\n");
    let policies = parse(Path::new("test.toml"), text.as_bytes());
    policies.unwrap_or_else(|problems| panic!("{problems}")).remove(0)
}

/// The faults of a policy with these lines.
fn faults(lines: &str) -> Faults {
    policy(lines).faults
}

fn ramp(policy: &Policy) -> &Ramp {
    policy.ramp.as_ref().unwrap()
}

#[test]
fn all_that_moves_moves_evenly_in_steps_and_the_rest_stays() {
    let policy = policy(
        "delay = { base = '80ms', jitter = '20ms', distribution = 'normal', order = 'keep' }\n\
         loss = { rate = '10%', burst = 3 }\nduplicate = '1%'\ncorrupt = { rate = '4%', silent = true }\n\
         rate = { limit = '10mbit', queue = '64KiB' }\nreorder = '5%'\n\
         ramp = { over = '10s', step = '2s', from = { delay = '0ms', loss = '0%', duplicate = '1%', \
         corrupt = { rate = '0%' }, rate = '110mbit' } }",
    );
    let at = |seconds: u64| ramp(&policy).at(&policy.faults, seconds * S);
    let expected = faults(
        "delay = { base = '32ms', jitter = '8ms', distribution = 'normal', order = 'keep' }\n\
         loss = { rate = '4%', burst = 3 }\nduplicate = '1%'\ncorrupt = { rate = '1.6%', silent = true }\n\
         rate = { limit = '70mbit', queue = '64KiB' }\nreorder = '5%'",
    );
    assert_eq!(at(4), expected);
    assert_eq!(at(5), expected);
    assert_ne!(at(6), expected);
    assert_eq!(at(0).loss.unwrap().rate_mut().copied(), Some(Rate::NEVER));
    assert_eq!(at(10), policy.faults);
    assert_eq!(at(u64::MAX / S), policy.faults);
}

#[test]
fn a_ramp_has_a_hundred_steps_of_a_second_at_least_and_ends_at_its_end() {
    let long = policy("loss = '5%'\nramp = { over = '5m', from = { loss = '0%' } }");
    assert_eq!(ramp(&long).step, Span::new(3 * S));
    let uneven = policy("loss = '5%'\nramp = { over = '2500ms', from = { loss = '0%' } }");
    let next = |passed_ns| ramp(&uneven).next(passed_ns);
    assert_eq!(next(0), Some(S));
    assert_eq!(next(S - 1), Some(S));
    assert_eq!(next(S), Some(2 * S));
    assert_eq!(next(2 * S), Some(5 * S / 2));
    assert_eq!(next(5 * S / 2), None);
    let shown = ramp(&uneven).to_string();
    assert_eq!(shown, "ramp from loss 0% over 2.5s, each 1s");
}

proptest! {
    /// Each value lies between its ends, goes one way only, is at the ends when it should be, stays as it
    /// is until the next step is due, and has a record.
    #[test]
    fn values_go_from_one_end_to_the_other_and_always_have_a_record(
        first in (0_u64..60_000, 0_u64..1_000_000, 1_u64..1_000_000),
        last in (0_u64..60_000, 0_u64..1_000_000, 1_u64..1_000_000),
        over_ms in 1_000_u64..100_000,
        step_part in 1_u64..=100,
        mut passed in prop::collection::vec(0_u64..120_000_000_000, 1..20),
    ) {
        // Sixty seconds are the longest delay.
        prop_assume!(first != last);
        let step_ms = (over_ms * step_part / 100).max(1_000);
        let percent = |millionths: u64| format!("{}.{:04}%", millionths / 10_000, millionths % 10_000);
        let policy = policy(&format!(
            "delay = '{}ms'\nloss = '{}'\nrate = '{}kbit'\n\
             ramp = {{ over = '{over_ms}ms', step = '{step_ms}ms', \
             from = {{ delay = '{}ms', loss = '{}', rate = '{}kbit' }} }}",
            last.0, percent(last.1), last.2, first.0, percent(first.1), first.2,
        ));
        let ramp = ramp(&policy);
        let values = |passed_ns: u64| {
            let mut faults = ramp.at(&policy.faults, passed_ns);
            prop_assert!(faults.records().is_ok());
            let loss = faults.loss.as_mut().and_then(Loss::rate_mut).unwrap().billionths();
            let Some(DelayTime::Base { base, .. }) = faults.delay.map(|delay| delay.time) else {
                panic!()
            };
            Ok([base.nanoseconds(), loss, faults.rate.unwrap().limit.bits_per_second()])
        };
        passed.sort_unstable();
        passed.insert(0, 0);
        passed.push(over_ms * 1_000_000);
        passed.sort_unstable();
        let ends = (values(0)?, values(u64::MAX)?);
        let mut before = ends.0;
        for passed_ns in passed {
            let now = values(passed_ns)?;
            for ((now, before), (first, last)) in
                now.iter().zip(before).zip(ends.0.iter().zip(ends.1))
            {
                let covered = now.abs_diff(*first) + now.abs_diff(last);
                prop_assert_eq!(covered, first.abs_diff(last));
                prop_assert!(now.abs_diff(last) <= before.abs_diff(last));
            }
            before = now;
            match ramp.next(passed_ns) {
                None => prop_assert_eq!(now, ends.1),
                Some(next_ns) => {
                    prop_assert!(next_ns > passed_ns);
                    prop_assert_eq!(values(next_ns - 1)?, now);
                }
            }
        }
        prop_assert_eq!(ends.1[0], last.0 * 1_000_000);
        prop_assert_eq!(ends.0[2], first.2 * 1_000);
    }
}
