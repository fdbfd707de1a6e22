//! `POST /channels`: which channels, in which order.

use query::{Field, FieldKind, FieldSpec, Filter, Operator, Schema, Sort, Test};
use serde_json::Value;

use super::{Fields, Sql, set_of, write_filter, write_order, write_scalar};
use crate::store::{Result, Store};

const EQ: &[Operator] = &[Operator::Eq, Operator::Ne];
const EQ_IN: &[Operator] = &[Operator::Eq, Operator::Ne, Operator::In, Operator::Nin];
const TEXT: &[Operator] = &[Operator::Eq, Operator::Ne, Operator::In, Operator::Nin, Operator::Exists];
const WORDS: &[Operator] = &[Operator::Eq, Operator::In, Operator::Autocomplete, Operator::Q];
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
const SET: &[Operator] = &[Operator::Eq, Operator::In, Operator::Nin, Operator::Contains];

const fn field(name: &'static str, kind: FieldKind, operators: &'static [Operator], sortable: bool) -> FieldSpec {
    FieldSpec { name, kind, operators, sortable }
}

/// The documented fields of a channel query; every other name is custom data.
pub static CHANNEL_SCHEMA: Schema = Schema {
    fields: &[
        field("cid", FieldKind::Text, EQ_IN, true),
        field("id", FieldKind::Text, EQ_IN, true),
        field("type", FieldKind::Text, EQ_IN, true),
        field("team", FieldKind::Text, TEXT, true),
        field("created_by_id", FieldKind::Text, TEXT, false),
        field("frozen", FieldKind::Bool, EQ, false),
        field("disabled", FieldKind::Bool, EQ, false),
        field("member_count", FieldKind::Integer, ORDERED, true),
        field("created_at", FieldKind::Time, ORDERED, true),
        field("updated_at", FieldKind::Time, ORDERED, true),
        field("last_message_at", FieldKind::Time, ORDERED, true),
        field("last_updated", FieldKind::Time, ORDERED, true),
        field("filter_tags", FieldKind::TextSet, SET, false),
        field("members", FieldKind::TextSet, SET, false),
        field("member.user.name", FieldKind::Text, WORDS, false),
        field("invite", FieldKind::Text, EQ_IN, false),
        field("joined", FieldKind::Bool, EQ, false),
        field("muted", FieldKind::Bool, EQ, false),
        field("hidden", FieldKind::Bool, EQ, false),
        field("pinned", FieldKind::Bool, EQ, false),
        field("archived", FieldKind::Bool, EQ, false),
        field("pinned_at", FieldKind::Time, ORDERED, true),
        field("has_unread", FieldKind::Bool, EQ, true),
        field("unread_count", FieldKind::Integer, ORDERED, true),
        field("app_banned", FieldKind::Text, EQ, false),
    ],
    custom: true,
};

struct ChannelFields;

const HIDDEN: &str = "(me.hidden_at_seq IS NOT NULL AND me.hidden_at_seq = h.shown_seq)";
const MUTED: &str = "EXISTS (SELECT FROM channel_mutes q WHERE q.channel_id = c.id AND q.user_id = me.user_id \
                     AND (q.expires IS NULL OR q.expires > now()))";
const UNREAD: &str = "(CASE WHEN me.user_id IS NULL THEN 0 ELSE h.counted - greatest(me.last_read_counted, h.floor_counted) - (\
                      SELECT count(*) FROM messages x WHERE x.channel_id = c.id AND x.counts AND x.deleted_at IS NOT NULL \
                      AND x.seq > greatest(me.last_read_seq, h.floor_seq)) END)";

