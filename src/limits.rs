//! Every bound of the program, by name and unit.
//!
//! Sources: the documented limits of the protocol (wire-protocol facts, section 9) where there is one; otherwise a number
//! chosen here, with its reason.

use std::time::Duration;

// ---- HTTP

/// Largest JSON body. A message may hold 30 attachments of 5 KB and custom data; a users call 100 users of 5 KB.
pub const JSON_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Headers of one request, all together; more is answered with code 24.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// What one HTTP connection may buffer before its headers end: above [`HEADER_BYTES_MAX`], so that the refusal is ours.
pub const HEADER_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long a connection may take to bring the whole head of its next request, from when it is open or the last answer is written.
/// So it is also how long an idle one is kept: longer than the minute that balancers keep theirs, which would otherwise send a
/// request into a connection that has just been closed.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// TCP connections of one address to one node, unless `connections_per_address` says otherwise: an office, a campus or a carrier
/// behind one address, and a quarter of what a node with 20,000 file descriptors has.
pub const CONNECTIONS_PER_ADDRESS: usize = 5_000;
/// So many addresses it takes at least to fill a node, whatever is said, and however few descriptors there are.
pub const ADDRESSES_TO_FILL_A_NODE: usize = 3;
/// How often the log says that connections find no place.
pub const REFUSALS_TOLD_EVERY: Duration = Duration::from_mins(1);
/// How long a client may take nothing of what is written to it; then the connection ends. A slow line takes something all the time, and
/// what it takes gives it more time, so that in the long run it must not be slower than this: a bad mobile line is twice as fast.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(30);
pub const WRITE_BYTES_PER_SECOND_MIN: u32 = 8 * 1024;
/// A request that takes longer is answered with code 23.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Uploads may take longer.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_mins(5);
/// Objects inside objects in a body. `serde_json` stops at 128 on its own; clients have no use for more than this.
pub const JSON_DEPTH_MAX: usize = 32;
/// Objects, lists and commas in a body, which says how many values there are: a hundred users with a hundred keys each.
pub const JSON_MARKS_MAX: usize = 20_000;
/// Guests that one address may make in a minute: a classroom behind one router, not a script.
pub const GUESTS_PER_ADDRESS: u64 = 100;
/// What an error says, and with it what it repeats of the request.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 1_000;
/// How long a draining node tells its sockets to come back elsewhere, spread evenly.
pub const DRAIN_SPREAD: Duration = Duration::from_secs(5);
/// How long a draining node waits for its requests.
pub const DRAIN_REQUESTS: Duration = Duration::from_secs(20);
/// And then for sockets that say goodbye, and for work whose clients have gone.
pub const DRAIN_GOODBYES: Duration = Duration::from_secs(3);
/// How much longer work may take that began to change something and whose client has gone: each of its statements has a bound
/// of its own, this is for all of them together.
pub const UNFINISHED_WORK: Duration = Duration::from_mins(1);
/// How long a node that leaves waits for its tasks to stop, and then for its connections to Postgres to be given back.
pub const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// How long a job that has ended rests before it begins anew.
pub const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long accepting rests after it failed: most likely the process is out of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the messages of one answer have of their own, in bytes of JSON: 30 channels with 300 ordinary messages each. A page that
/// would have more is shorter (chat/render/messages.rs), and as many bytes of events are too many for `/sync`.
pub const ANSWER_BYTES_MAX: usize = 12 * 1024 * 1024;
/// The pinned messages of the channels in an answer, beside the others.
pub const ANSWER_PINS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The messages that they quote; beyond, quotes are not shown.
pub const ANSWER_QUOTES_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Custom data of the caller's own reactions to them, and of the members of channels: each has its share, and what has more is left out.
pub const ANSWER_REACTIONS_BYTES_MAX: usize = 2 * 1024 * 1024;
pub const ANSWER_MEMBERS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The people whom one list in an answer names, each as often as it does; beyond, they are shown plain, and then bare
/// (chat/render/people.rs). A channel's state has two lists: its members, and those around its messages.
pub const ANSWER_PEOPLE_BYTES_MAX: usize = 4 * 1024 * 1024;

// ---- Removal of what is hidden

/// Rows that one transaction takes away: short enough for nobody to wait for it.
pub const REMOVED_ROWS_PER_PIECE: i64 = 1_000;
/// How often a node looks whether there is something to be taken away.
pub const REMOVAL_EVERY: Duration = Duration::from_secs(1);
/// Pieces that a node takes away before it does what else there is to do.
pub const REMOVED_PIECES_AT_ONCE: usize = 20;

// ---- Sockets

