//! What is measured: prepared before, and done in one go.

/// One go at a piece. Answers how much of it was done, so that one that does nothing is not taken for a fast one.
pub(crate) struct Round(Box<dyn FnOnce() -> u64>);

impl Round {
    /// A round that does this.
    pub(crate) fn new(go: impl FnOnce() -> u64 + 'static) -> Self {
        Round(Box::new(go))
    }

    /// Goes.
    pub(crate) fn run(self) -> u64 {
        (self.0)()
    }
}

/// Prepares rounds, one after the other.
pub(crate) type Rounds = Box<dyn FnMut() -> Round>;

/// How many of these are so.
pub(crate) fn how_many<T>(items: impl IntoIterator<Item = T>, is_so: impl Fn(&T) -> bool) -> u64 {
    items.into_iter().filter(is_so).count() as u64
}
