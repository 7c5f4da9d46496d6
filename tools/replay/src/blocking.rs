//! Where calls run that block: the engine's, and what issuers are asked. Their number is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{SIGN_INS_MAX, TOKEN_CHECKS_MAX};
use crate::problem::Problem;

/// Calls of the engine at a time: more than any disk works on at once.
const ENGINE_CALLS_MAX: usize = 64;
/// Who waits longer than this for a place is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The places of calls that block.
pub(crate) struct Blocking {
    engine: Arc<Semaphore>,
    tokens: Arc<Semaphore>,
    sign_ins: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        Self {
            engine: Arc::new(Semaphore::new(ENGINE_CALLS_MAX)),
            tokens: Arc::new(Semaphore::new(TOKEN_CHECKS_MAX)),
            sign_ins: Arc::new(Semaphore::new(SIGN_INS_MAX)),
        }
    }

    /// Runs a call of the engine.
    pub(crate) async fn engine<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run(place(&self.engine).await?, work).await
    }

    /// Checks a token, which may ask an issuer for its keys.
    pub(crate) async fn token<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run(place(&self.tokens).await?, work).await
    }

    /// Does a step of signing in at an issuer, which has places of its own among those of all.
    pub(crate) async fn sign_in<T: Send + 'static>(
        &self,
        of_issuer: &Arc<Semaphore>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        // Its own first: who waits for it holds none of the others'.
        let own = place(of_issuer).await?;
        run((own, place(&self.sign_ins).await?), work).await
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let place = tokio::time::timeout(WAIT_MAX, Arc::clone(places).acquire_owned()).await;
    let Ok(Ok(place)) = place else { return Err(Problem::busy()) };
    Ok(place)
}

async fn run<T: Send + 'static>(
    place: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(move || {
        // The place is held until the work has ended, also when nobody waits for it any more.
        let _place = place;
        work()
    });
    done.await.map_err(|_| Problem::internal())
}