/// Largest frame that a client may send. Clients send heartbeats only.
pub const CLIENT_FRAME_BYTES_MAX: usize = 16 * 1024;
/// What a client may say on a socket, in bytes, whatever frames they are: at once, and then per second. More than any room hears.
pub const SOCKET_BYTES_BURST: f64 = 1024.0 * 1024.0;
pub const SOCKET_BYTES_PER_SECOND: f64 = 128.0 * 1024.0;
/// Sockets of one user on one node, on all surfaces: every device with several windows. The hosted service has fewer.
pub const SOCKETS_PER_USER: usize = 100;
/// Sockets of all guests and anonymous visitors of one address on one node: several classrooms behind one router.
pub const STRANGERS_SOCKETS_PER_ADDRESS: usize = 500;
/// Longest id of a connection: the name of a node and a UUID.
pub const CONNECTION_ID_BYTES_MAX: usize = 64;
/// Longest `/connect` query.
pub const CONNECT_QUERY_BYTES_MAX: usize = 12 * 1024;
/// What may wait for one slow reader; then the socket is closed and the client comes back and catches up.
pub const SOCKET_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// One event as JSON: a reader who keeps up has room for several. What would be larger is shown with less of the people in it
/// (events/size.rs), and refused if that is not enough.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// A channel beside an event, for those who do not watch: both and the reader's numbers are not larger than two events.
pub const TWIN_CHANNEL_BYTES_MAX: usize = EVENT_BYTES_MAX - 1024;
/// Absences that may wait until those who do not watch are told. More are dropped: a notification is a hint.
pub const ABSENCES_WAITING_MAX: usize = 16_384;
/// Their events together, in bytes: so many ordinary ones, and far fewer large ones.
pub const ABSENCES_WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Absences handled with one question to Postgres.
pub const ABSENCES_BATCH_MAX: usize = 128;
/// `me` in the first frame and in events about mutes: half of the queue.
pub const ME_BYTES_MAX: usize = 128 * 1024;
/// The same in frames.
pub const SOCKET_QUEUE_FRAMES_MAX: usize = 1024;
/// Frames written with one system call.
pub const FRAMES_PER_WRITE_MAX: usize = 64;
/// Bytes written with one system call.
pub const BYTES_PER_WRITE_MAX: usize = 64 * 1024;
/// `health.check` and a ping go out this often.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// A peer that has sent nothing for this long is gone: two heartbeats and a bit.
pub const SILENT_PEER: Duration = Duration::from_secs(70);
/// `last_active` is written at most this often while connected.
pub const LAST_ACTIVE_REFRESH_SECONDS: i64 = 15 * 60;
/// Commands and events that may wait for one fan-out worker.
pub const FANOUT_INBOX_MAX: usize = 65_536;
/// Events on their way to sockets, in bytes, of all workers together: those too that wait for [those who do not
/// watch](ABSENCES_WAITING_BYTES_MAX), and as many again.
pub const FANOUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a fan-out worker takes from its inbox at once, and so the longest run of frames in one write.
pub const FANOUT_BATCH_MAX: usize = 64;
/// A fan-out worker lets others run after so many sockets.
pub const FANOUT_SOCKETS_PER_TURN: usize = 256;
/// Channels that one connection watches.
pub const WATCHED_CHANNELS_MAX: usize = 10_000;
/// Users whose presence one connection follows.
pub const FOLLOWED_USERS_MAX: usize = 10_000;
/// Channels of a user, the most recently active ones, for which a connection hears notifications without watching.
pub const MEMBER_CHANNELS_MAX: i64 = 1_000;
/// Channels with more watchers hear no typing, no read events, and watching events only every few seconds.
pub const LARGE_CHANNEL_WATCHERS: usize = 100;
/// How often a large channel hears `user.watching.*`.
pub const LARGE_CHANNEL_WATCHING_EVERY: Duration = Duration::from_secs(5);

// ---- Postgres. Nobody waits for ever, and nobody makes others wait who need not.

/// Longest wait for a free connection, or for a new one to open. Then the request fails: a queue of waiting requests helps nobody.
pub const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// A connection that has not been used for so long is asked whether it is still there before it is used. Where there is something to
/// do none rests so long.
pub const CONNECTION_RESTED: Duration = Duration::from_secs(1);
/// Longest statement of a request or a job: nobody waits for its answer any longer.
pub const STATEMENT_TIME: Duration = Duration::from_secs(10);
/// How long this side waits for the answer to a statement. Postgres ends it sooner; one that says nothing until then is gone.
pub const STATEMENT_PATIENCE: Duration = Duration::from_secs(12);
/// How long a transaction that is given up may take to be rolled back. Then its connection is closed.
pub const ROLLBACK_TIME: Duration = Duration::from_secs(2);
/// Longest statement that a client's filter is in: others wait for its connection.
pub const FILTER_TIME: Duration = Duration::from_secs(3);
/// Longest wait of a statement for any one lock.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long a transaction may do nothing. It holds locks, and a node that stands still must not hold them for ever.
pub const IDLE_TRANSACTION: Duration = Duration::from_secs(15);
/// How often Postgres looks whether the client whose statement it runs is still there.
pub const CLIENT_CHECK_EVERY: Duration = Duration::from_secs(1);
/// When Postgres asks a silent client whether it is there, how often it asks again, and how many times.
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
pub const KEEPALIVES_MAX: u32 = 3;
/// How long bytes from Postgres to a client may be on their way before the client counts as gone.
pub const UNACKNOWLEDGED: Duration = Duration::from_mins(1);
/// Longest turn of a job that comes again anyway (relay, pushes): for a Postgres that does not even say no.
pub const TURN_TIME: Duration = Duration::from_mins(1);
/// The same for the partitions of the log, which have rows to move.
pub const PARTITIONS_TURN_TIME: Duration = Duration::from_mins(10);
/// How long the relay waits for a page of the log: others wait for what is in it.
pub const RELAY_READ_TIME: Duration = Duration::from_secs(5);
/// How long a change of tables waits for a lock before it gives up and comes back: whatever else wants the table waits behind it.
pub const DDL_LOCK_WAIT: Duration = Duration::from_millis(200);
/// How long a change of tables rests before it comes back.
pub const DDL_PAUSE: Duration = Duration::from_secs(1);
/// How long migrations come back to a locked table, all in all. A dump may take as long.
pub const MIGRATION_WAIT: Duration = Duration::from_mins(10);
/// Longest statement that makes, fills or drops a partition of the log.
pub const PARTITION_STATEMENT_TIME: Duration = Duration::from_mins(1);

