//! TCP: the port accepts a connection. It is closed at once by a reset, without a byte sent.

use crate::deadline::Deadline;
use crate::dial;
use crate::failure::Failure;
use crate::kind::Target;

pub(crate) async fn check(target: &Target, deadline: &Deadline) -> Result<(), Failure> {
    dial::tcp(target, deadline).await.map(drop)
}
