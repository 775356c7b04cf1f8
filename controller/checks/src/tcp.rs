//! TCP: the port accepts a connection. It is ended at once by a reset, without a byte sent.

use crate::Sockets;
use crate::deadline::Deadline;
use crate::dial;
use crate::failure::Failure;
use crate::kind::Target;

pub(crate) async fn check(target: &Target, deadline: &Deadline, sockets: &Sockets) -> Result<(), Failure> {
    let connection = dial::tcp_with(sockets.take(target), target, deadline).await?;
    sockets.leave(target, connection);
    Ok(())
}