// ---- Writing

/// Writers of one channel that hold a connection: one that has the channel's lock and one that takes it next.
pub const CHANNEL_WRITERS_MAX: usize = 2;
/// Writers of one channel on one node, or whatever else has a lane, with those who wait for their turn; more are refused.
pub const LANE_PLACES_MAX: usize = 1_000;
/// How long a writer keeps a connection waiting for the channel's lock, and how long it then leaves it to others.
pub const CHANNEL_LOCK_PATIENCE: Duration = Duration::from_millis(100);
pub const CHANNEL_LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long somebody waits for a turn, and a writer for its turn and the channel's lock, all in all; then the request fails.
pub const LANE_WAIT: Duration = Duration::from_secs(5);

// ---- One asker's share of a node (docs/adr/0019)

/// Statements of one asker that read from the pool at the same time: a page loads with a few, and the pool has eight connections,
/// of which all strangers together have four. So one address, with one account, leaves one to others.
pub const READS_AT_ONCE_MAX: usize = 3;
/// Queries with filters of one asker that run at the same time: others have filters too, and few connections for them.
pub const FILTERS_AT_ONCE_MAX: usize = 1;
/// The same with those that wait. Each holds what it was read into, up to 2 MB.
pub const FILTER_PLACES_MAX: usize = 32;
/// How long a filter is tried before it counts as slow. Most take milliseconds.
pub const FILTER_TRIAL: Duration = Duration::from_millis(250);
/// Answers with more messages, or more members, take turns: what they are made of is read before they are.
pub const ANSWER_ROWS_SMALL: i64 = 100;
/// Such answers of one asker that are made at the same time, and of all askers of a node.
pub const LARGE_ANSWERS_AT_ONCE_MAX: usize = 1;
pub const LARGE_ANSWERS_MAX: usize = 8;
/// Such answers of one asker that are not sent yet: who comes back on another network still has one or two on the way to the old one.
pub const LARGE_ANSWERS_UNSENT_MAX: usize = 3;
/// Those with fewer bytes are not counted any more once they are made: they are on their way in a moment.
pub const ANSWER_BYTES_SMALL: u64 = 256 * 1024;
/// Answers of one asker that turned out to be larger and are not taken yet: they have a page of messages each, so 4 MB at most.
pub const MADE_ANSWERS_UNSENT_MAX: usize = 16;
/// All answers of a node that are larger and not taken yet, in bytes.
pub const ANSWERS_UNSENT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// The pieces in which they are sent.
pub const ANSWER_PIECE_BYTES: usize = 32 * 1024;
/// How long one waits for its turn: when everybody comes back at once, all are served.
pub const LARGE_ANSWER_WAIT: Duration = Duration::from_secs(20);
/// Larger bodies take turns. Whoever has shown no token sends no larger ones.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Larger bodies of one asker that are read or worked on at the same time: each takes a megabyte, and what it is read into more.
pub const LARGE_BODIES_AT_ONCE_MAX: usize = 8;
/// The same of all askers of a node: 128 MB.
pub const LARGE_BODIES_MAX: usize = 128;
/// How long a body, or an upload, may bring nothing. Then the request is answered with code 23.
pub const BODY_SILENCE: Duration = Duration::from_secs(10);
/// Uploads of all guests of one address that run at the same time.
pub const GUEST_UPLOADS_PER_ADDRESS: usize = 16;

