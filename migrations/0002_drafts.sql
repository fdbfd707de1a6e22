-- What somebody has begun to write: one per user and channel, and one per user and thread (`parent_id`, else empty). Replaced whole
-- with each save, and gone with the message that it becomes (store/appender.rs).
CREATE TABLE drafts (
    user_id    text NOT NULL,
    channel_id bigint NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    parent_id  text NOT NULL DEFAULT '',
    message    jsonb NOT NULL,       -- see store/drafts.rs
    created_at timestamptz NOT NULL, -- of the last save
    PRIMARY KEY (user_id, channel_id, parent_id)
);
CREATE INDEX drafts_newest ON drafts (user_id, created_at, channel_id, parent_id);
CREATE INDEX drafts_channel ON drafts (channel_id);

-- What the rooms surface keeps and chat has no noun for: flags, polls and their options, reminders, announced attachments,
-- what a browser calls itself.
CREATE TABLE room_things (
    id         bigint PRIMARY KEY,       -- a snowflake
    kind       text NOT NULL,
    user_id    text NOT NULL,
    about      text NOT NULL DEFAULT '', -- the message or thing that it belongs to
    text       text NOT NULL DEFAULT '',
    due_at     timestamptz,
    created_at timestamptz NOT NULL
);
CREATE INDEX room_things_user ON room_things (user_id, kind, id);
CREATE INDEX room_things_about ON room_things (about, kind) WHERE about <> '';
