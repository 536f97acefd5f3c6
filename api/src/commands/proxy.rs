//! `landfall proxy`: the process that carries the apps' traffic.

use crate::cli::ProxyArgs;
use crate::fault::Fault;
use crate::proxy::{self, ProxyOptions};

/// Carries traffic until it is told to stop.
///
/// # Errors
///
/// [`Fault::Unavailable`] when the address or the folder can't be had.
pub async fn run(args: ProxyArgs) -> Result<u8, Fault> {
    let ProxyArgs { dir, listen } = args;
    let doing = format!("the proxy on {listen} could not go on");
    let options = ProxyOptions { dir, listen };
    proxy::run(options).await.map_err(|error| Fault::unavailable(doing, error))?;
    Ok(0)
}