/// Messages that one group commit takes.
pub const APPEND_BATCH_MAX: usize = 100;
/// Messages that may wait for one writer; a sender waits when it is full.
pub const APPEND_QUEUE_MAX: usize = 4_096;
/// Those of all writers together, in bytes, until they are announced; they may stand aside, too.
pub const APPEND_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a group commit waits for any one lock. Then the channel that is locked stands aside and the others go on.
pub const APPEND_LOCK_PATIENCE: Duration = Duration::from_millis(50);
/// How often a writer looks whether channels that stand aside are free.
pub const APPEND_ASIDE_EVERY: Duration = Duration::from_millis(50);
/// How long a channel that stands aside again is left alone: as long as it has stood aside already, up to this.
pub const APPEND_ASIDE_REST_MAX: Duration = Duration::from_millis(800);
/// How long a message stands aside; then its sender is told that it was not written.
pub const APPEND_ASIDE_WAIT: Duration = Duration::from_secs(5);
/// Messages of one channel that stand aside; more are refused at once.
pub const APPEND_ASIDE_MAX: usize = 500;
/// The same in bytes: a small part of what may wait, which others need.
pub const APPEND_ASIDE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest group commit, as Postgres sees it.
pub const APPEND_STATEMENT_TIME: Duration = Duration::from_secs(8);
/// The same as the writer sees it, for a Postgres that stands still: longer, so that Postgres speaks first.
pub const APPEND_TIME: Duration = Duration::from_secs(10);
/// How often a batch is tried again after a lost connection or a deadlock, and the pause before.
pub const APPEND_RETRIES_MAX: u32 = 3;
pub const APPEND_RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often a write is asked for again because rights have been taken away in its channel meanwhile.
pub const RIGHTS_LOOKS_MAX: u32 = 8;
/// Committed batches of one writer that may wait to be announced; the writer waits when it is full.
pub const ANNOUNCE_BATCHES_MAX: usize = 16;

// ---- The event log

/// How often a node reads the log for what nobody announced to it.
pub const RELAY_EVERY: Duration = Duration::from_millis(500);
/// Log rows that the relay takes at once, and as few as that after they could not be read in time.
pub const RELAY_ROWS_MAX: i64 = 5_000;
pub const RELAY_ROWS_MIN: i64 = 50;
/// Whole events that are read from the log at once, where somebody follows it or closes a gap, and their bytes: one more is
/// read than fits. So many bytes of the names that are in entries are read at once, too.
pub const LOG_READ_EVENTS_MAX: usize = 500;
pub const LOG_READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long an event waits for the one before it until the log is asked.
pub const GAP_PATIENCE: Duration = Duration::from_millis(30);
/// Events of one channel that wait for a gap to close; more means the log is asked at once, and has what is dropped.
pub const GAP_EVENTS_MAX: usize = 256;
/// Those of all channels together, in bytes.
pub const GAP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The pause after a read failed that delivery needs; each one after it is twice as long, up to [`READ_AGAIN_MAX`].
pub const READ_AGAIN_MIN: Duration = Duration::from_millis(50);
pub const READ_AGAIN_MAX: Duration = Duration::from_secs(2);
/// Unnumbered events remembered, so that the relay does not repeat them.
pub const RECENT_EVENTS_MAX: usize = 65_536;
/// Days of the log that `/sync` reaches back, and that are kept.
pub const EVENT_LOG_DAYS: i64 = 30;
/// Events that one `/sync` answers; more is an error, and the client queries again.
pub const SYNC_EVENTS_MAX: usize = 1_000;
/// Where it is not known how far a client has seen a channel, `/sync` begins so much earlier: longer than from the moment at which
/// an event is given its time to its commit, which is within a request.
pub const SYNC_OVERLAP: Duration = Duration::from_mins(1);
/// Channels in one `/sync`.
pub const SYNC_CHANNELS_MAX: usize = 255;

// ---- Revocation

/// For how long it is taken as given who a caller is and what it may: rights that have been taken end within a second.
pub const PROOF_LIFE: Duration = Duration::from_millis(500);
/// Connections or watches whose rights are checked with one question to Postgres, and before others have a turn.
pub const RECHECK_BATCH: usize = 500;
/// Users who are let go at the same time after they left a channel: each takes a question or two to Postgres.
pub const LET_GO_AT_ONCE: usize = 8;
/// When rights that could not be checked are checked again: sockets end within five seconds of their rights.
pub const RECHECK_AGAIN: Duration = Duration::from_secs(1);

// ---- Caches. Short lives are the safety net: the bus and the relay tell nodes what to forget.

pub const CACHE_LIFE: Duration = Duration::from_secs(30);
/// Users, channels and memberships that a node remembers, in bytes of memory (access/weight.rs): 100,000 ordinary users and as many
/// channels, or a tenth of that where all have as much data as they may; 300,000 memberships.
pub const CACHED_USERS_BYTES_MAX: u64 = 128 * 1024 * 1024;
pub const CACHED_CHANNELS_BYTES_MAX: u64 = 128 * 1024 * 1024;
pub const CACHED_MEMBERSHIPS_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Names of channels with their keys.
pub const CACHED_KEYS_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Users of whom a node remembers whether they are online: a name and a bit.
pub const CACHED_ONLINE_MAX: u64 = 100_000;
/// Channels of which a node remembers with what rights their watchers were looked at last. With more it forgets them all.
pub const CHECKED_CHANNELS_MAX: usize = 100_000;
/// How long a node trusts what it heard about a user being online.
pub const ONLINE_CACHE_LIFE: Duration = Duration::from_secs(5);

