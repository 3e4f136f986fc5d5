//! Python bindings: types and errors only.
