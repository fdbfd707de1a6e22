//! The bus on Redis: sharded pub/sub, one subscriber connection per node.
//!
//! The set of subscriptions is ours. The client's own promise to subscribe again after a lost connection did not hold in a
//! cluster (tried by killing the pub/sub connection), so every loss ends the connection, and a new one subscribes to
//! everything. What was published in between comes from the relay.
//!
//! What waits has a bound in bytes, out and in. What came in counts until nobody on this node needs its bytes any more, wherever
//! it waits by then. What there is no room for is dropped, and comes from the relay too.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Notify, mpsc, watch};

use super::Incoming;
use super::client::{Client, RESPONSE_TIMEOUT};
use crate::budget::{Budget, Share};
use crate::config;
use crate::engine::{Bus, Topic};
use crate::limits;
use crate::tasks::Tasks;

const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Subscriptions sent with one command. In a cluster each goes alone, to its slot.
const SUBSCRIBE_TOPICS_MAX: usize = 200;
/// The subscriber checks that its connection lives.
const PING_EVERY: Duration = Duration::from_secs(10);

pub(super) struct RedisBus {
    publish: mpsc::Sender<(Topic, Bytes, Share)>,
    room: Arc<Budget>,
    client: Client,
    wanted: Arc<Wanted>,
    state: watch::Receiver<State>,
}

/// What this node wants to hear. Whoever changes it goes on at once; the subscriber does what is left to do.
#[derive(Default)]
struct Wanted {
    topics: Mutex<Topics>,
    changed: Notify,
}

#[derive(Default)]
struct Topics {
    all: HashSet<Topic>,
    /// Those that came or went since the subscriber last looked: it is bounded by what is and was wanted.
    changed: HashSet<Topic>,
    /// How often something has changed.
    revision: u64,
}

impl Wanted {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, topics: &[Topic], wanted: bool) {
        {
            let mut known = self.topics();
            for topic in topics {
                if wanted {
                    known.all.insert(topic.clone())
                } else {
                    known.all.remove(topic)
                };
                known.changed.insert(topic.clone());
            }
            known.revision += 1;
        }
        self.changed.notify_one();
    }
}

/// How far the subscriber is.
#[derive(Clone, Copy)]
struct State {
    connected: bool,
    /// Every change up to this one is made.
    revision: u64,
}

impl RedisBus {
    pub(super) async fn start(
        config: &config::Redis,
        client: Client,
        node: &str,
        tasks: &Tasks,
    ) -> RedisResult<(Self, Incoming)> {
        let (publish, outgoing) = mpsc::channel(limits::BUS_QUEUE_MAX);
        let (deliver, incoming) = mpsc::channel(limits::BUS_QUEUE_MAX);
        let names = Names { prefix: config.prefix.clone(), node: node.to_owned() };
        tasks.run("publisher", publish_all(outgoing, client.clone(), names.clone()));
        let wanted = Arc::new(Wanted::default());
        wanted.change(&[Topic::Everyone, Topic::Node(node.to_owned())], true);
        let (state, progress) = watch::channel(State { connected: false, revision: 0 });
        let room = Budget::new(limits::BUS_QUEUE_BYTES_MAX);
        let subscriber = Subscriber { config: config.clone(), names, wanted: wanted.clone(), deliver, room, state };
        let first = subscriber.connect().await?;
        tasks.run("subscriber", subscriber.run(first));
        let room = Budget::new(limits::BUS_QUEUE_BYTES_MAX);
        Ok((Self { publish, room, client, wanted, state: progress }, incoming))
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn publish(&self, topic: Topic, payload: Bytes) {
        let room = if payload.len() > limits::BUS_PAYLOAD_BYTES_MAX { None } else { self.room.take(payload.len()) };
        if room.is_none_or(|share| self.publish.try_send((topic, payload, share)).is_err()) {
            dropped(1);
        }
    }

    fn subscribe(&self, topics: &[Topic]) {
        self.wanted.change(topics, true);
    }

    fn unsubscribe(&self, topics: &[Topic]) {
        self.wanted.change(topics, false);
    }

    async fn subscribed(&self) {
        // While Redis is away the topics are wanted, and the relay delivers.
        if self.client.is_away() {
            return;
        }
        let revision = self.wanted.topics().revision;
        let mut state = self.state.clone();
        let done = state.wait_for(|state| !state.connected || state.revision >= revision);
        let _ = tokio::time::timeout(RESPONSE_TIMEOUT, done).await;
    }

    fn has_others(&self) -> bool {
        true
    }

    fn is_connected(&self) -> bool {
        self.state.borrow().connected && !self.client.is_away()
    }
}

/// Names of topics in Redis, and the envelope: the sender's node, a line feed, the payload.
#[derive(Clone)]
struct Names {
    prefix: String,
    node: String,
}

impl Names {
    fn channel(&self, topic: &Topic) -> String {
        let prefix = &self.prefix;
        match topic {
            Topic::Channel(id) => format!("{prefix}:c:{id}"),
            Topic::User(id) => format!("{prefix}:u:{id}"),
            Topic::Presence(id) => format!("{prefix}:p:{id}"),
            Topic::Node(id) => format!("{prefix}:n:{id}"),
            Topic::Everyone => format!("{prefix}:everyone"),
        }
    }

