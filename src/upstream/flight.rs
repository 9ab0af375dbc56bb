//! A call on its way: what the board hears of its beginning and of its end.

use std::time::Instant;

use super::{
    Router,
    aside::Work,
    board::{Asking, Next},
    breaker::Permit,
    client::throttled,
    patience::Once,
    unsent::resting,
};
use crate::model::{Failed, Outcome};

/// A call on its way to one route. Dropped before its end, nobody waits for it any more.
pub(super) struct Flight<'a> {
    router: &'a Router,
    work: Work<'a>,
    began: Instant,
    route: usize,
    permit: Option<Permit>,
    is_withheld: bool,
}

impl<'a> Flight<'a> {
    /// Not begun yet.
    pub(super) fn new(router: &'a Router, asking: &Asking<'a>, route: usize) -> Self {
        Flight {
            router,
            work: asking.work,
            began: asking.began,
            route,
            permit: None,
            is_withheld: false,
        }
    }

    /// Before the first byte: since the route was chosen the server may have begun to fail. Not after `before_send`, which
    /// takes note that the call is sent; whatever that waits for takes no longer than half a second.
    pub(super) async fn begin(
        &mut self,
        before_send: &mut Once<impl Future<Output = ()> + Send>,
    ) -> Result<(), Failed> {
        self.permit = {
            let mut board = self.router.board();
            board.admit(self.work, self.route, self.began, Instant::now())
        };
        self.is_withheld = self.permit.is_none();
        if self.is_withheld {
            return Err(resting());
        }
        before_send.run().await;
        Ok(())
    }

    /// What follows from the end of the call.
    pub(super) fn ended(&mut self, ended: &Result<Outcome, Failed>) -> Next {
        let Some(permit) = self.permit.take() else {
            return match ended {
                _ if self.is_withheld => Next::Withheld,
                // There is no turn for it soon enough.
                Err(failed) if throttled(failed).is_some() => Next::Elsewhere,
                _ => Next::Done,
            };
        };
        let (next, news) = {
            let now = Instant::now();
            let mut board = self.router.board();
            board.ended(self.work, self.route, permit, ended, now)
        };
        self.router.tell(self.route, news);
        next
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let mut board = self.router.board();
            board.gone(self.work, self.route, permit);
        }
    }
}
