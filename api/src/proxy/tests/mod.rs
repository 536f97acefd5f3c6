//! The proxy as its users see it: real sockets, real apps in this process, one behaviour a test.

mod encrypted;
mod failures;
mod life;
mod paths;
mod routing;
mod switching;
mod traffic;
