//! The bus on Redis: sharded pub/sub, one subscriber connection per node.
//!
//! The set of subscriptions is ours. The client's own promise to subscribe again after a lost connection did not hold in a
//! cluster (tried by killing the pub/sub connection), so every loss ends the connection, and a new one subscribes to
//! everything. What was published in between comes from the relay.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::{mpsc, oneshot};

use super::Incoming;
use super::client::{Client, RESPONSE_TIMEOUT};
use crate::config;
use crate::engine::{Bus, Topic};
use crate::limits;

const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Subscriptions sent with one command. In a cluster each goes alone, to its slot.
const SUBSCRIBE_TOPICS_MAX: usize = 200;
/// The subscriber checks that its connection lives.
const PING_EVERY: Duration = Duration::from_secs(10);

pub(super) struct RedisBus {
    publish: mpsc::Sender<(Topic, Bytes)>,
    commands: mpsc::Sender<Command>,
    connected: Arc<AtomicBool>,
}

enum Command {
    Subscribe(Topic, oneshot::Sender<()>),
    Unsubscribe(Topic),
}

impl RedisBus {
    pub(super) async fn start(config: &config::Redis, client: Client, node: &str) -> RedisResult<(Self, Incoming)> {
        let (publish, outgoing) = mpsc::channel(limits::BUS_QUEUE_MAX);
        let (commands, inbox) = mpsc::channel(1024);
        let (deliver, incoming) = mpsc::channel(limits::BUS_QUEUE_MAX);
        let connected = Arc::new(AtomicBool::new(false));
        let names = Names { prefix: config.prefix.clone(), node: node.to_owned() };
        tokio::spawn(publish_all(outgoing, client, names.clone()));
        let subscriber = Subscriber {
            config: config.clone(),
            names,
            topics: HashSet::from([Topic::Everyone, Topic::Node(node.to_owned())]),
            deliver,
            connected: connected.clone(),
        };
        let first = subscriber.connect().await?;
        tokio::spawn(subscriber.run(first, inbox));
        Ok((Self { publish, commands, connected }, incoming))
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn publish(&self, topic: Topic, payload: Bytes) {
        if payload.len() > limits::BUS_PAYLOAD_BYTES_MAX || self.publish.try_send((topic, payload)).is_err() {
            metrics::counter!("millrace_bus_dropped_total").increment(1);
        }
    }

    async fn subscribe(&self, topic: Topic) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Subscribe(topic, done)).await.is_ok() {
            // No answer means that Redis is away: the topic is in the set and the relay delivers meanwhile.
            let _ = tokio::time::timeout(RESPONSE_TIMEOUT, wait).await;
        }
    }

    async fn unsubscribe(&self, topic: Topic) {
        let _ = self.commands.send(Command::Unsubscribe(topic)).await;
    }

    fn has_others(&self) -> bool {
        true
    }

    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
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

