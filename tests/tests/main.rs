//! What users rely on, by behaviour.

mod companion;
mod expiry;
mod shapes;
mod values;
