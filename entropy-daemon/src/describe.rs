//! Rules in words and in JSON: which packets, and what happens to them. Pure.

mod condition;
mod fault;

pub use self::{condition::Condition, fault::Faults};

/// The percentage with the fewest decimals that rounds to so many parts of 2^32: what a person
/// wrote, not its binary neighbour.
fn percent_of_parts(parts: u64) -> f64 {
    const ONE: f64 = 4_294_967_296.0;
    let exact = parts as f64 / ONE * 100.0;
    (0..=9)
        .map(|decimals| format!("{exact:.decimals$}").parse().unwrap_or(exact))
        .find(|shorter: &f64| (shorter / 100.0 * ONE).round() as u64 == parts)
        .unwrap_or(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shown_as_they_were_written() {
        use crate::policy::Rate;
        for written in ["0%", "0.01%", "1%", "2%", "2.5%", "10%", "33.333%", "50%", "100%"] {
            let parts = written.parse::<Rate>().unwrap().parts();
            assert_eq!(format!("{}%", percent_of_parts(parts)), written);
        }
        // The smallest there is, and the last below one.
        assert_eq!(percent_of_parts(1), 0.000_000_02);
        assert!(percent_of_parts((1 << 32) - 1) < 100.0);
    }
}
