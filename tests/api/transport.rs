//! The way in below HTTP and around it: connections, TLS, requests that are made to be misread.

mod chunks;
mod connections;
mod corpus;
mod process;
mod signals;
mod tls;
mod unix;
mod upgrades;
