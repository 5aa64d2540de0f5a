//! How large a share is at most, when a sample is all that is known: the exact binomial bound of Clopper and Pearson.

use serde::Serialize;
use statrs::function::beta::inv_beta_reg;
use utoipa::ToSchema;

/// The bound is at least the true share this often.
pub const CONFIDENCE: f64 = 0.95;

/// A share of a population, as a sample shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Share {
    /// Records that were drawn.
    pub drawn: i64,
    /// Those of them that have the finding.
    pub found: i64,
    /// In 95 of 100 such samples the share of the population is at most this, from 0 to 1; 1 where nothing was drawn.
    pub at_most: f64,
}

impl Share {
    /// Of `drawn` records `found` have it.
    pub fn of(found: i64, drawn: i64) -> Self {
        Self { drawn, found, at_most: upper_bound(found, drawn) }
    }
}

/// The one-sided upper bound: the share at which so few would be found with a probability of 5 %.
///
/// It supposes draws from a population without end. Draws without replacement from one that has an end say more, so
/// the bound is then larger than need be: it is not 0 where all records were drawn and none has the finding.
#[allow(clippy::cast_precision_loss)]
pub fn upper_bound(found: i64, drawn: i64) -> f64 {
    if drawn <= 0 || found >= drawn {
        return 1.0;
    }
    let (found, drawn) = (found.max(0) as f64, drawn as f64);
    // Without any the beta quantile has this form, and it is exact for any number.
    if found == 0.0 {
        return -f64::exp_m1((1.0 - CONFIDENCE).ln() / drawn);
    }
    inv_beta_reg(found + 1.0, drawn - found, CONFIDENCE).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_the_tables_have_it() {
        // R: qbeta(0.95, found + 1, drawn - found).
        for (found, drawn, bound) in [
            (0, 1, 0.95),
            (0, 10, 0.258_865_6),
            (1, 10, 0.394_163_3),
            (5, 10, 0.777_558_8),
            (9, 10, 0.994_883_8),
            (0, 59, 0.049_508_1),
            (0, 300, 0.009_936_1),
            (0, 10_000, 0.000_299_528),
        ] {
            let at_most = upper_bound(found, drawn);
            assert!((at_most - bound).abs() < 1e-6, "{found} of {drawn}: {at_most}");
        }
    }

    /// The probability that at most `found` of `drawn` have what this share of all has.
    fn at_most_so_many(found: i64, drawn: i64, share: f64) -> f64 {
        let mut term = f64::ln_1p(-share) * drawn as f64;
        let mut sum = term.exp();
        for number in 0..found {
            term += ((drawn - number) as f64 / (number + 1) as f64).ln() + (share / (1.0 - share)).ln();
            sum += term.exp();
        }
        sum
    }

    #[test]
    fn so_few_would_be_found_in_five_of_a_hundred_samples() {
        for drawn in [1, 2, 7, 59, 300, 1_000, 20_000] {
            for found in [0, 1, 2, 5, 30, drawn / 2, drawn - 1] {
                if (0..drawn).contains(&found) {
                    let probability = at_most_so_many(found, drawn, upper_bound(found, drawn));
                    assert!((probability - 0.05).abs() < 1e-6, "{found} of {drawn}: {probability}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_known_without_draws_and_where_all_have_it() {
        for (found, drawn) in [(0, 0), (3, 0), (4, 4), (5, 4), (0, -1)] {
            assert_eq!(upper_bound(found, drawn), 1.0, "{found} of {drawn}");
        }
        assert!(upper_bound(0, i64::MAX) >= 0.0 && upper_bound(-3, 10) == upper_bound(0, 10));
    }
}
