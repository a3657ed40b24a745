//! "Did you mean": the nearest of the known names, for a few names of a request and no more.
//!
//! INVARIANT (bounded-work): the distance of two names costs their lengths multiplied, for each
//! known name. Names that nobody can have chosen get no suggestion, and one request gets a limited
//! number.

use contracts::limits::SUGGESTIONS_MAX;

/// How many suggestions one request still gets.
#[derive(Debug)]
pub struct Suggestions {
    left: u32,
}

impl Default for Suggestions {
    fn default() -> Self {
        Self { left: SUGGESTIONS_MAX }
    }
}

impl Suggestions {
    /// No suggestions: for look-ups whose message is not shown.
    pub fn none() -> Self {
        Self { left: 0 }
    }

    /// `; did you mean ...?` for the nearest of the known names, or nothing.
    pub fn nearest<'n>(&mut self, name: &str, known: impl Iterator<Item = &'n str>) -> String {
        if self.left == 0 {
            return String::new();
        }
        self.left -= 1;
        nearest(name, known)
    }
}

/// `; did you mean ...?` for the nearest of the known names, or nothing. For one name of a request;
/// see [`Suggestions`] for many.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    contracts::names::did_you_mean(name, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_work_suggestions_are_few_and_short() {
        let known = ["refund.create", "refund.find"];
        let mut few = Suggestions::default();
        let given = (0..1_000)
            .filter(|_| !few.nearest("refund.creat", known.into_iter()).is_empty())
            .count();
        assert_eq!(given, SUGGESTIONS_MAX as usize);
        assert_eq!(nearest("refund.creat", known.into_iter()), "; did you mean `refund.create`?");
        assert_eq!(nearest(&"r".repeat(129), ["r"; 9].into_iter()), "");
        let long = "r".repeat(1_000_000);
        assert_eq!(nearest("r", [long.as_str()].into_iter()), "");
        assert_eq!(Suggestions::none().nearest("refund.creat", known.into_iter()), "");
    }
}
