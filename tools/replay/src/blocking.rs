//! Where calls run that block: the engine's, and what issuers are asked. Their number is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Calls of the engine at a time: more than any disk works on at once.
const ENGINE_CALLS_MAX: usize = 64;
/// Tokens and codes that are checked at a time: an issuer that hangs must not take the engine's places.
const ISSUER_CALLS_MAX: usize = 16;
/// Who waits longer than this for a place is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The places of calls that block.
pub(crate) struct Blocking {
    engine: Arc<Semaphore>,
    issuers: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        Self {
            engine: Arc::new(Semaphore::new(ENGINE_CALLS_MAX)),
            issuers: Arc::new(Semaphore::new(ISSUER_CALLS_MAX)),
        }
    }

    /// Runs a call of the engine.
    pub(crate) async fn engine<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run(&self.engine, work).await
    }

    /// Runs a call that may ask an issuer.
    pub(crate) async fn issuer<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        run(&self.issuers, work).await
    }
}

async fn run<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let place = tokio::time::timeout(WAIT_MAX, Arc::clone(places).acquire_owned()).await;
    let Ok(Ok(place)) = place else { return Err(Problem::busy()) };
    let done = tokio::task::spawn_blocking(move || {
        // The place is held until the work has ended, also when nobody waits for it any more.
        let _place = place;
        work()
    });
    done.await.map_err(|_| Problem::internal())
}
