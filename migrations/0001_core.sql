-- The app: one row. `settings` is what PATCH /app changes, as JSON.
CREATE TABLE app (
    id                          smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    settings                    jsonb NOT NULL DEFAULT '{}',
    revoke_tokens_issued_before timestamptz,
    created_at                  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at                  timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO app DEFAULT VALUES;

-- Channel types. `config` holds the settings that differ from the defaults in code, `grants` the roles whose grants do.
CREATE TABLE channel_types (
    name       text PRIMARY KEY,
    config     jsonb NOT NULL DEFAULT '{}',
    grants     jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO channel_types (name, config) VALUES
    ('messaging', '{}'),
    ('livestream', '{"url_enrichment": false}'),
    ('team', '{"count_messages": true}'),
    ('gaming', '{}'),
    ('commerce', '{}');

-- Users are keyed by their public id (docs/adr/0004).
CREATE TABLE users (
    id                          text PRIMARY KEY,
    name                        text,
    image                       text,
    role                        text NOT NULL DEFAULT 'user',
    language                    text NOT NULL DEFAULT '',
    teams                       text[] NOT NULL DEFAULT '{}',
    teams_role                  jsonb,
    invisible                   boolean NOT NULL DEFAULT false,
    privacy_settings            jsonb,
    custom                      jsonb NOT NULL DEFAULT '{}',
    banned                      boolean NOT NULL DEFAULT false,
    shadow_banned               boolean NOT NULL DEFAULT false,
    ban_expires                 timestamptz,
    revoke_tokens_issued_before timestamptz,
    last_active                 timestamptz,
    deactivated_at              timestamptz,
    deleted_at                  timestamptz,
    created_at                  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at                  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX users_created_at ON users (created_at, id);
CREATE INDEX users_custom ON users USING gin (custom jsonb_path_ops);

-- What people set about a channel.
CREATE TABLE channels (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cid              text NOT NULL UNIQUE,
    type             text NOT NULL,
    team             text,
    created_by       text,
    custom           jsonb NOT NULL DEFAULT '{}',
    frozen           boolean NOT NULL DEFAULT false,
    disabled         boolean NOT NULL DEFAULT false,
    cooldown         integer NOT NULL DEFAULT 0,
    filter_tags      text[] NOT NULL DEFAULT '{}',
    config_overrides jsonb,
    member_count     bigint NOT NULL DEFAULT 0,
    truncated_at     timestamptz,
    truncated_by     text,
    deleted_at       timestamptz,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX channels_type ON channels (type, id);
CREATE INDEX channels_custom ON channels USING gin (custom jsonb_path_ops);

-- Where a channel's log stands. Every writer of the channel locks this row first, so numbers and times grow in commit order.
CREATE TABLE channel_heads (
    channel_id      bigint PRIMARY KEY REFERENCES channels (id) ON DELETE CASCADE,
    message_seq     bigint NOT NULL DEFAULT 0,  -- number of the newest message
    message_count   bigint NOT NULL DEFAULT 0,  -- messages that are there, replies included
    counted         bigint NOT NULL DEFAULT 0,  -- messages so far that count as unread for others
    shown_seq       bigint NOT NULL DEFAULT 0,  -- newest message that brings a hidden channel back
    floor_seq       bigint NOT NULL DEFAULT 0,  -- messages up to here are truncated
    floor_counted   bigint NOT NULL DEFAULT 0,  -- `counted` at floor_seq
    event_number    bigint NOT NULL DEFAULT 0,  -- number of the newest event
    event_at        timestamptz NOT NULL DEFAULT clock_timestamp(),  -- time of the newest event
    last_message_at timestamptz
) WITH (fillfactor = 50);

CREATE TABLE members (
    channel_id                bigint NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    user_id                   text NOT NULL,
    channel_role              text NOT NULL DEFAULT 'channel_member',
    invite                    text CHECK (invite IN ('pending', 'accepted', 'rejected')),
    invite_accepted_at        timestamptz,
    invite_rejected_at        timestamptz,
    banned                    boolean NOT NULL DEFAULT false,
    shadow_banned             boolean NOT NULL DEFAULT false,
    ban_expires               timestamptz,
    notifications_muted       boolean NOT NULL DEFAULT false,   -- a copy of channel_mutes, for those who look at members
    notifications_muted_until timestamptz,
    custom                    jsonb NOT NULL DEFAULT '{}',
    pinned_at                 timestamptz,
    archived_at               timestamptz,
    hidden_at_seq             bigint,                      -- shown_seq when hidden; hidden while they are equal
    cleared_seq               bigint NOT NULL DEFAULT 0,   -- messages up to here are not shown to this member
    hide_messages_before      timestamptz,
    last_read_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_read_seq             bigint NOT NULL DEFAULT 0,
    last_read_counted         bigint NOT NULL DEFAULT 0,   -- `counted` at last_read_seq
    last_read_message_id      text,
    last_delivered_at         timestamptz,
    last_delivered_message_id text,
    created_at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (channel_id, user_id)
) WITH (fillfactor = 80);
CREATE INDEX members_user ON members (user_id, channel_id);
CREATE INDEX members_newest ON members (channel_id, created_at DESC, user_id);

-- A hard-deleted message leaves its numbers behind and nothing else (id is null): unread numbers are computed from them.
CREATE TABLE messages (
    channel_id          bigint NOT NULL,
    seq                 bigint NOT NULL,
    id                  text,
    user_id             text NOT NULL,
    type                text NOT NULL,
    text                text NOT NULL,
    parent_id           text,
    show_in_channel     boolean NOT NULL DEFAULT false,
    quoted_id           text,
    silent              boolean NOT NULL DEFAULT false,
    shadowed            boolean NOT NULL DEFAULT false,
    counts              boolean NOT NULL,        -- does it count as unread for others?
    counted             bigint NOT NULL,         -- messages up to this one that count
    data                jsonb,                   -- attachments, mentions, custom data: see store/messages.rs
    reactions           jsonb,                   -- aggregates, kept by store/reactions.rs
    reply_count         integer NOT NULL DEFAULT 0,
    deleted_reply_count integer NOT NULL DEFAULT 0,
    participants        text[] NOT NULL DEFAULT '{}',
    pinned_at           timestamptz,
    pinned_by           text,
    pin_expires         timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    text_updated_at     timestamptz,
    deleted_at          timestamptz,
    PRIMARY KEY (channel_id, seq)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX messages_id ON messages (id);
CREATE INDEX messages_parent ON messages (parent_id, seq) WHERE parent_id IS NOT NULL;
CREATE INDEX messages_pinned ON messages (channel_id, pinned_at) WHERE pinned_at IS NOT NULL;
CREATE INDEX messages_uncounted ON messages (channel_id, seq) WHERE counts AND deleted_at IS NOT NULL;

CREATE TABLE reactions (
    message_id text NOT NULL,
    user_id    text NOT NULL,
    type       text NOT NULL,
    score      bigint NOT NULL,
    custom     jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (message_id, user_id, type)
);

-- How far those who take part in a thread have read it. A thread is named by its first message.
CREATE TABLE thread_reads (
    parent_id            text NOT NULL,
    user_id              text NOT NULL,
    channel_id           bigint NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    last_read_seq        bigint NOT NULL,
    last_read_at         timestamptz NOT NULL,
    last_read_message_id text NOT NULL,
    PRIMARY KEY (parent_id, user_id)
);
CREATE INDEX thread_reads_user ON thread_reads (user_id);
CREATE INDEX thread_reads_channel ON thread_reads (channel_id, user_id);

CREATE TABLE channel_mutes (
    user_id    text NOT NULL,
    channel_id bigint NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    expires    timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, channel_id)
);

CREATE TABLE user_mutes (
    user_id    text NOT NULL,
    target_id  text NOT NULL,
    expires    timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, target_id)
);

CREATE TABLE uploads (
    key        text PRIMARY KEY,     -- path in the object store and in the URL
    channel_id bigint,
    user_id    text NOT NULL,
    name       text NOT NULL,
    mime_type  text NOT NULL,
    size_bytes bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What happened: the only log, written in the transaction of what it tells (docs/subsystems/events.md).
-- `tx` is the writing transaction: readers stop before the oldest one still open, so they never skip a late commit.
CREATE SEQUENCE events_id;
CREATE TABLE events (
    id         bigint NOT NULL DEFAULT nextval('events_id'),
    tx         bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    channel_id bigint,
    number     bigint,               -- position in the channel's log; null for events outside of it
    type       text NOT NULL,
    audience   text NOT NULL,        -- channel, user, absent_user, presence, none: see events/audience.rs
    subject    text,                 -- the user that the event is about or for
    only_for   text[],               -- of a channel's watchers, only these
    body       text NOT NULL,        -- the JSON that clients hear
    created_at timestamptz NOT NULL
) PARTITION BY RANGE (created_at);
CREATE INDEX events_channel ON events (channel_id, number);
CREATE INDEX events_tx ON events (tx, id);
-- Catches what no daily partition takes, so that a late partition never stops a send (store/events.rs makes them ahead).
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- Number of the newest message of a channel that is not younger than `at` (or, if `before`, that is older). Times grow with
-- numbers inside a channel, so this is a binary search over the primary key.
CREATE FUNCTION message_seq_at(channel bigint, at timestamptz, before boolean) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low  bigint := 0;
    high bigint;
    mid  bigint;
    found_seq bigint;
    found_at  timestamptz;
BEGIN
    SELECT message_seq INTO high FROM channel_heads WHERE channel_id = channel;
    high := coalesce(high, 0);
    -- Invariant: everything up to `low` is at or before the time, everything after `high` is behind it.
    WHILE low < high LOOP
        mid := (low + high + 1) / 2;
        SELECT seq, created_at INTO found_seq, found_at FROM messages
            WHERE channel_id = channel AND seq <= mid ORDER BY seq DESC LIMIT 1;
        IF found_seq IS NULL OR found_seq <= low OR found_at < at OR (found_at = at AND NOT before) THEN
            low := mid;
        ELSE
            high := found_seq - 1;
        END IF;
    END LOOP;
    RETURN low;
END;
$$;