impl Fields for ChannelFields {
    fn expression(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "cid" => "c.cid",
            "id" => "substr(c.cid, length(c.type) + 2)",
            "type" => "c.type",
            "team" => "c.team",
            "created_by_id" => "c.created_by",
            "frozen" => "c.frozen",
            "disabled" => "c.disabled",
            "member_count" => "c.member_count",
            "created_at" => "c.created_at",
            "updated_at" => "c.updated_at",
            "last_message_at" => "h.last_message_at",
            "last_updated" => "greatest(h.last_message_at, c.created_at)",
            "joined" => {
                "(me.user_id IS NOT NULL AND me.invite IS DISTINCT FROM 'pending' AND me.invite IS DISTINCT FROM 'rejected')"
            }
            "invite" => "me.invite",
            "muted" => MUTED,
            "hidden" => HIDDEN,
            "pinned" => "(me.pinned_at IS NOT NULL)",
            "archived" => "(me.archived_at IS NOT NULL)",
            "pinned_at" => "me.pinned_at",
            "has_unread" => {
                "(CASE WHEN me.user_id IS NULL THEN false ELSE h.counted > greatest(me.last_read_counted, h.floor_counted) END)"
            }
            "unread_count" => UNREAD,
            _ => return None,
        })
    }

    fn custom(&self) -> &'static str {
        "c.custom"
    }

    fn special(&self, sql: &mut Sql, name: &str, test: &Test) {
        match name {
            "members" => {
                let (mut users, whole) = set_of(test);
                users.sort_unstable();
                users.dedup();
                if matches!(test, Test::List(Operator::Nin, _)) {
                    sql.push("NOT ");
                }
                sql.push("EXISTS (SELECT FROM members m WHERE m.channel_id = c.id AND m.user_id = ANY(");
                sql.push_bind(users.clone()).push("))");
                if whole {
                    sql.push(" AND (SELECT array_agg(m.user_id ORDER BY m.user_id COLLATE \"C\") FROM members m WHERE m.channel_id = c.id) = ");
                    sql.push_bind(users);
                }
            }
            "filter_tags" => {
                let (tags, whole) = set_of(test);
                match test {
                    _ if whole => sql
                        .push("(c.filter_tags @> ")
                        .push_bind(tags.clone())
                        .push(" AND c.filter_tags <@ ")
                        .push_bind(tags)
                        .push(")"),
                    Test::List(Operator::Nin, _) => sql.push("NOT c.filter_tags && ").push_bind(tags),
                    _ => sql.push("c.filter_tags && ").push_bind(tags),
                };
            }
            "member.user.name" => {
                sql.push(
                    "EXISTS (SELECT FROM members m JOIN users u ON u.id = m.user_id WHERE m.channel_id = c.id AND ",
                );
                write_scalar(sql, "u.name", FieldKind::Text, test);
                sql.push(")");
            }
            "app_banned" => {
                let excluded = matches!(test, Test::Value(_, Value::String(word)) if word == "excluded");
                sql.push(if excluded { "NOT " } else { "" }).push(
                    "(c.member_count = 2 AND EXISTS (SELECT FROM members m JOIN users u ON u.id = m.user_id
                      WHERE m.channel_id = c.id AND m.user_id IS DISTINCT FROM me.user_id AND u.banned
                        AND (u.ban_expires IS NULL OR u.ban_expires > now())))",
                );
            }
            _ => {
                sql.push("false");
            }
        }
    }
}

/// Which channels a client may read: the grants of its user role and of its channel roles, by type.
#[derive(Clone, Debug, Default)]
pub struct Readable {
    pub user_role: String,
    /// Types whose every channel the user may read.
    pub types: Vec<String>,
    /// Types whose channels the user may read if it made them.
    pub own_types: Vec<String>,
    /// Who may read.
    pub read: Granted,
    /// Who may read what is disabled, too.
    pub read_disabled: Granted,
}

/// Whom the types of channels grant an action.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// The action's permission id, of which a channel's own grants speak.
    pub id: String,
    /// `type role` pairs, joined by a space: who may do it with every channel.
    pub any: Vec<String>,
    /// The same for who may do it with what is its own.
    pub own: Vec<String>,
}

/// The channel role of the viewer. Who has rejected an invite is no member.
const MEMBER_ROLE: &str = "(CASE WHEN me.invite IS DISTINCT FROM 'rejected' THEN me.channel_role END)";

/// A query of channels.
pub struct ChannelQuery<'a> {
    pub filter: &'a Filter,
    pub sort: &'a [Sort],
    pub limit: i64,
    pub offset: i64,
    /// Whose memberships, mutes and unread numbers the filter speaks of.
    pub viewer: Option<&'a str>,
    /// `None` for servers, who read everything.
    pub readable: Option<&'a Readable>,
}

