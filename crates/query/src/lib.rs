//! Stream's filter and sort language: JSON in, a checked tree out.
//!
//! A [`Schema`] says which fields a query knows and which operators each takes; everything else a client writes is an
//! error that names the field, or, where the schema allows custom data, a path into it. Nothing here knows SQL: the tree
//! is compiled by the server's store, and values never become part of a statement's text.

mod filter;
mod schema;
mod sort;

pub use filter::{Bounds, Filter, Operator, Test, parse_filter};
pub use schema::{Field, FieldKind, FieldSpec, Schema};
pub use sort::{Sort, parse_sort};

use std::fmt;

/// What is wrong with a filter or a sort, in words for its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError(pub String);

impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for QueryError {}
