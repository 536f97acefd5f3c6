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
    let tls = args.tls();
    let ProxyArgs { dir, listen, trusts, .. } = args;
    proxy::run(ProxyOptions { dir, listen, tls, trusts }).await.map_err(Fault::not_had)?;
    Ok(0)
}
