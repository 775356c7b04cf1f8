//! Running an exchange on a connection that has to be moved along beside it, without a task.

use std::convert::Infallible;
use std::future::pending;

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
