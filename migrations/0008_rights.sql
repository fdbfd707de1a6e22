-- How often rights have been taken from somebody in a channel: the number that a write compares with what its author was allowed
-- by (docs/adr/0022). In the head, which every writer locks, and in the row that nodes cache.
ALTER TABLE channel_heads ADD COLUMN rights bigint NOT NULL DEFAULT 0;
ALTER TABLE channels ADD COLUMN rights bigint NOT NULL DEFAULT 0;
-- The role that a member had who has left, where it was not the one that everybody begins with.
ALTER TABLE former_members ADD COLUMN channel_role text;
