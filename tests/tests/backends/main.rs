//! Against real servers, which the tests start by themselves.

mod servers;