    fn topic(&self, channel: &[u8]) -> Option<Topic> {
        let name = std::str::from_utf8(channel).ok()?.strip_prefix(&self.prefix)?.strip_prefix(':')?;
        if name == "everyone" {
            return Some(Topic::Everyone);
        }
        let (kind, id) = name.split_once(':')?;
        match kind {
            "c" => id.parse().ok().map(Topic::Channel),
            "u" => Some(Topic::User(id.into())),
            "p" => Some(Topic::Presence(id.into())),
            "n" => Some(Topic::Node(id.into())),
            _ => None,
        }
    }

    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let mut envelope = Vec::with_capacity(self.node.len() + 1 + payload.len());
        envelope.extend_from_slice(self.node.as_bytes());
        envelope.push(b'\n');
        envelope.extend_from_slice(payload);
        envelope
    }

    /// The payload, unless this node sent it itself.
    fn open(&self, envelope: Vec<u8>) -> Option<Bytes> {
        let end = envelope.iter().position(|byte| *byte == b'\n')?;
        (envelope[..end] != *self.node.as_bytes()).then(|| Bytes::from(envelope).slice(end + 1..))
    }
}

/// Messages that nobody hears by the bus.
fn dropped(count: u64) {
    metrics::counter!("millrace_bus_dropped_total").increment(count);
}

/// Publishes what waits, in runs.
async fn publish_all(mut outgoing: mpsc::Receiver<(Topic, Bytes, Share)>, client: Client, names: Names) {
    let published = metrics::counter!("millrace_bus_published_total");
    let mut waiting = Vec::with_capacity(limits::BUS_PIPELINE_MAX);
    // Since Redis last took something.
    let mut lost = 0;
    while outgoing.recv_many(&mut waiting, limits::BUS_PIPELINE_MAX).await > 0 {
        let count = waiting.len() as u64;
        let commands = waiting.drain(..).map(|(topic, payload, _)| {
            redis::cmd("SPUBLISH").arg(names.channel(&topic)).arg(names.seal(&payload)).to_owned()
        });
        match client.send_all(commands.collect()).await {
            Ok(()) => {
                published.increment(count);
                if lost > 0 {
                    tracing::info!(messages = lost, "redis takes messages again; the relay tells what it did not take");
                }
                lost = 0;
            }
            Err(error) => {
                dropped(count);
                if lost == 0 {
                    tracing::warn!(%error, "redis takes no messages");
                }
                lost += count;
            }
        }
    }
}

/// The connection that hears.
enum Listener {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Listener {
    async fn send(&self, command: &Cmd) -> RedisResult<()> {
        match self {
            Self::Single(connection) => command.exec_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.exec_async(&mut connection.clone()).await,
        }
    }

