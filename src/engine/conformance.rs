//! What every engine does, run on each of them: memory, one Redis, a Redis Cluster.
//!
//! With several nodes only where there is something to share; a memory engine is one node.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use testkit::PATIENCE;
use testkit::services::{redis_cluster_urls, redis_url};

use super::redis::Incoming;
use super::{Engine, Gone, Hold, LIMIT_WINDOW_SECONDS, Note, Present, Refreshed, Settled, Topic, memory, redis};
use crate::clock::Clock;
use crate::config::{self, Secret};
use crate::limits;
use crate::tasks::Tasks;

/// Of all nodes here; they end with their tests.
static TASKS: LazyLock<Tasks> = LazyLock::new(Tasks::default);

/// Nodes of one deployment that nobody else uses.
async fn redis_nodes<const N: usize>(urls: &str) -> [(Engine, Incoming); N] {
    let urls: Vec<Secret> = urls.split(',').map(Secret::new).collect();
    let config =
        config::Redis { cluster: urls.len() > 1, urls, prefix: format!("conformance-{}", uuid::Uuid::new_v4()) };
    let mut nodes = Vec::new();
    for node in 0..N {
        nodes.push(redis::engine(&config, &format!("node{node}"), &TASKS).await.expect("Redis answers"));
    }
    nodes.try_into().unwrap_or_else(|_| unreachable!("N were made"))
}

/// One node alone.
async fn alone(engine: &Engine) {
    let presence = &engine.presence;
    // The first to come, the last to go.
    assert!(presence.connect("ada").await.is_news);
    assert!(!presence.connect("ada").await.is_news);
    let asked = ["ada".to_owned(), "grace".to_owned()];
    assert_eq!(presence.online(&asked).await, ["ada".to_owned()].into());
    assert!(presence.disconnect("ada").await.is_news);
    assert!(!presence.disconnect("ada").await.is_news);
    assert!(presence.online(&asked).await.is_empty());
    // Watchers are counted once each, and listed in pages.
    let counted = |settled: Settled| (settled.watcher_count, settled.is_news);
    for (user, count, is_news) in [("ada", 1, true), ("grace", 2, true), ("grace", 2, false), ("alan", 3, true)] {
        assert_eq!(counted(presence.watch(7, user).await), (count, is_news), "{user}");
    }
    assert_eq!(presence.watcher_counts(&[7, 8]).await, [3, 0]);
    let mut listed = presence.watchers(7, 2, 0).await;
    listed.extend(presence.watchers(7, 2, 2).await);
    listed.sort_unstable();
    assert_eq!(listed, ["ada", "alan", "grace"]);
    assert_eq!(presence.watched("grace", &[6, 7, 8]).await, [7]);
    for (user, count, is_news) in [("ada", 2, true), ("ada", 2, false), ("grace", 1, true), ("alan", 0, true)] {
        assert_eq!(counted(presence.unwatch(7, user).await), (count, is_news), "{user}");
    }
    assert!(presence.watchers(7, 10, 0).await.is_empty());
    assert_eq!(presence.refresh(&Present::default()).await, Refreshed::default());
    assert!(presence.watched("grace", &[7]).await.is_empty());
    // A note stays until it is taken away or its time is over; the one of a thread is another one.
    let notes = &engine.notes;
    let draft = Note::Draft { user: "ada", room: "messaging:conformance", thread: None };
    let in_thread = Note::Draft { user: "ada", room: "messaging:conformance", thread: Some("parent") };
    notes.put(draft, b"hel", Duration::from_mins(1)).await;
    notes.put(draft, b"hello", Duration::from_mins(1)).await;
    assert_eq!((notes.get(draft).await.as_deref(), notes.get(in_thread).await), (Some(&b"hello"[..]), None));
    notes.remove(draft).await;
    assert_eq!(notes.get(draft).await, None);
    // One that is too large is not kept, and takes the place of the one before all the same.
    let large = vec![b'x'; limits::NOTE_BYTES_MAX + 1];
    notes.put(draft, &large[1..], Duration::from_mins(1)).await;
    assert_eq!(notes.get(draft).await.as_deref(), Some(&large[1..]));
    notes.put(draft, &large, Duration::from_mins(1)).await;
    assert_eq!(notes.get(draft).await, None);
    notes.put(in_thread, b"x", Duration::from_millis(1)).await;
    tokio::time::timeout(PATIENCE, async { while notes.get(in_thread).await.is_some() {} }).await.expect("it expires");
    // A number has one holder, and never the same span twice.
    let life = Duration::from_secs(1);
    let hold = async |number, holder: &str, from| engine.leases.hold(number, holder, from, life).await;
    assert_eq!(hold(7, "ada", 1_000).await, Hold::Mine { floor: 0, ceiling: 2_000 });
    assert_eq!(hold(7, "grace", 1_000).await, Hold::Taken);
    assert_eq!(hold(8, "grace", 1_000).await, Hold::Mine { floor: 0, ceiling: 2_000 });
    // Held again it reaches further, and never less far.
    assert_eq!(hold(7, "ada", 1_500).await, Hold::Mine { floor: 2_000, ceiling: 2_500 });
    assert_eq!(hold(7, "ada", 900).await, Hold::Mine { floor: 2_500, ceiling: 2_500 });
    // When it is free, the next one begins where the last one could have been, whatever its clock says.
    let next = async {
        loop {
            match hold(7, "grace", 500).await {
                Hold::Taken => tokio::task::yield_now().await,
                next => return next,
            }
        }
    };
    let next = tokio::time::timeout(PATIENCE, next).await.expect("the number is free again");
    assert_eq!(next, Hold::Mine { floor: 2_500, ceiling: 3_500 });
    assert_eq!(hold(7, "ada", 2_000).await, Hold::Taken);
    // A limit's window ends, and with it what was counted.
    let counts = &engine.limits;
    assert_eq!((counts.hit("a", 30).used, counts.hit("a", 30).used, counts.hit("b", 30).used), (1, 2, 1));
    assert_eq!((counts.peek("a", 31).used, counts.peek("a", 31).reset), (2, LIMIT_WINDOW_SECONDS));
    assert_eq!((counts.hit("a", 60).used, counts.peek("b", 60).used), (1, 0));
    // A node does not hear itself, and is not stopped by that.
    engine.bus.subscribe(&[Topic::Channel(1)]);
    engine.bus.subscribed().await;
    engine.bus.publish(Topic::Channel(1), Bytes::from_static(b"x"));
    engine.bus.unsubscribe(&[Topic::Channel(1)]);
    engine.bus.subscribed().await;
    assert!(engine.bus.is_connected());
}

