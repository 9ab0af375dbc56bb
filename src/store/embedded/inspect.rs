//! Compares what lies on disk with what was promised, before the database opens and mends it in its own way.

use std::{io, path::Path};

use super::{
    journal::{self, Journal},
    manifest,
    promise::{Mark, Promise, Promised},
};

/// What an inspection found.
#[derive(Debug)]
pub(super) struct Survey {
    promised: Promised,
    journals: Vec<Journal>,
    /// What is wrong with the lists of tables.
    pub(super) fault: Option<String>,
}

/// Why what was promised cannot be shown to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// So many acknowledged commits are missing.
    Commits(u64),
    /// A journal is damaged where no write can have been under way.
    Journal(String),
    /// The promise itself cannot be read, for this reason.
    Promise(&'static str),
}

impl Survey {
    /// Looks at `directory`, whose database is `database`.
    pub(super) fn take(directory: &Path, database: &Path) -> io::Result<Survey> {
        Ok(Survey {
            promised: Promise::read(directory)?,
            journals: journal::read_all(database)?,
            fault: manifest::fault(database)?,
        })
    }

    /// Whether anything was ever committed or promised here.
    pub(super) fn has_commits(&self) -> bool {
        self.last() > 0
            || matches!(self.promised, Promised::Whole(mark) | Promised::Half(mark) if mark.acked > 0)
    }

    /// What is known to have been promised.
    pub(super) fn mark(&self) -> Mark {
        match self.promised {
            Promised::Whole(mark) | Promised::Half(mark) => mark,
            Promised::Missing | Promised::Damaged => Mark::default(),
        }
    }

    /// The last commit in the journals; 0 when there is none in them.
    pub(super) fn last(&self) -> u64 {
        let runs = self.journals.iter().flat_map(|journal| &journal.runs);
        runs.map(|(_, last)| *last).max().unwrap_or(0)
    }

    /// What is missing, as far as journals show it.
    ///
    /// A torn end of the last journal is no loss when all that was promised comes before it.
    pub(super) fn loss(&self) -> Option<Loss> {
        let mark = match self.promised {
            Promised::Whole(mark) => mark,
            // It may have held one more than the other: no loss if that one is there.
            Promised::Half(mark) if self.last() > mark.acked => mark,
            Promised::Half(_) => return Some(Loss::Promise("is damaged")),
            Promised::Damaged => return Some(Loss::Promise("is damaged")),
            Promised::Missing => return Some(Loss::Promise("is missing")),
        };
        if let Some(missing) = self.missing(mark) {
            return Some(Loss::Commits(missing));
        }
        // A torn end has something before it; where nothing can be read, that it was never promised is not known.
        let is_blank = self.last() == 0 && mark.acked > mark.floor;
        let (active, sealed) = self.journals.split_last()?;
        let mut torn = sealed.iter().chain(is_blank.then_some(active));
        let damaged = torn.find(|journal| journal.is_torn)?;
        Some(Loss::Journal(damaged.path.display().to_string()))
    }

    /// How many commits are not there, after the first that is and up to the last promised.
    fn missing(&self, mark: Mark) -> Option<u64> {
        let runs = self.journals.iter().flat_map(|journal| &journal.runs);
        let (mut before, mut missing) = (None, 0);
        for (first, last) in runs {
            if let Some(before) = before {
                missing += first.saturating_sub(mark.floor.max(before) + 1);
            }
            before = before.max(Some(*last));
        }
        if let Some(last) = before {
            missing += mark.acked.saturating_sub(last.max(mark.floor));
        }
        (missing > 0).then_some(missing)
    }

    /// Cuts off what the database could not read: what nobody was told of, or what is given up.
    pub(super) fn cut(&self) -> io::Result<()> {
        for journal in self.journals.iter().filter(|journal| journal.is_torn) {
            tracing::warn!(
                "{} ends in a write that was cut short; removing what is left of it",
                journal.path.display()
            );
            journal.cut()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(runs: &[(u64, u64)], is_torn: bool) -> Journal {
        Journal {
            path: "n.jnl".into(),
            runs: runs.to_vec(),
            end: 0,
            is_torn,
        }
    }

    fn loss(acked: u64, floor: u64, journals: Vec<Journal>) -> Option<Loss> {
        let promised = Promised::Whole(Mark { acked, floor });
        let survey = Survey {
            promised,
            journals,
            fault: None,
        };
        survey.loss()
    }

    #[test]
    fn all_that_was_promised_is_found_before_a_torn_end() {
        assert_eq!(loss(0, 0, vec![]), None);
        assert_eq!(loss(0, 0, vec![journal(&[], true)]), None);
        assert_eq!(loss(9, 0, vec![journal(&[(1, 9)], true)]), None);
        let both = vec![journal(&[(3, 5)], false), journal(&[(6, 9)], true)];
        assert_eq!(loss(8, 0, both), None);
        assert_eq!(loss(9, 0, vec![journal(&[], false)]), None);
    }

    #[test]
    fn what_is_missing_is_counted_at_the_end_and_in_between() {
        let at_the_end = vec![journal(&[(1, 6)], true)];
        assert_eq!(loss(9, 0, at_the_end), Some(Loss::Commits(3)));
        // What was torn is cut off once the loss is accepted.
        let between = |is_torn| vec![journal(&[(1, 4)], is_torn), journal(&[(7, 9)], false)];
        assert_eq!(loss(9, 0, between(true)), Some(Loss::Commits(2)));
        assert_eq!(loss(9, 9, between(false)), None);
        assert_eq!(loss(9, 6, between(false)), None);
    }

    #[test]
    fn a_journal_that_was_closed_has_no_torn_end() {
        let damaged = Some(Loss::Journal("n.jnl".into()));
        let sealed = vec![journal(&[(1, 4)], true), journal(&[(5, 9)], false)];
        assert_eq!(loss(9, 0, sealed), damaged);
        assert_eq!(loss(9, 0, vec![journal(&[], true)]), damaged);
    }
}
