//! The threads that agree: consensus, tenures and the control lane run on threads of their own, ahead of everything else
//! where the system allows it.
//!
//! Responsible for one promise: a node that computes, copies or serves as fast as it can is not taken for dead, because
//! what proves its life never waits behind that work. It must never run anything that takes long.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads: one that waits for nobody while another is busy with a long batch.
const THREADS: usize = 2;
/// How far ahead they go, as `nice` counts; it needs the right to (root, or `CAP_SYS_NICE`).
const NICE: i32 = -10;

/// Threads for what must not wait. Ended with it, without waiting for them.
pub(crate) struct ControlRuntime {
    /// Taken at the drop only.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl ControlRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("control")
            .on_thread_start(go_ahead)
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Runs something there, and with it whatever it spawns; none when it panicked.
    pub(crate) async fn run<F>(&self, work: F) -> Option<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(work).await.ok()
    }
}

impl Drop for ControlRuntime {
    /// A runtime that is dropped waits for its threads, which a task must not.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Moves the calling thread ahead; on Linux the priority of "this process" is the thread's own.
fn go_ahead() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the threads that agree have no right to go ahead of others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_on_its_own_threads_and_they_end_within_a_task() {
        let control = ControlRuntime::start().unwrap();
        let name = || std::thread::current().name().map(str::to_owned);
        let ran = control.run(async move {
            let spawned = tokio::spawn(async move { name() });
            spawned.await.unwrap()
        });
        assert_eq!(ran.await, Some(Some("control".to_owned())));
        drop(control);
    }
}
