//! Loops that belong to a handle: started again when they panic, ended with it. It must never know what they do.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::JoinSet;

/// Between a panic and the next life.
const REST: Duration = Duration::from_millis(100);

/// The loops of one handle. Dropping it ends them; [`Loops::stop`] also waits for their end.
#[derive(Debug, Default)]
pub(crate) struct Loops(Mutex<JoinSet<()>>);

impl Loops {
    /// Runs a loop until it returns; one that panics begins again.
    pub(crate) fn keep<F, L>(&self, name: &'static str, mut begin: F)
    where
        F: FnMut() -> L + Send + 'static,
        L: Future<Output = ()> + Send + 'static,
    {
        self.0.lock().spawn(async move {
            while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
                tracing::error!(name, "a loop of the cluster panicked; it begins again");
                metrics::counter!("ultrakv_cluster_loop_panics_total", "loop" => name).increment(1);
                tokio::time::sleep(REST).await;
            }
        });
    }

    /// Ends every loop and waits until all are gone.
    pub(crate) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock());
        tasks.shutdown().await;
    }
}
