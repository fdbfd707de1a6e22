//! `GET /members`.

use query::{FieldKind, FieldSpec, Filter, Operator, Schema, Sort, Test};
use wire::Timestamp;

use super::{Fields, Sql, write_filter, write_order};
use crate::store::members::Member;
use crate::store::{Result, Store};

const TEXT: &[Operator] =
    &[Operator::Eq, Operator::Ne, Operator::In, Operator::Nin, Operator::Exists, Operator::Autocomplete, Operator::Q];
const ORDERED: &[Operator] =
    &[Operator::Eq, Operator::Ne, Operator::Gt, Operator::Gte, Operator::Lt, Operator::Lte, Operator::Exists];
const EQ: &[Operator] = &[Operator::Eq, Operator::Ne];

const fn field(name: &'static str, kind: FieldKind, operators: &'static [Operator], sortable: bool) -> FieldSpec {
    FieldSpec { name, kind, operators, sortable }
}

/// The documented fields of a member query; every other name is custom data of the member.
pub static MEMBER_SCHEMA: Schema = Schema {
    fields: &[
        field("id", FieldKind::Text, TEXT, true),
        field("user_id", FieldKind::Text, TEXT, true),
        field("name", FieldKind::Text, TEXT, true),
        field("user.name", FieldKind::Text, TEXT, true),
        field("user.role", FieldKind::Text, TEXT, true),
        field("user.email", FieldKind::Text, TEXT, true),
        field("channel_role", FieldKind::Text, TEXT, true),
        field("banned", FieldKind::Bool, EQ, false),
        field("invite", FieldKind::Text, TEXT, false),
        field("joined", FieldKind::Bool, EQ, false),
        field("created_at", FieldKind::Time, ORDERED, true),
        field("updated_at", FieldKind::Time, ORDERED, true),
        field("last_active", FieldKind::Time, ORDERED, true),
    ],
    custom: true,
};

struct MemberFields;

impl Fields for MemberFields {
    fn expression(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "id" | "user_id" => "m.user_id",
            "name" | "user.name" => "u.name",
            "user.role" => "u.role",
            "user.email" => "(u.custom ->> 'email')",
            "channel_role" => "m.channel_role",
            "banned" => "m.banned",
            "invite" => "m.invite",
            "joined" => "(m.invite IS NULL OR m.invite = 'accepted')",
            "created_at" => "m.created_at",
            "updated_at" => "m.updated_at",
            "last_active" => "u.last_active",
            _ => return None,
        })
    }

    fn custom(&self) -> &'static str {
        "m.custom"
    }

    fn special(&self, sql: &mut Sql, _name: &str, _test: &Test) {
        sql.push("false");
    }
}

/// One end of a page by cursor.
#[derive(Clone, Debug)]
pub enum MemberBound {
    UserId(&'static str, String),
    CreatedAt(&'static str, Timestamp),
}

/// A query of a channel's members.
pub struct MemberQuery<'a> {
    pub channel_id: i64,
    pub filter: &'a Filter,
    pub sort: &'a [Sort],
    /// Comparisons that all must hold: operator and value.
    pub bounds: &'a [MemberBound],
    pub limit: i64,
    pub offset: i64,
}

impl MemberQuery<'_> {
    fn sql(&self) -> Sql {
        let mut sql = Sql::new("SELECT m.* FROM members m LEFT JOIN users u ON u.id = m.user_id WHERE m.channel_id = ");
        sql.push_bind(self.channel_id).push(" AND ");
        for bound in self.bounds {
            match bound {
                MemberBound::UserId(operator, id) => sql.push("m.user_id ").push(operator).push_bind(id.clone()),
                MemberBound::CreatedAt(operator, at) => sql.push("m.created_at ").push(operator).push_bind(*at),
            };
            sql.push(" AND ");
        }
        write_filter(&mut sql, self.filter, &MemberFields);
        if self.sort.is_empty() {
            sql.push(" ORDER BY m.created_at, m.user_id");
        } else {
            write_order(&mut sql, self.sort, &MemberFields, "m.user_id");
        }
        sql.push(" LIMIT ").push_bind(self.limit).push(" OFFSET ").push_bind(self.offset);
        sql
    }
}

impl Store {
    /// # Errors
    /// Postgres, a filter that takes too long, or too many of the asker's at once.
    pub async fn query_members(&self, query: &MemberQuery<'_>) -> Result<Vec<Member>> {
        self.filtered(|| query.sql()).await
    }
}