/// The next message that a node hears.
async fn heard(incoming: &mut Incoming) -> (Topic, Bytes) {
    tokio::time::timeout(PATIENCE, incoming.recv()).await.expect("a message").expect("an open bus")
}

/// Two nodes that share what they know.
async fn together([(here, mut hears_here), (there, mut hears_there)]: [(Engine, Incoming); 2]) {
    // Presence: the second node brings nobody new, and the first to go leaves nobody offline.
    let came = here.presence.connect("ada").await;
    assert!(came.is_news);
    assert!(!there.presence.connect("ada").await.is_news);
    assert!(!here.presence.disconnect("ada").await.is_news);
    assert_eq!(here.presence.online(&["ada".into()]).await.len(), 1);
    let went = there.presence.disconnect("ada").await;
    assert!(went.is_news && went.at > came.at, "whichever node says it: {came:?}, {went:?}");
    assert_eq!(here.presence.watch(7, "ada").await.watcher_count, 1);
    assert_eq!(there.presence.watch(7, "grace").await.watcher_count, 2);
    let also_there = there.presence.watch(7, "ada").await;
    let not_here = here.presence.unwatch(7, "ada").await;
    assert_eq!((also_there.watcher_count, also_there.is_news), (2, false));
    assert_eq!((not_here.watcher_count, not_here.is_news), (2, false));
    assert_eq!(here.presence.watcher_counts(&[7]).await, [2]);
    // The bus carries what is asked for, in order, with any bytes in it.
    there.bus.subscribe(&[Topic::Channel(7), Topic::User("zoë\n*".into())]);
    there.bus.subscribed().await;
    for text in ["one", "two\n\0\u{e9}", ""] {
        here.bus.publish(Topic::Channel(7), Bytes::from_static(text.as_bytes()));
        assert_eq!(heard(&mut hears_there).await, (Topic::Channel(7), Bytes::from_static(text.as_bytes())));
    }
    here.bus.publish(Topic::User("zoë\n*".into()), Bytes::from_static(b"hi"));
    assert_eq!(heard(&mut hears_there).await.0, Topic::User("zoë\n*".into()));
    // What is not asked for any more does not come: the next thing heard is what was said to everyone.
    there.bus.unsubscribe(&[Topic::Channel(7)]);
    there.bus.subscribe(&[Topic::Channel(8)]);
    there.bus.subscribed().await;
    here.bus.publish(Topic::Channel(7), Bytes::from_static(b"unheard"));
    here.bus.publish(Topic::Channel(8), Bytes::from_static(b"heard"));
    assert_eq!(heard(&mut hears_there).await.0, Topic::Channel(8));
    here.bus.publish(Topic::Everyone, Bytes::from_static(b"all"));
    assert_eq!(heard(&mut hears_there).await, (Topic::Everyone, Bytes::from_static(b"all")));
    there.bus.publish(Topic::Node("node0".into()), Bytes::from_static(b"you"));
    assert_eq!(heard(&mut hears_here).await, (Topic::Node("node0".into()), Bytes::from_static(b"you")));
    // Limits: what one node counted, the other hears of, a few times a second.
    for _ in 0..10 {
        there.limits.hit("a", 30);
    }
    let mut own = 0;
    let learn = async {
        loop {
            own += 1;
            if here.limits.hit("a", 30).used == own + 10 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, learn).await.expect("counts are shared");
}

#[tokio::test]
async fn memory_alone() {
    alone(&memory::engine(Clock::default())).await;
}

#[tokio::test]
async fn redis_alone() {
    let [(engine, _incoming)] = redis_nodes(&redis_url()).await;
    alone(&engine).await;
}

#[tokio::test]
async fn redis_together() {
    together(redis_nodes(&redis_url()).await).await;
}

#[tokio::test]
async fn a_redis_cluster_alone() {
    let [(engine, _incoming)] = redis_nodes(&redis_cluster_urls()).await;
    alone(&engine).await;
}

#[tokio::test]
async fn a_redis_cluster_together() {
    together(redis_nodes(&redis_cluster_urls()).await).await;
}

/// Those of a node that has died are found by whoever keeps their sets alive, once. Nobody is brought back who has gone meanwhile.
#[tokio::test]
async fn who_was_on_a_dead_node_is_found_once() {
    let prefix = format!("conformance-{}", uuid::Uuid::new_v4());
    let config = config::Redis { cluster: false, urls: vec![Secret::new(redis_url())], prefix: prefix.clone() };
    let (here, _hears) = redis::engine(&config, "here", &TASKS).await.expect("Redis answers");
    let (dead, _heard) = redis::engine(&config, "dead", &TASKS).await.expect("Redis answers");
    let mut ghosts: Vec<String> = (0..1_200).map(|number| format!("ghost{number:04}")).collect();
    for ghost in &ghosts {
        dead.presence.watch(7, ghost).await;
    }
    dead.presence.connect("ghost0000").await;
    here.presence.watch(7, "ada").await;
    let asked = ["ghost0000".to_owned()];
    assert!(!here.presence.connect("ghost0000").await.is_news);
    assert!(!here.presence.disconnect("ghost0000").await.is_news);
    // Where nobody else watches, nobody has to find them.
    dead.presence.watch(8, "ghost0000").await;
    let ends = testkit::services::ask_redis(&redis_url(), &format!("PTTL {{{prefix}:watching:8}}:nodes"));
    let ends: u128 = ends.trim().trim_start_matches(':').parse().unwrap();
    assert!(ends <= limits::PRESENCE_LIFE.as_millis(), "it ends with its last entry: {ends}");
    // Their time is over.
    for shard in 0..16 {
        let set = format!("{{{prefix}:online:{shard}}}:until");
        testkit::services::ask_redis(&redis_url(), &format!("ZADD {set} XX 1 ghost0000|dead"));
    }
    for ghosts in ghosts.chunks(400) {
        let scores: String = ghosts.iter().flat_map(|ghost| [" 1 ", ghost, "|dead"]).collect();
        let command = format!("ZADD {{{prefix}:watching:7}}:until XX{scores}");
        testkit::services::ask_redis(&redis_url(), &command);
    }
    let watching = |users: &[&str]| [(7, users.iter().map(ToString::to_string).collect())].into();
    let present = Present { online: Vec::new(), watching: watching(&["ada", "linus"]) };
    let found = here.presence.refresh(&present).await;
    assert_eq!(found.unknown, Present { online: Vec::new(), watching: watching(&["linus"]) });
    assert!(here.presence.online(&asked).await.is_empty());
    assert!(found.gone.iter().all(|gone| gone.at.is_some()));
    let (stopped, offline): (Vec<Gone>, Vec<Gone>) = found.gone.into_iter().partition(|gone| gone.stopped.is_some());
    assert!(offline.into_iter().map(|gone| gone.user).eq(asked));
    let mut stopped: Vec<_> = stopped.into_iter().map(|gone| (gone.user, gone.stopped)).collect();
    stopped.sort_unstable();
    assert!(stopped.into_iter().eq(ghosts.drain(..).map(|user| (user, Some((7, 1))))));
    assert_eq!((here.presence.watcher_counts(&[7]).await, here.presence.watchers(7, 9, 0).await.len()), (vec![1], 1));
    let again = Refreshed { unknown: found.unknown, ..Refreshed::default() };
    assert_eq!(here.presence.refresh(&present).await, again);
}

/// The client library's promise to subscribe again did not hold in a cluster, so the bus keeps its own: this is the proof.
#[tokio::test]
async fn a_lost_connection_is_made_again() {
    for urls in [redis_url(), redis_cluster_urls()] {
        let [(here, _incoming), (there, mut hears)] = redis_nodes(&urls).await;
        there.bus.subscribe(&(0..20).map(Topic::Channel).collect::<Vec<_>>());
        there.bus.subscribed().await;
        for url in urls.split(',') {
            testkit::services::ask_redis(url, "CLIENT KILL TYPE pubsub");
        }
        // Said again and again until it is heard: what is lost meanwhile is the relay's business.
        for channel in 0..20 {
            let said = Bytes::from(format!("to {channel}"));
            let listen = async {
                loop {
                    here.bus.publish(Topic::Channel(channel), said.clone());
                    let wait = tokio::time::timeout(Duration::from_millis(50), hears.recv());
                    if wait.await.ok().flatten() == Some((Topic::Channel(channel), said.clone())) {
                        return;
                    }
                }
            };
            tokio::time::timeout(PATIENCE, listen).await.unwrap_or_else(|_| panic!("channel {channel} is heard"));
        }
    }
}
