//! Running an exchange on a connection that has to be moved along beside it, without a task of the runtime's.

use std::convert::Infallible;
use std::future::pending;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hyper::rt::Executor;
use tokio::sync::mpsc;

/// What `exchange` gives, while `connection` moves its bytes. How the connection ends is known to the
/// exchange.
pub(crate) async fn alongside<T>(
    exchange: impl Future<Output = T>,
    connection: impl Future<Output: Sized>,
) -> T {
    let moving = async {
        drop(connection.await);
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        result = exchange => result,
        never = moving => match never {},
    }
}

/// An executor for who wants to spawn: its tasks run where [`Running::all`] is awaited, and end with it.
#[derive(Clone)]
pub(crate) struct Tasks(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

/// The tasks of a [`Tasks`].
pub(crate) struct Running(mpsc::UnboundedReceiver<BoxFuture<'static, ()>>);

impl Tasks {
    pub(crate) fn new() -> (Self, Running) {
        let (tasks, running) = mpsc::unbounded_channel();
        (Self(tasks), Running(running))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        // Without a receiver the check is over, and so is the task.
        let _ = self.0.send(Box::pin(task));
    }
}

impl Running {
    /// Runs all tasks, those that come later too.
    pub(crate) async fn all(mut self) {
        let mut tasks = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(task) = self.0.recv() => tasks.push(task),
                Some(()) = tasks.next() => {}
                else => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn tasks_run_beside_the_exchange_and_end_with_it() {
        let witness = Arc::new(());
        let (tasks, running) = Tasks::new();
        let (done, awaited) = tokio::sync::oneshot::channel();
        let (spawning, kept) = (tasks.clone(), Arc::clone(&witness));
        tasks.execute(async move {
            // One task spawns two others: one that ends and one that never does.
            spawning.execute(async move { done.send(()).unwrap() });
            spawning.execute(async move {
                pending::<()>().await;
                drop(kept);
            });
        });
        assert_eq!(alongside(awaited, running.all()).await, Ok(()));
        assert_eq!(Arc::strong_count(&witness), 1, "the task that never ends is gone");
        // What is spawned too late does not live on in the channel.
        let kept = Arc::clone(&witness);
        tasks.execute(async move { drop(kept) });
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
