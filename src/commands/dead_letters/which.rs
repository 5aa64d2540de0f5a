//! Which dead letters a command is about.

use std::collections::BTreeSet;

use clap::Args;

use crate::broker::dead_letters::letter::Letter;
use crate::broker::topology::Names;
use crate::commands::outcome::Outcome;
use crate::commands::terminal::{self, one_line};

/// Which letters something is done with.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// Which ones
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All of the account
    #[arg(long)]
    all: bool,
}

/// The ids of the letters that are meant by an id: those that it names, or else the one whose id begins so. `None`,
/// which is reported: several begin so.
pub(super) fn meant<'l>(letters: impl Iterator<Item = &'l Letter> + Clone, asked: &str) -> Option<BTreeSet<String>> {
    let ids = |fits: &dyn Fn(&Letter) -> bool| {
        letters.clone().filter(|letter| fits(letter)).map(|letter| letter.id.clone()).collect::<BTreeSet<_>>()
    };
    let named = ids(&|letter| letter.is_named(asked));
    if !named.is_empty() {
        return Some(named);
    }
    let begin_so = ids(&|letter| letter.fits(asked));
    if begin_so.len() > 1 {
        let (asked, ids) = (one_line(asked), begin_so.into_iter().collect::<Vec<_>>().join(", "));
        terminal::complain(&format!("{asked} means several dead letters: {ids}. Give more of the id"));
        return None;
    }
    Some(begin_so)
}

impl Which {
    /// The letters that are meant, and how the command ends: as failed if one is not there. One of another account is
    /// found only under that. Where it is not clear which is meant, none is.
    pub(super) fn choose(&self, letters: Vec<Letter>, names: &Names) -> (Vec<Letter>, Outcome) {
        let (mine, others): (Vec<Letter>, Vec<Letter>) =
            letters.into_iter().partition(|letter| letter.is_of(names.account()));
        if self.all {
            return (mine, Outcome::Done);
        }
        let (mut all_meant, mut outcome) = (BTreeSet::new(), Outcome::Done);
        for id in &self.ids {
            let Some(meant) = meant(mine.iter(), id) else { return (Vec::new(), Outcome::Usage) };
            if !meant.is_empty() {
                all_meant.extend(meant);
                continue;
            }
            outcome = match others.iter().find(|letter| letter.fits(id)).and_then(|letter| letter.account.as_ref()) {
                Some(account) => {
                    let id = one_line(id);
                    terminal::complain(&format!(
                        "the dead letter {id} is of account {account}: add --account {account}"
                    ));
                    Outcome::Failed
                }
                None => missing(id),
            };
        }
        (mine.into_iter().filter(|letter| all_meant.contains(&letter.id)).collect(), outcome)
    }
}

/// Reports that a letter is not there.
pub(super) fn missing(id: &str) -> Outcome {
    terminal::complain(&format!(
        "there is no dead letter {}: `teamleader2db dead-letters list` shows those that are there",
        one_line(id)
    ));
    Outcome::Failed
}