// ---- Engine

/// How often a node says that its users are still there.
pub const PRESENCE_REFRESH: Duration = Duration::from_secs(20);
/// Users of dead nodes, and what they watched, of whom a node has not told yet because Postgres is away: a large node's. More are not told.
pub const GONE_UNTOLD_MAX: usize = 65_536;
/// Users, and watches of a user, of whom a node remembers how new the last thing is that it told.
pub const NEWEST_STATES_MAX: usize = 16_384;
/// How late something may come that another node told. What is older than that is no latecomer: the clock was set back.
pub const STATE_LATE_MAX: Duration = Duration::from_mins(1);
/// Keys that one node counts for rate limits in one minute. Users beyond are not counted; the app as a whole is.
pub const RATE_LIMIT_KEYS_MAX: usize = 100_000;
/// When a user of a dead node counts as gone: within T19's 90 seconds.
pub const PRESENCE_LIFE: Duration = Duration::from_mins(1);
/// Payload of one message on the bus.
pub const BUS_PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages that may wait to be published, and messages of other nodes that may wait to be heard.
pub const BUS_QUEUE_MAX: usize = 65_536;
/// The same in bytes, each. What came over the bus counts until nobody here needs its bytes any more.
pub const BUS_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Notes that one node keeps without Redis, all together; the oldest make room.
pub const NOTES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What is around a note in memory: its places in two maps.
pub const NOTE_OVERHEAD_BYTES: usize = 256;
/// One note. A larger one is not kept: the table has it.
pub const NOTE_BYTES_MAX: usize = 8 * 1024;
/// How long a node's number is its own, and how many milliseconds of ids it may make without asking again.
pub const SNOWFLAKE_LEASE: Duration = Duration::from_secs(30);
/// Calls of one kind that wait for Redis at the same time: what a node says regularly takes one round trip for so many.
pub const REDIS_CALLS_MAX: usize = 128;
/// Messages published in one pipeline: over a tenth of a second to Redis and back, ten thousand a second.
pub const BUS_PIPELINE_MAX: usize = 1_024;

// ---- Users

pub const USER_ID_CHARS_MAX: usize = 255;
pub const USERS_PER_CALL_MAX: usize = 100;
pub const CUSTOM_BYTES_MAX: usize = 5 * 1024;
/// Values in custom data, those inside of others too: one for so many bytes that it may have.
pub const CUSTOM_BYTES_PER_VALUE: usize = 10;
/// What a client may put into the membership of somebody else: a nickname, a colour. The rest is for its owner and for servers.
pub const OTHERS_CUSTOM_BYTES_MAX: usize = 256;
/// Objects inside objects in custom data: less than in a body, because it is sent inside of others.
pub const CUSTOM_DEPTH_MAX: usize = 24;
/// A dotted path into custom data, and the steps of it.
pub const CUSTOM_PATH_BYTES_MAX: usize = 255;
pub const CUSTOM_PATH_STEPS_MAX: usize = 8;
/// Keys that one partial update sets and unsets.
pub const KEYS_PER_CALL_MAX: usize = 1_000;
pub const TEAMS_MAX: usize = 250;
pub const TEAM_BYTES_MAX: usize = 100;
pub const ROLE_BYTES_MAX: usize = 64;
/// Teams in which a user has another role: so many that `user.updated`, with all that a user can have, is an event.
pub const TEAM_ROLES_MAX: usize = 100;
/// Users that a user has muted, and channels; `me` carries the newest that fit.
pub const MUTES_MAX: i64 = 1_000;
pub const QUERY_USERS_LIMIT_DEFAULT: i64 = 30;
pub const QUERY_USERS_LIMIT_MAX: i64 = 100;
pub const QUERY_OFFSET_MAX: i64 = 1_000;
pub const NAME_CHARS_MAX: usize = 1_000;

// ---- Channels

