//! What the compiler says to users of `#[cached]`; see `README.md`.

/// The version of the compiler whose words the expectations in `fail` are.
pub const COMPILER: &str = "1.95";

/// Whether this is that compiler.
#[must_use]
pub fn is_expected_compiler(version: &str) -> bool {
    version.strip_prefix("rustc ").is_some_and(|version| version.starts_with(&format!("{COMPILER}.")))
}