    /// `SSUBSCRIBE` or `SUNSUBSCRIBE`, many at a time.
    async fn change(&self, command: &str, channels: &[String]) -> RedisResult<()> {
        let at_once = match self {
            Self::Single(_) => SUBSCRIBE_TOPICS_MAX,
            Self::Cluster(_) => 1,
        };
        let changes = channels.chunks(at_once).map(|part| redis::cmd(command).arg(part).to_owned());
        let changes: Vec<Cmd> = changes.collect();
        let make = |change: Cmd| async move { self.send(&change).await };
        stream::iter(changes).map(make).buffer_unordered(limits::REDIS_CALLS_MAX).try_collect().await
    }
}

/// What Redis says, with its share of what may wait.
type Push = (PushInfo, Option<Share>);
type Pushes = mpsc::UnboundedReceiver<Push>;

/// Takes what Redis says and does not wait. A message for which there is no room is dropped.
fn ear(
    room: Arc<Budget>,
    pushes: mpsc::UnboundedSender<Push>,
) -> impl Fn(PushInfo) -> Result<(), SendError<Push>> + Send + Sync {
    move |push| {
        let message = push.data.last().filter(|_| push.kind == PushKind::SMessage);
        let share = match message {
            Some(Value::BulkString(payload)) => match room.take(payload.len()) {
                None => {
                    dropped(1);
                    return Ok(());
                }
                share => share,
            },
            _ => None,
        };
        pushes.send((push, share))
    }
}

/// The bytes of a message, which count for as long as anybody has them.
struct Counted(Bytes, #[allow(dead_code, reason = "given back with the bytes")] Share);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

struct Subscriber {
    config: config::Redis,
    names: Names,
    wanted: Arc<Wanted>,
    deliver: mpsc::Sender<(Topic, Bytes)>,
    room: Arc<Budget>,
    state: watch::Sender<State>,
}

/// A connection, and what it is subscribed to.
struct Subscribed {
    listener: Listener,
    pushes: Pushes,
    topics: HashSet<Topic>,
}

impl Subscriber {
    /// A new connection that is subscribed to everything.
    async fn connect(&self) -> RedisResult<Subscribed> {
        // Whoever takes from it waits for nobody, and what is in it has a bound in bytes.
        let (push, pushes) = mpsc::unbounded_channel();
        let push = ear(self.room.clone(), push);
        let listener = if self.config.cluster {
            let urls: Vec<&str> = self.config.urls.iter().map(config::Secret::reveal).collect();
            let client = ClusterClientBuilder::new(urls)
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(RESPONSE_TIMEOUT)
                .response_timeout(RESPONSE_TIMEOUT)
                .push_sender(push)
                .build()?;
            Listener::Cluster(client.get_async_connection().await?)
        } else {
            let url = self.config.urls[0].reveal();
            let mut info = redis::IntoConnectionInfo::into_connection_info(url)?;
            let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            info = info.set_redis_settings(settings);
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(RESPONSE_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT))
                .set_push_sender(push);
            let client = redis::Client::open(info)?;
            Listener::Single(client.get_multiplexed_async_connection_with_config(&settings).await?)
        };
        let (topics, revision) = {
            let mut wanted = self.wanted.topics();
            wanted.changed.clear();
            (wanted.all.clone(), wanted.revision)
        };
        listener.change("SSUBSCRIBE", &self.channels(&topics)).await?;
        self.mark(State { connected: true, revision });
        Ok(Subscribed { listener, pushes, topics })
    }

    async fn run(self, first: Subscribed) {
        let mut subscribed = first;
        loop {
            let open = self.listen(subscribed).await;
            self.mark(State { connected: false, revision: 0 });
            if !open {
                return;
            }
            tracing::warn!("the bus lost its subscriber connection");
            subscribed = self.reconnect().await;
        }
    }

    fn channels<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) -> Vec<String> {
        topics.into_iter().map(|topic| self.names.channel(topic)).collect()
    }

    fn mark(&self, state: State) {
        metrics::gauge!("millrace_bus_connected").set(if state.connected { 1.0 } else { 0.0 });
        self.state.send_replace(state);
    }