pub const QUERY_CHANNELS_LIMIT_DEFAULT: i64 = 10;
pub const QUERY_CHANNELS_LIMIT_MAX: i64 = 30;
pub const MESSAGE_LIMIT_DEFAULT: i64 = 25;
pub const MESSAGE_LIMIT_MAX: i64 = 300;
pub const STATE_MEMBERS_DEFAULT: i64 = 100;
pub const STATE_MEMBERS_MAX: i64 = 300;
pub const STATE_OFFSET_MAX: i64 = 10_000;
pub const STATE_READS_MAX: i64 = 100;
pub const STATE_WATCHERS_DEFAULT: i64 = 30;
pub const PINNED_MESSAGES_MAX: i64 = 10;
pub const QUERY_MEMBERS_LIMIT_MAX: i64 = 100;
pub const MEMBERS_PER_CALL_MAX: usize = 100;
pub const COOLDOWN_SECONDS_MAX: i64 = 120;
pub const FILTER_TAGS_MAX: usize = 100;
pub const FILTER_TAG_BYTES_MAX: usize = 100;
/// Channels that one call marks as read, each with an event of its own.
pub const MARK_READ_CHANNELS_MAX: usize = 100;
/// Channels of those that are all marked as read at once: as many of a transaction's rows as nobody waits for.
pub const READS_PER_PIECE: i64 = 500;
/// Events of one piece that show the reader whole; of more, each shows it plain (chat/render/people.rs).
pub const READS_SHOWN_WHOLE_MAX: usize = 100;

// ---- Messages

pub const MESSAGE_ID_BYTES_MAX: usize = 255;
/// A page of messages lets others run after so much text has become HTML: about a millisecond.
pub const RENDERED_BYTES_PER_TURN: usize = 64 * 1024;
/// Upper bound of a channel type's `max_message_length`.
pub const MESSAGE_CHARS_MAX: i64 = 20_000;
pub const ATTACHMENTS_MAX: usize = 30;
/// What its author puts into one message (text, attachments, custom data, names), in bytes of JSON: half of an event, so
/// that there is room for its HTML, the people, the reactions and the channel.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Values in the JSON of a message, those inside of others too: 30 attachments with dozens of fields each. In memory a value
/// takes as much as a line of text, however short it is written.
pub const MESSAGE_VALUES_MAX: usize = 2_000;
/// HTML of one message, in bytes of JSON. A text of 5,000 characters of three bytes has it.
pub const HTML_BYTES_MAX: usize = 16 * 1024;
pub const MENTIONS_MAX: usize = 25;
pub const RESTRICTED_VISIBILITY_MAX: usize = 100;
pub const MESSAGES_BY_ID_MAX: usize = 100;
pub const THREAD_PARTICIPANTS_MAX: usize = 10;
/// Participants of a thread whom a message remembers, in the order of their first replies, and who are told of new ones.
pub const THREAD_PARTICIPANTS_KEPT: usize = 1_000;

/// Messages of several channels that are read at once where none is larger than its share of the answer. Of more, each channel has
/// its share.
pub const ROWS_READ_AT_ONCE: i64 = 1_000;
/// Reading messages from Postgres lets others run after so many bytes of them: about a millisecond.
pub const DECODED_BYTES_PER_TURN: i64 = 64 * 1024;

// ---- Drafts

pub const DRAFTS_LIMIT_DEFAULT: i64 = 25;
pub const DRAFTS_LIMIT_MAX: i64 = 100;
/// Drafts of a user; the oldest ones beyond are dropped.
pub const DRAFTS_MAX: i64 = 1_000;
/// How long the cluster keeps a draft beside the table.
pub const DRAFT_CACHE_LIFE: Duration = Duration::from_hours(24);

// ---- Reactions

pub const REACTION_TYPE_BYTES_MAX: usize = 255;
/// Types of reactions that one message has.
pub const REACTION_TYPES_MAX: usize = 20;
pub const REACTION_CUSTOM_BYTES_MAX: usize = 1024;
pub const REACTION_SCORE_MAX: i64 = 1_000_000;
pub const LATEST_REACTIONS: usize = 10;
pub const REACTIONS_LIMIT_DEFAULT: i64 = 10;
pub const REACTIONS_LIMIT_MAX: i64 = 300;

// ---- Rooms

/// Items in the lists of the rooms surface that have no page of their own.
pub const ROOM_LIST_MAX: i64 = 100;
pub const ROOM_PAGE_DEFAULT: i64 = 20;
pub const ROOM_PAGE_MAX: i64 = 100;
/// Messages in the first page of a room on a socket: half of its queue, and the largest message several times.
pub const ROOM_PAGE_BYTES_MAX: usize = SOCKET_QUEUE_BYTES_MAX / 2;
/// Polls, reminders and the like of one user, of each kind; the oldest ones beyond are dropped.
pub const ROOM_THINGS_MAX: i64 = 1_000;
/// Text of a poll, a reminder and the like.
pub const ROOM_TEXT_CHARS_MAX: usize = 5_000;
/// Rooms of a user, the most recently active ones, that hear what it edits when it does not say where.
pub const EDITING_ROOMS_MAX: i64 = 100;
/// A token from `/api/token/` and `/api/refresh-token/`.
pub const ROOM_TOKEN_SECONDS: i64 = 24 * 60 * 60;
/// The token inside the URL from `/api/ws-auth/`.
pub const WS_AUTH_SECONDS: i64 = 5 * 60;
/// By how much the clocks of those who sign tokens for the rooms surface may differ.
pub const ROOM_TOKEN_LEEWAY_SECONDS: i64 = 30;
/// A session of the rooms surface is there for this long after its last sign of life.
pub const SESSION_LIFE: Duration = Duration::from_mins(1);
/// How long a browser keeps the cookie of its session, and how long an ended one is remembered.
pub const SESSION_COOKIE_SECONDS: i64 = 30 * 24 * 60 * 60;
/// How often an open socket gives one.
pub const SESSION_RENEWAL: Duration = Duration::from_secs(20);
/// Who began to type and says nothing more has stopped after this.
pub const TYPING_LIFE: Duration = Duration::from_secs(5);
/// What a socket of the rooms surface may send at once.
pub const ROOM_FRAMES_BURST: f64 = 30.0;
/// And then per second.
pub const ROOM_FRAMES_PER_SECOND: f64 = 5.0;
/// Rooms on one socket.
pub const ROOMS_PER_SOCKET_MAX: usize = 100;

