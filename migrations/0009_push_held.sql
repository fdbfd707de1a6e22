-- Until when nothing is sent to a browser whose push service did not take the last push: new pushes for it wait as well.
ALTER TABLE push_subscriptions ADD COLUMN held_until timestamptz;
