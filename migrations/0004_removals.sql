-- What is hidden already and is still to be taken away, a few rows at a time (store/removals.rs): messages of a channel that was
-- truncated, or a whole channel that was deleted.
CREATE TABLE removals (
    channel_id bigint PRIMARY KEY,
    done_seq   bigint NOT NULL DEFAULT 0,      -- messages up to here are gone
    up_to_seq  bigint NOT NULL,                -- messages up to here go
    whole      boolean NOT NULL DEFAULT false  -- and then the channel, with everything in it
);

-- Whom others have removed from a channel. An open room lets everybody in but these, until somebody adds them again.
CREATE TABLE shut_out (
    channel_id bigint NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    user_id    text NOT NULL,
    PRIMARY KEY (channel_id, user_id)
);

-- Sessions of the rooms surface whose cookies mean nothing any more. Kept for as long as a cookie lasts.
CREATE TABLE ended_sessions (
    id       bigint PRIMARY KEY,               -- a snowflake
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
