-- What `/sync` reads of the log: the events of a channel since a time.

-- Events without a number (reads, notifications), by time. Numbered ones are found by number and pay for no other index.
-- New partitions get it as they are made. Those that are there do without: to build it would hold writers up for as long as
-- a day's events take to read, and `events_channel` finds the same rows, only with more to pass over.
CREATE INDEX events_unnumbered ON ONLY events (channel_id, created_at) WHERE number IS NULL;
CREATE INDEX events_default_unnumbered ON events_default (channel_id, created_at) WHERE number IS NULL;
ALTER INDEX events_unnumbered ATTACH PARTITION events_default_unnumbered;

-- Number of the newest event of a channel that is not younger than `at`, looked for among the last `reach` numbers: less than
-- that is not told. Times grow with numbers inside a channel, and a client was mostly away for a few events only: steps that
-- double, from the newest back, and then a binary search over the last one.
CREATE FUNCTION event_number_at(channel bigint, at timestamptz, reach bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    newest    bigint;
    newest_at timestamptz;
    old       bigint;  -- up to here nothing is younger, or it is out of reach
    young     bigint;  -- from here on everything is younger
    step      bigint := 1;
    mid       bigint;
BEGIN
    SELECT event_number, event_at INTO newest, newest_at FROM channel_heads WHERE channel_id = channel;
    IF newest IS NULL OR newest_at <= at THEN
        RETURN coalesce(newest, 0);
    END IF;
    old := greatest(newest - reach, 0);
    young := newest + 1;
    WHILE young - old > 1 LOOP
        mid := CASE WHEN step > 0 THEN greatest(young - step, old + 1) ELSE (old + young) / 2 END;
        IF EXISTS (SELECT FROM events WHERE channel_id = channel AND number = mid AND created_at > at) THEN
            young := mid;
            step := step * 2;
        ELSE
            old := mid;
            step := 0;
        END IF;
    END LOOP;
    RETURN old;
END;
$$;
