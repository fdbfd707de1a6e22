//! `GET /users`.

use query::{Field, FieldKind, FieldSpec, Filter, Operator, Schema, Sort, Test};

use super::{Fields, Sql, set_of, write_filter, write_order};
use crate::store::users::User;
use crate::store::{Result, Store};

const TEXT: &[Operator] = &[
    Operator::Eq,
    Operator::Ne,
    Operator::In,
    Operator::Nin,
    Operator::Exists,
    Operator::Gt,
    Operator::Gte,
    Operator::Lt,
    Operator::Lte,
    Operator::Autocomplete,
    Operator::Q,
];
const ORDERED: &[Operator] = &[
    Operator::Eq,
    Operator::Ne,
    Operator::Gt,
    Operator::Gte,
    Operator::Lt,
    Operator::Lte,
    Operator::In,
    Operator::Exists,
];
const EQ: &[Operator] = &[Operator::Eq, Operator::Ne];
const SET: &[Operator] = &[Operator::Eq, Operator::In, Operator::Nin, Operator::Contains];

const fn field(name: &'static str, kind: FieldKind, operators: &'static [Operator]) -> FieldSpec {
    FieldSpec { name, kind, operators, sortable: !matches!(kind, FieldKind::TextSet) }
}

/// The documented fields of a user query; every other name is custom data.
pub static USER_SCHEMA: Schema = Schema {
    fields: &[
        field("id", FieldKind::Text, TEXT),
        field("name", FieldKind::Text, TEXT),
        field("role", FieldKind::Text, TEXT),
        field("language", FieldKind::Text, TEXT),
        field("banned", FieldKind::Bool, EQ),
        field("shadow_banned", FieldKind::Bool, EQ),
        field("created_at", FieldKind::Time, ORDERED),
        field("updated_at", FieldKind::Time, ORDERED),
        field("last_active", FieldKind::Time, ORDERED),
        field("deactivated_at", FieldKind::Time, ORDERED),
        field("teams", FieldKind::TextSet, SET),
    ],
    custom: true,
};

struct UserFields;

impl Fields for UserFields {
    fn expression(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "id" => "u.id",
            "name" => "u.name",
            "role" => "u.role",
            "language" => "u.language",
            "banned" => "u.banned",
            "shadow_banned" => "u.shadow_banned",
            "created_at" => "u.created_at",
            "updated_at" => "u.updated_at",
            "last_active" => "u.last_active",
            "deactivated_at" => "u.deactivated_at",
            _ => return None,
        })
    }

    fn custom(&self) -> &'static str {
        "u.custom"
    }

    fn special(&self, sql: &mut Sql, _name: &str, test: &Test) {
        let (teams, whole) = set_of(test);
        if matches!(test, Test::List(Operator::Nin, _)) {
            sql.push("NOT ");
        }
        if whole {
            sql.push("(u.teams @> ").push_bind(teams.clone()).push(" AND u.teams <@ ").push_bind(teams).push(")");
        } else {
            sql.push("u.teams && ").push_bind(teams);
        }
    }
}

/// A query of users.
pub struct UserQuery<'a> {
    pub filter: &'a Filter,
    pub sort: &'a [Sort],
    pub limit: i64,
    pub offset: i64,
    pub include_deactivated: bool,
}

impl UserQuery<'_> {
    fn sql(&self) -> Sql {
        let mut sql = Sql::new("SELECT * FROM users u WHERE u.deleted_at IS NULL AND ");
        if !self.include_deactivated {
            sql.push("u.deactivated_at IS NULL AND ");
        }
        write_filter(&mut sql, self.filter, &UserFields);
        let newest_first = [Sort {
            field: Field::Known(USER_SCHEMA.fields.iter().find(|spec| spec.name == "created_at").expect("it is there")),
            descending: true,
        }];
        let sort = if self.sort.is_empty() { &newest_first } else { self.sort };
        write_order(&mut sql, sort, &UserFields, "u.id");
        sql.push(" LIMIT ").push_bind(self.limit).push(" OFFSET ").push_bind(self.offset);
        sql
    }
}

impl Store {
    /// # Errors
    /// Postgres, a filter that takes too long, or too many of the asker's at once.
    pub async fn query_users(&self, query: &UserQuery<'_>) -> Result<Vec<User>> {
        self.filtered(|| query.sql()).await
    }
}
