//! `POST /drafts/query`.

use query::{FieldKind, FieldSpec, Filter, Operator, Schema, Test};
use wire::Timestamp;

use super::{Fields, Sql, write_filter};
use crate::store::drafts::Draft;
use crate::store::{Result, Store};

const TEXT: &[Operator] = &[Operator::Eq, Operator::Ne, Operator::In, Operator::Nin, Operator::Exists];
const ORDERED: &[Operator] = &[Operator::Eq, Operator::Gt, Operator::Gte, Operator::Lt, Operator::Lte];

/// The documented fields of a draft query.
pub static DRAFT_SCHEMA: Schema = Schema {
    fields: &[
        FieldSpec { name: "channel_cid", kind: FieldKind::Text, operators: TEXT, sortable: false },
        FieldSpec { name: "parent_id", kind: FieldKind::Text, operators: TEXT, sortable: false },
        FieldSpec { name: "created_at", kind: FieldKind::Time, operators: ORDERED, sortable: true },
    ],
    custom: false,
};

struct DraftFields;

impl Fields for DraftFields {
    fn expression(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "channel_cid" => "c.cid",
            "parent_id" => "nullif(d.parent_id, '')",
            "created_at" => "d.created_at",
            _ => return None,
        })
    }

    fn custom(&self) -> &'static str {
        "'{}'::jsonb"
    }

    fn special(&self, sql: &mut Sql, _name: &str, _test: &Test) {
        sql.push("false");
    }
}

/// Where a page of drafts ended: the order of the list, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftPlace {
    pub created_at: Timestamp,
    pub channel_id: i64,
    pub parent_id: String,
}

/// A query of one user's drafts.
pub struct DraftQuery<'a> {
    pub user_id: &'a str,
    pub filter: &'a Filter,
    pub oldest_first: bool,
    pub after: Option<DraftPlace>,
    pub limit: i64,
}

impl DraftQuery<'_> {
    fn sql(&self) -> Sql {
        let mut sql = Sql::new(
            "SELECT d.* FROM drafts d JOIN channels c ON c.id = d.channel_id AND c.deleted_at IS NULL WHERE d.user_id = ",
        );
        sql.push_bind(self.user_id).push(" AND ");
        if let Some(after) = &self.after {
            sql.push("(d.created_at, d.channel_id, d.parent_id) ");
            sql.push(if self.oldest_first { "> (" } else { "< (" }).push_bind(after.created_at);
            sql.push(", ").push_bind(after.channel_id).push(", ").push_bind(after.parent_id.clone()).push(") AND ");
        }
        write_filter(&mut sql, self.filter, &DraftFields);
        sql.push(if self.oldest_first {
            " ORDER BY d.created_at, d.channel_id, d.parent_id LIMIT "
        } else {
            " ORDER BY d.created_at DESC, d.channel_id DESC, d.parent_id DESC LIMIT "
        });
        sql.push_bind(self.limit);
        sql
    }
}

impl Store {
    /// Drafts in channels that are there.
    ///
    /// # Errors
    /// Postgres, a filter that takes too long, or too many of the asker's at once.
    pub async fn query_drafts(&self, query: &DraftQuery<'_>) -> Result<Vec<Draft>> {
        self.filtered(|| query.sql()).await
    }
}
