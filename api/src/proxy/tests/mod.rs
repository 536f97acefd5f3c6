//! The proxy as its users see it: real sockets, real apps in this process, one behaviour a test.

mod failures;
mod life;
mod routing;
mod switching;
