//! Nothing; see the tests. They are to be run by themselves (`-p cached-tests-plain`), so that no other
//! package asks for the feature `testing`.