impl ChannelQuery<'_> {
    fn sql(&self) -> Sql {
        let mut sql = Sql::new(
            "SELECT c.id FROM channels c JOIN channel_heads h ON h.channel_id = c.id
             LEFT JOIN members me ON me.channel_id = c.id AND me.user_id = ",
        );
        sql.push_bind(self.viewer.map(ToOwned::to_owned));
        sql.push(" WHERE c.deleted_at IS NULL AND ");
        if !self.filter.mentions("hidden") {
            sql.push("NOT ").push(HIDDEN).push(" AND ");
        }
        if let Some(readable) = self.readable {
            sql.push("(c.type = ANY(").push_bind(readable.types.clone());
            sql.push(") OR (me.user_id IS NOT NULL AND me.invite IS DISTINCT FROM 'rejected'");
            sql.push(" AND c.type || ' ' || me.channel_role = ANY(").push_bind(readable.read.any.clone());
            sql.push(")) OR (c.created_by = ").push_bind(self.viewer.map(ToOwned::to_owned));
            sql.push(" AND c.type = ANY(").push_bind(readable.own_types.clone());
            sql.push(")) OR c.config_overrides ? 'grants') AND (c.config_overrides ? 'grants' IS NOT TRUE OR ");
            self.write_granted(&mut sql, &readable.user_role, &readable.read);
            sql.push(") AND (NOT c.disabled OR ");
            self.write_granted(&mut sql, &readable.user_role, &readable.read_disabled);
            sql.push(") AND ");
        }
        write_filter(&mut sql, self.filter, &ChannelFields);
        let by_last_updated = [Sort {
            field: Field::Known(
                CHANNEL_SCHEMA.fields.iter().find(|spec| spec.name == "last_updated").expect("it is there"),
            ),
            descending: true,
        }];
        let sort = if self.sort.is_empty() { &by_last_updated } else { self.sort };
        write_order(&mut sql, sort, &ChannelFields, "c.id DESC");
        sql.push(" LIMIT ").push_bind(self.limit).push(" OFFSET ").push_bind(self.offset);
        sql
    }

    /// Writes whether an action is granted to the viewer, as [`crate::access::grants::Grants::allow`] says it of grants with a
    /// channel's own. It is asked before pages are cut: a page that is short would tell what is true of a channel left out of it.
    fn write_granted(&self, sql: &mut Sql, user_role: &str, granted: &Granted) {
        sql.push("(");
        self.write_granted_to(sql, granted, |sql| {
            sql.push_bind(user_role.to_owned());
        });
        sql.push(" OR ");
        self.write_granted_to(sql, granted, |sql| {
            sql.push(MEMBER_ROLE);
        });
        sql.push(")");
    }

    fn write_granted_to(&self, sql: &mut Sql, granted: &Granted, role: impl Fn(&mut Sql)) {
        write_grant(sql, &granted.id, &granted.any, &role);
        sql.push(" OR (c.created_by = ").push_bind(self.viewer.map(ToOwned::to_owned)).push(" AND ");
        write_grant(sql, &format!("{}-owner", granted.id), &granted.own, &role);
        sql.push(")");
    }
}

/// Writes whether a role has a grant: the last word that the channel's own grants say of it, or what its type says.
fn write_grant(sql: &mut Sql, id: &str, by_type: &[String], role: impl Fn(&mut Sql)) {
    sql.push("coalesce(left(jsonb_path_query_array(c.config_overrides->'grants'->");
    role(sql);
    sql.push(format!(
        ", 'strict $[*] ? (@ like_regex \"^!?{id}(-any-team)?$\")', '{{}}', true)->>-1, 1) <> '!', c.type || ' ' || "
    ));
    role(sql);
    sql.push(" = ANY(").push_bind(by_type.to_vec()).push("))");
}

impl Store {
    /// Keys of the matching channels, in order.
    ///
    /// # Errors
    /// Postgres, a filter that takes too long, or too many of the asker's at once.
    pub async fn query_channels(&self, query: &ChannelQuery<'_>) -> Result<Vec<i64>> {
        let keys: Vec<(i64,)> = self.filtered(|| query.sql()).await?;
        Ok(keys.into_iter().map(|(key,)| key).collect())
    }
}