/// Publishes what waits, in runs.
async fn publish_all(mut outgoing: mpsc::Receiver<(Topic, Bytes)>, client: Client, names: Names) {
    let published = metrics::counter!("millrace_bus_published_total");
    let dropped = metrics::counter!("millrace_bus_dropped_total");
    let mut waiting = Vec::with_capacity(limits::BUS_PIPELINE_MAX);
    while outgoing.recv_many(&mut waiting, limits::BUS_PIPELINE_MAX).await > 0 {
        let count = waiting.len() as u64;
        let commands = waiting.drain(..).map(|(topic, payload)| {
            redis::cmd("SPUBLISH").arg(names.channel(&topic)).arg(names.seal(&payload)).to_owned()
        });
        match client.send_all(commands.collect()).await {
            Ok(()) => published.increment(count),
            Err(error) => {
                dropped.increment(count);
                tracing::warn!(%error, messages = count, "redis did not take a run of messages");
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
    async fn send(&mut self, command: &Cmd) -> RedisResult<()> {
        match self {
            Self::Single(connection) => command.exec_async(connection).await,
            Self::Cluster(connection) => command.exec_async(connection).await,
        }
    }

    async fn subscribe(&mut self, channels: Vec<String>) -> RedisResult<()> {
        match self {
            Self::Single(_) => {
                for part in channels.chunks(SUBSCRIBE_TOPICS_MAX) {
                    self.send(redis::cmd("SSUBSCRIBE").arg(part)).await?;
                }
                Ok(())
            }
            Self::Cluster(connection) => {
                for part in channels.chunks(SUBSCRIBE_TOPICS_MAX) {
                    let subscriptions = part.iter().map(|channel| {
                        let mut connection = connection.clone();
                        async move { connection.ssubscribe(channel).await }
                    });
                    futures_util::future::try_join_all(subscriptions).await?;
                }
                Ok(())
            }
        }
    }
}

type Pushes = mpsc::UnboundedReceiver<PushInfo>;

struct Subscriber {
    config: config::Redis,
    names: Names,
    topics: HashSet<Topic>,
    deliver: mpsc::Sender<(Topic, Bytes)>,
    connected: Arc<AtomicBool>,
}

impl Subscriber {
    /// A new connection that is subscribed to everything.
    async fn connect(&self) -> RedisResult<(Listener, Pushes)> {
        // Bounded by what Redis holds for a slow subscriber before it closes the connection (client-output-buffer-limit).
        let (push, pushes) = mpsc::unbounded_channel();
        let mut listener = if self.config.cluster {
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
        listener.subscribe(self.topics.iter().map(|topic| self.names.channel(topic)).collect()).await?;
        Ok((listener, pushes))
    }

    async fn run(mut self, first: (Listener, Pushes), mut inbox: mpsc::Receiver<Command>) {
        let mut current = Some(first);
        loop {
            let Some((listener, pushes)) = current.take() else { return };
            self.mark(true);
            let open = self.listen(listener, pushes, &mut inbox).await;
            self.mark(false);
            if !open {
                return;
            }
            tracing::warn!("the bus lost its subscriber connection");
            current = self.reconnect(&mut inbox).await;
        }
    }

    fn mark(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
        metrics::gauge!("millrace_bus_connected").set(if connected { 1.0 } else { 0.0 });
    }

    /// Tries until there is a connection again. Meanwhile commands only change the set. Nothing: the engine is gone.
    async fn reconnect(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Option<(Listener, Pushes)> {
        let mut pause = RECONNECT_PAUSE_MIN;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!("the bus has a subscriber connection again");
                    return Some(connection);
                }
                Err(error) => tracing::debug!(%error, "redis does not answer the subscriber"),
            }
            let until = tokio::time::Instant::now() + pause;
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
            while let Ok(command) = tokio::time::timeout_at(until, inbox.recv()).await {
                match command? {
                    Command::Subscribe(topic, _) => {
                        self.topics.insert(topic);
                    }
                    Command::Unsubscribe(topic) => {
                        self.topics.remove(&topic);
                    }
                }
            }
        }
    }

    /// Hears until the connection is lost (true) or the engine is gone (false).
    async fn listen(
        &mut self,
        mut listener: Listener,
        mut pushes: Pushes,
        inbox: &mut mpsc::Receiver<Command>,
    ) -> bool {
        let received = metrics::counter!("millrace_bus_received_total");
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut commands = Vec::new();
        loop {
            tokio::select! {
                push = pushes.recv() => match push {
                    Some(PushInfo { kind: PushKind::SMessage, data }) => {
                        received.increment(1);
                        if let Some(message) = self.read(data) && self.deliver.send(message).await.is_err() {
                            return false;
                        }
                    }
                    Some(PushInfo { kind: PushKind::Disconnection, .. }) | None => return true,
                    Some(_) => {}
                },
                count = inbox.recv_many(&mut commands, SUBSCRIBE_TOPICS_MAX) => {
                    if count == 0 {
                        return false;
                    }
                    if self.obey(&mut listener, std::mem::take(&mut commands)).await.is_err() {
                        return true;
                    }
                }
                _ = ping.tick() => {
                    if listener.send(&redis::cmd("PING")).await.is_err() {
                        return true;
                    }
                }
            }
        }
    }

    fn read(&self, mut data: Vec<Value>) -> Option<(Topic, Bytes)> {
        let (payload, channel) = (data.pop()?, data.pop()?);
        let (Value::BulkString(payload), Value::BulkString(channel)) = (payload, channel) else { return None };
        Some((self.names.topic(&channel)?, self.names.open(payload)?))
    }

    /// The last word on each topic counts.
    async fn obey(&mut self, listener: &mut Listener, commands: Vec<Command>) -> RedisResult<()> {
        let mut wanted: HashMap<Topic, bool> = HashMap::new();
        let mut waiting = Vec::new();
        for command in commands {
            match command {
                Command::Subscribe(topic, done) => {
                    wanted.insert(topic, true);
                    waiting.push(done);
                }
                Command::Unsubscribe(topic) => {
                    wanted.insert(topic, false);
                }
            }
        }
        let mut subscribe = Vec::new();
        for (topic, wanted) in wanted {
            if wanted && self.topics.insert(topic.clone()) {
                subscribe.push(self.names.channel(&topic));
            } else if !wanted && self.topics.remove(&topic) {
                listener.send(redis::cmd("SUNSUBSCRIBE").arg(self.names.channel(&topic))).await?;
            }
        }
        listener.subscribe(subscribe).await?;
        for done in waiting {
            let _ = done.send(());
        }
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