// ---- Uploads

/// Largest upload unless the app's settings say less.
pub const UPLOAD_BYTES_MAX: i64 = 100 * 1024 * 1024;
pub const UPLOAD_NAME_BYTES_MAX: usize = 255;
/// What of it is in the upload's key. File systems take 255, and there is a number behind it while it is being written.
pub const UPLOAD_KEY_NAME_BYTES_MAX: usize = 250;
/// Fields of a form that are looked at, and the largest of those that are text.
pub const FORM_FIELDS_MAX: usize = 16;
pub const FORM_FIELD_BYTES_MAX: usize = 16 * 1024;
/// What is before the first part of a form, and the headers of each part; up to a read of the socket more is in memory.
pub const FORM_HEAD_BYTES_MAX: usize = 16 * 1024;
/// A whole form: a file, and what is around it.
pub const UPLOAD_FORM_BYTES_MAX: usize = UPLOAD_BYTES_MAX as usize + FORM_FIELDS_MAX * FORM_FIELD_BYTES_MAX;
/// What one upload holds in memory before it is written: the smallest part that object stores take.
pub const UPLOAD_PART_BYTES: usize = 5 * 1024 * 1024;
/// Uploads of one user that run at the same time on one node; the others wait. Each holds a part and the one that is being written.
pub const UPLOADS_AT_ONCE_MAX: usize = 4;
/// The pieces in which uploads are served. A reader who takes nothing holds two of them, the end of one and the next, and so no more than
/// the slow reader of a socket; a bucket that answers in 30 ms brings 4 MB a second to each.
pub const DOWNLOAD_PIECE_BYTES: u64 = 128 * 1024;
/// Pieces that a node reads at the same time, each with a file or a connection to the bucket open: a quarter of the 256 descriptors that
/// connections leave to others where a process may have 1,024.
pub const DOWNLOAD_READS_AT_ONCE_MAX: usize = 64;
/// Extensions or types in one list of the app's rules for uploads, and the length of each.
pub const UPLOAD_RULES_MAX: usize = 100;
pub const UPLOAD_RULE_BYTES_MAX: usize = 100;

// ---- Push

/// Devices of a user; the oldest ones beyond are dropped.
pub const DEVICES_MAX: i64 = 25;
/// Tokens of phones have a few hundred; the index of them takes 2,700 together with the user's id.
pub const DEVICE_ID_BYTES_MAX: usize = 1_024;
pub const HARDWARE_ID_BYTES_MAX: usize = 255;
/// Browsers of a user that take web push; the oldest ones beyond are dropped.
pub const PUSH_SUBSCRIPTIONS_MAX: i64 = 25;
/// Endpoints of the known push services have a few hundred; the index of them takes 2,700.
pub const PUSH_ENDPOINT_BYTES_MAX: usize = 2_000;
/// What a browser's client says about itself: its id, its platform.
pub const PUSH_CLIENT_CHARS_MAX: usize = 255;
pub const PUSH_PREFERENCES_PER_CALL_MAX: usize = 100;
/// Encrypted body of one push: what every push service takes (RFC 8030, section 7.2).
pub const PUSH_BYTES_MAX: usize = 4_096;
/// What encryption adds: salt, record size, key and its length, padding delimiter, tag (RFC 8188, section 2).
pub const PUSH_OVERHEAD_BYTES: usize = 16 + 4 + 1 + 65 + 1 + 16;
/// The title of a notification; browsers cut it sooner.
pub const PUSH_TITLE_CHARS_MAX: usize = 100;
/// How often a node looks for messages to push, and for pushes that are due.
pub const PUSH_EVERY: Duration = Duration::from_millis(500);
/// Log rows that are read at once for pushes.
pub const PUSH_LOG_ROWS_MAX: i64 = 1_000;
/// Users to whom one node pushes at the same time: each has a task, so that a push service which does not answer costs its own
/// user and nobody else.
pub const PUSH_USERS_AT_ONCE_MAX: usize = 32;
/// Browsers of one user to which a node pushes at the same time; each gets one push after the other.
pub const PUSH_BROWSERS_AT_ONCE_MAX: usize = 4;
/// Pushes that wait for one browser; those that have waited longest are dropped. Nobody reads more notifications, and looking for
/// what is due passes over all that wait for the users whose turn it is.
pub const PUSH_WAITING_MAX: i64 = 100;
/// How long a push service may take to answer.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a push belongs to the node that took it; after that the node counts as dead and another one tries. What has not been
/// begun by half of it is given back.
pub const PUSH_LEASE_SECONDS: i64 = 60;
/// Attempts to send one push. The waits between them add up to 42 minutes.
pub const PUSH_ATTEMPTS_MAX: i32 = 8;
/// The wait after the first attempt; each one after it is twice as long.
pub const PUSH_BACKOFF_SECONDS: i64 = 20;
/// A push that is older is given up: nobody wants to hear now what was said then.
pub const PUSH_AGE_MAX_SECONDS: i64 = 4 * 60 * 60;
/// How long a push service keeps a push for a browser that is away.
pub const PUSH_TTL_SECONDS: i64 = 24 * 60 * 60;
/// How long the signature of a push is valid (RFC 8292: a day at most).
pub const VAPID_LIFE_SECONDS: i64 = 12 * 60 * 60;

