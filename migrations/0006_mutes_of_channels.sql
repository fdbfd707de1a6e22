-- A channel that is deleted takes its mutes along: they are found by it. Few rows, each written when somebody mutes a channel.
CREATE INDEX channel_mutes_channel ON channel_mutes (channel_id);
