//! Which dead letters a command is about.

use clap::Args;

use super::letter::Letter;
use crate::broker::dead_letters::{DeadLetterQueue, Verdict};
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

impl Which {
    /// The letters that are meant, and how the command ends: as failed if one is not there. One of another account is
    /// found only under that.
    pub(super) fn choose(&self, letters: Vec<Letter>, names: &Names) -> (Vec<Letter>, Outcome) {
        let (mine, others): (Vec<Letter>, Vec<Letter>) =
            letters.into_iter().partition(|letter| letter.is_of(names.account()));
        if self.all {
            return (mine, Outcome::Done);
        }
        let mut outcome = Outcome::Done;
        for id in &self.ids {
            let is_meant = |letter: &&Letter| letter.is_meant_by(id);
            if mine.iter().any(|letter| letter.is_meant_by(id)) {
                continue;
            }
            outcome = match others.iter().find(is_meant).and_then(|letter| letter.account.as_ref()) {
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
        let chosen = mine.into_iter().filter(|letter| self.ids.iter().any(|id| letter.is_meant_by(id)));
        (chosen.collect(), outcome)
    }
}

/// All letters, which stay where they are.
pub(super) async fn all(queue: &mut DeadLetterQueue, names: &Names) -> anyhow::Result<Vec<Letter>> {
    let mut letters = Vec::new();
    let round = queue.go_through(|message| {
        letters.push(Letter::of(message, names));
        Verdict::Stays
    });
    round.await?;
    // A command that was killed may have left the queue turned by some places. Those without a time are the oldest.
    letters.sort_by_key(|letter| letter.at);
    Ok(letters)
}

/// Reports that a letter is not there.
pub(super) fn missing(id: &str) -> Outcome {
    terminal::complain(&format!(
        "there is no dead letter {}: `teamleader2db dead-letters list` shows those that are there",
        one_line(id)
    ));
    Outcome::Failed
}