// ---- Queries

pub const FILTER_BOUNDS: query::Bounds = query::Bounds {
    depth: 8,
    conditions: 64,
    values: 300,
    custom_values: 300,
    value_bytes: 5 * 1024,
    bytes: 128 * 1024,
    words: 8,
    words_bytes: 255,
};

/// Unread channels and threads in `GET /unread`.
pub const UNREAD_CHANNELS_MAX: i64 = 100;
pub const UNREAD_THREADS_MAX: i64 = 100;
pub const UNREAD_BATCH_USERS_MAX: usize = 100;

const _: () = {
    assert!(HEADER_BYTES_MAX < HEADER_BUFFER_BYTES_MAX);
    assert!(CONNECT_QUERY_BYTES_MAX < HEADER_BYTES_MAX);
    assert!(SILENT_PEER.as_secs() > 2 * HEARTBEAT.as_secs());
    assert!(PRESENCE_LIFE.as_secs() > 2 * PRESENCE_REFRESH.as_secs());
    assert!(MESSAGE_LIMIT_DEFAULT <= MESSAGE_LIMIT_MAX);
    assert!(SYNC_OVERLAP.as_secs() > REQUEST_TIMEOUT.as_secs());
    assert!(FRAMES_PER_WRITE_MAX <= SOCKET_QUEUE_FRAMES_MAX);
    assert!(JSON_DEPTH_MAX < 128);
    assert!(CUSTOM_DEPTH_MAX + 6 <= JSON_DEPTH_MAX);
    assert!(MESSAGE_BYTES_MAX + HTML_BYTES_MAX < EVENT_BYTES_MAX);
    // The largest event with its channel beside it, for those who do not watch.
    assert!(2 * EVENT_BYTES_MAX <= SOCKET_QUEUE_BYTES_MAX && ME_BYTES_MAX < SOCKET_QUEUE_BYTES_MAX);
    assert!(2 * ABSENCES_WAITING_BYTES_MAX <= FANOUT_BYTES_MAX);
    assert!(APPEND_ASIDE_BYTES_MAX * 8 <= APPEND_QUEUE_BYTES_MAX);
    assert!(RELAY_ROWS_MIN <= RELAY_ROWS_MAX && EVENT_BYTES_MAX <= LOG_READ_BYTES_MAX);
    // What is begun at half of the lease is sent and noted before its end.
    assert!(PUSH_LEASE_SECONDS as u64 / 2 > PUSH_TIMEOUT.as_secs() + STATEMENT_PATIENCE.as_secs());
    assert!(STATEMENT_TIME.as_millis() < STATEMENT_PATIENCE.as_millis());
    assert!(STATEMENT_PATIENCE.as_millis() < REQUEST_TIMEOUT.as_millis());
    assert!(FILTER_TIME.as_secs() < CONNECTION_WAIT.as_secs());
    assert!(FILTER_TRIAL.as_millis() < FILTER_TIME.as_millis());
    assert!(BODY_SILENCE.as_secs() < REQUEST_TIMEOUT.as_secs());
    assert!(2 * DOWNLOAD_PIECE_BYTES <= SOCKET_QUEUE_BYTES_MAX as u64);
    assert!(UPLOADS_AT_ONCE_MAX < GUEST_UPLOADS_PER_ADDRESS);
    assert!(SMALL_BODY_BYTES_MAX < JSON_BODY_BYTES_MAX && LARGE_BODIES_AT_ONCE_MAX < LARGE_BODIES_MAX);
    assert!(APPEND_STATEMENT_TIME.as_millis() < APPEND_TIME.as_millis());
    assert!(APPEND_ASIDE_WAIT.as_secs() + APPEND_TIME.as_secs() < REQUEST_TIMEOUT.as_secs());
    assert!(VAPID_LIFE_SECONDS <= 24 * 60 * 60);
};
