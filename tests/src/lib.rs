//! The laboratory: namespaces, Docker engines and traffic for the tests.
