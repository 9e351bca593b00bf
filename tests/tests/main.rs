//! What users rely on, by behaviour.

mod shapes;
