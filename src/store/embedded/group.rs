//! The order of a group commit, whatever is committed: gather, apply, write once, and only then answer each.
//!
//! `tests/loom` includes this very file and walks through the orders in which callers and the writer can meet.

use std::time::Duration;

/// Requests in one group; bounds how long the first of them waits.
const GROUP_LIMIT: usize = 1_024;
/// How long changes that nobody waits for wait for others, whose write they share.
const LINGER: Duration = Duration::from_millis(1);

/// Where requests come from.
pub(super) trait Line {
    /// What is asked.
    type Request;

    /// Waits for a request; none when nobody can ask any more.
    fn next(&mut self) -> Option<Self::Request>;

    /// A request that waits already, if there is one.
    fn waiting(&mut self) -> Option<Self::Request>;

    /// A request that waits already or comes within `time`, if there is one.
    fn soon(&mut self, time: Duration) -> Option<Self::Request>;
}

/// What requests change.
pub(super) trait Ledger {
    /// What is asked.
    type Request;
    /// How to answer it.
    type Answer;
    /// Why nothing can be written any more.
    type Failure;

    /// Changes memory, and answers how to answer once that is written; none where nobody waits for it.
    fn apply(&mut self, request: Self::Request) -> Option<Self::Answer>;

    /// Writes the changes of the group, durably. Never called again once it has failed: nobody knows what the device
    /// holds then, and a second sync that succeeds proves nothing.
    fn write(&mut self) -> Result<(), Self::Failure>;

    /// Tells of the changes of the group, which are written.
    fn announce(&mut self);

    /// Answers one caller of the group.
    fn answer(&mut self, answer: Self::Answer, written: Result<(), &Self::Failure>);
}

/// Serves until nobody can ask any more or a write fails. Whoever still waits in the line then is not answered, and
/// learns from its end that nothing was done.
pub(super) fn serve<R, Q, L>(line: &mut Q, ledger: &mut L) -> Result<(), L::Failure>
where
    Q: Line<Request = R>,
    L: Ledger<Request = R>,
{
    while let Some(first) = line.next() {
        let mut answers = Vec::new();
        gather(first, line, ledger, &mut answers);
        if answers.is_empty()
            && let Some(next) = line.soon(LINGER)
        {
            gather(next, line, ledger, &mut answers);
        }
        if let Err(failure) = ledger.write() {
            for answer in answers {
                ledger.answer(answer, Err(&failure));
            }
            return Err(failure);
        }
        ledger.announce();
        for answer in answers {
            ledger.answer(answer, Ok(()));
        }
    }
    Ok(())
}

/// Applies a request, and all that wait by then.
fn gather<R, Q, L>(first: R, line: &mut Q, ledger: &mut L, answers: &mut Vec<L::Answer>)
where
    Q: Line<Request = R>,
    L: Ledger<Request = R>,
{
    answers.extend(ledger.apply(first));
    while answers.len() < GROUP_LIMIT
        && let Some(next) = line.waiting()
    {
        answers.extend(ledger.apply(next));
    }
}
