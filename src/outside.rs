//! Other people's systems, each behind one file.

pub mod embedded_postgres;
pub mod guard;
pub mod object_store;
pub mod push;
