//! How operators and programs name resources: in the API's spelling (`timeTracking`) or in the table's
//! (`time_tracking`), in any case.

use strsim::jaro_winkler;

use super::derived::RESOURCES;
use super::resource::Resource;

/// The word for all resources that take no call for each parent record.
pub const ALL: &str = "all";

/// How like a name has to be to the one that is not there: that of `kontacts` to `contacts` is 0.92, of `quotes` to
/// `quotations` 0.87.
const ALIKE: f64 = 0.85;

/// How many of them are suggested.
const MOST_ALIKE: usize = 3;

/// No more of an unknown name is repeated, in characters: a reason goes into events and headers.
const MOST_REPEATED: usize = 64;

/// There is no resource of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownResource {
    name: String,
    /// The nearest names first.
    alike: Vec<&'static str>,
}

impl std::error::Error for UnknownResource {}

impl std::fmt::Display for UnknownResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no resource {:?}", self.name)?;
        match &self.alike[..] {
            [] => write!(f, ".")?,
            [only] => write!(f, ": did you mean {only}?")?,
            [most @ .., last] => write!(f, ": did you mean {} or {last}?", most.join(", "))?,
        }
        write!(f, " `teamleader2db request --help` lists all")
    }
}

/// The resource of this name.
pub fn resolve(name: &str) -> Result<&'static Resource, UnknownResource> {
    let name = name.trim();
    let is_called = |known: &str| known.eq_ignore_ascii_case(name);
    let found = RESOURCES.iter().find(|resource| is_called(resource.name) || is_called(&table(resource.name)));
    found.ok_or_else(|| UnknownResource { name: name.chars().take(MOST_REPEATED).collect(), alike: alike(name) })
}

/// The name of a resource's table and view.
pub fn table(resource: &str) -> String {
    snake_case(&resource.replace(['/', '.', '-'], "_"))
}

/// `workOrder` is `work_order`.
pub fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        let after_word = snake.ends_with(|before: char| before.is_ascii_lowercase() || before.is_ascii_digit());
        if c.is_ascii_uppercase() && after_word {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Whether this is the word for all of them.
pub fn is_all(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case(ALL)
}

/// What a program may write: the word for all, and each name in its two spellings. [`resolve`] takes them in any case.
pub fn spellings() -> Vec<String> {
    [vec![ALL.to_owned()], spellings_of(|_| true)].concat()
}

/// The same of those whose records can be asked for by their ids.
#[cfg(test)]
pub fn spellings_of_those_by_id() -> Vec<String> {
    spellings_of(Resource::is_given_by_id)
}

fn spellings_of(fits: impl Fn(&Resource) -> bool) -> Vec<String> {
    let both = |resource: &Resource| {
        let table = Some(table(resource.name)).filter(|table| table != resource.name);
        [Some(resource.name.to_owned()), table]
    };
    RESOURCES.iter().filter(|resource| fits(resource)).flat_map(both).flatten().collect()
}

/// The names that may be meant, the most alike first.
fn alike(name: &str) -> Vec<&'static str> {
    let name = table(&name.chars().take(MOST_REPEATED).collect::<String>());
    // Those that begin with the name come first: `projects-v2` means one of four.
    let likeness = |resource: &Resource| {
        let known = table(resource.name);
        let begins_so = name.len() > 2 && known.starts_with(&name);
        jaro_winkler(&known, &name) + if begins_so { 1.0 } else { 0.0 }
    };
    let mut alike: Vec<(f64, &'static str)> =
        RESOURCES.iter().map(|resource| (likeness(resource), resource.name)).collect();
    alike.retain(|(likeness, _)| *likeness >= ALIKE);
    alike.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    alike.into_iter().take(MOST_ALIKE).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_resource_is_known_by_both_spellings_in_any_case() {
        for (name, resource) in [
            ("contacts", "contacts"),
            ("Contacts", "contacts"),
            (" contacts ", "contacts"),
            ("timeTracking", "timeTracking"),
            ("time_tracking", "timeTracking"),
            ("timetracking", "timeTracking"),
            ("TIME_TRACKING", "timeTracking"),
            ("projects_v2_tasks", "projects-v2/tasks"),
            ("Projects-V2/Tasks", "projects-v2/tasks"),
            ("users_days_off", "users.daysOff"),
        ] {
            assert_eq!(resolve(name).map(|found| found.name), Ok(resource), "{name}");
        }
        let spellings = |resource: &Resource| [resource.name.to_lowercase(), table(resource.name)];
        for resource in RESOURCES.iter() {
            for name in spellings(resource) {
                assert_eq!(resolve(&name).map(|found| found.name), Ok(resource.name), "no other has this name");
            }
        }
        let all: BTreeSet<String> = RESOURCES.iter().flat_map(spellings).collect();
        assert!(!all.iter().any(|name| is_all(name)));
        assert!(is_all("all") && is_all("ALL") && !is_all("al"));
    }

    #[test]
    fn a_mistyped_name_gets_the_nearest_ones() {
        let said = |name: &str| resolve(name).map(|found| found.name).expect_err(name).to_string();
        let list = " `teamleader2db request --help` lists all";
        assert_eq!(said("contact"), format!("there is no resource \"contact\": did you mean contacts?{list}"));
        assert_eq!(said("companie"), format!("there is no resource \"companie\": did you mean companies?{list}"));
        assert!(said("time-trackin").contains("did you mean timeTracking?"), "{}", said("time-trackin"));
        assert!(said("projects-v2").contains(" or projects-v2/"), "{}", said("projects-v2"));
        for name in ["", "zzz", "contacts,companies", &"x".repeat(10_000)] {
            assert!(said(name).len() < 200, "{}", said(name));
        }
        assert_eq!(said("zzz"), format!("there is no resource \"zzz\".{list}"));
    }
}
