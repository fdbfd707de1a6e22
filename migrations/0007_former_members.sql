-- What bound a member who has left: a ban, a history that is hidden. Whoever comes back is bound by it again.
CREATE TABLE former_members (
    channel_id           bigint NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    user_id              text NOT NULL,
    banned               boolean NOT NULL,
    shadow_banned        boolean NOT NULL,
    ban_expires          timestamptz,
    cleared_seq          bigint NOT NULL,
    hide_messages_before timestamptz,
    PRIMARY KEY (channel_id, user_id)
);