    /// Tries until there is a connection again.
    async fn reconnect(&self) -> Subscribed {
        let mut pause = RECONNECT_PAUSE_MIN;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!("the bus has a subscriber connection again");
                    return connection;
                }
                Err(error) => tracing::debug!(%error, "redis does not answer the subscriber"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        }
    }

    /// Hears until the connection is lost (true) or the engine is gone (false). What is heard does not wait for subscriptions, of which
    /// each takes a round trip: a node that joins many channels hears what is taken from others all the same.
    async fn listen(&self, Subscribed { listener, pushes, topics }: Subscribed) -> bool {
        tokio::select! {
            open = self.hear(pushes) => open,
            _ = self.keep_up(listener, topics) => true,
        }
    }

    async fn hear(&self, mut pushes: Pushes) -> bool {
        let received = metrics::counter!("millrace_bus_received_total");
        while let Some(push) = pushes.recv().await {
            match push {
                (PushInfo { kind: PushKind::SMessage, data }, Some(share)) => {
                    received.increment(1);
                    match self.read(data, share).map(|message| self.deliver.try_send(message)) {
                        // The node cannot keep up. Waiting for it would let memory grow by all that Redis sends.
                        Some(Err(TrySendError::Full(_))) => dropped(1),
                        Some(Err(TrySendError::Closed(_))) => return false,
                        Some(Ok(())) | None => {}
                    }
                }
                (PushInfo { kind: PushKind::Disconnection, .. }, _) => return true,
                _ => {}
            }
        }
        true
    }

    /// Subscribes to what is wanted, until Redis does not answer any more. What comes to be wanted meanwhile goes together.
    async fn keep_up(&self, listener: Listener, mut topics: HashSet<Topic>) -> RedisResult<()> {
        let mut ping = tokio::time::interval(PING_EVERY);
        loop {
            tokio::select! {
                () = self.wanted.changed.notified() => self.catch_up(&listener, &mut topics).await?,
                _ = ping.tick() => listener.send(&redis::cmd("PING")).await?,
            }
        }
    }

    fn read(&self, mut data: Vec<Value>, share: Share) -> Option<(Topic, Bytes)> {
        let (payload, channel) = (data.pop()?, data.pop()?);
        let (Value::BulkString(payload), Value::BulkString(channel)) = (payload, channel) else { return None };
        let payload = Counted(self.names.open(payload)?, share);
        Some((self.names.topic(&channel)?, Bytes::from_owner(payload)))
    }

    /// Does what changed since the last time. The last word on each topic counts.
    async fn catch_up(&self, listener: &Listener, topics: &mut HashSet<Topic>) -> RedisResult<()> {
        let (mut come, mut gone, revision) = {
            let mut wanted = self.wanted.topics();
            let changed = std::mem::take(&mut wanted.changed);
            let (come, gone): (Vec<Topic>, Vec<Topic>) =
                changed.into_iter().partition(|topic| wanted.all.contains(topic));
            (come, gone, wanted.revision)
        };
        come.retain(|topic| topics.insert(topic.clone()));
        gone.retain(|topic| topics.remove(topic));
        // No topic is in both.
        let (gone, come) = (self.channels(&gone), self.channels(&come));
        tokio::try_join!(listener.change("SUNSUBSCRIBE", &gone), listener.change("SSUBSCRIBE", &come))?;
        self.mark(State { connected: true, revision });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_names_that_lead_back() {
        let names = Names { prefix: "test".into(), node: "a".into() };
        for topic in [
            Topic::Channel(42),
            Topic::User("ada:1".into()),
            Topic::Presence("b|c".into()),
            Topic::Node("n".into()),
            Topic::Everyone,
        ] {
            assert_eq!(names.topic(names.channel(&topic).as_bytes()), Some(topic));
        }
        assert_eq!(names.topic(b"other:c:42"), None);
    }

    #[test]
    fn a_node_does_not_hear_itself() {
        let here = Names { prefix: "test".into(), node: "a".into() };
        let there = Names { prefix: "test".into(), node: "b".into() };
        assert_eq!(here.open(here.seal(b"x")), None);
        assert_eq!(there.open(here.seal(b"x\ny")).as_deref(), Some(&b"x\ny"[..]));
    }
}
